"""What we write while somebody signs in."""

from dataclasses import dataclass

from flask_babel import gettext as _

from services.notification.letters.letter import (
    Block,
    Button,
    Code,
    Digits,
    Paragraph,
    in_words,
)
from services.notification.letters.security import SecurityNotice


@dataclass(frozen=True, kw_only=True, repr=False)
class SignInCode(SecurityNotice):
    """The second step of a sign-in; its subject never holds the code, which lock screens would show."""

    NAME = "sign_in_code"

    code: Digits

    def subject(self) -> str:
        return _("Your code for signing in")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(_("Enter this code on the page where you are signing in:")),
            Code(self.code),
            Paragraph(
                _(
                    "Somebody began to sign in to your account on %(moment)s, from %(device)s. The code works for a "
                    "few minutes, and only in that browser.",
                    moment=in_words(self.moment),
                    device=self.device,
                )
            ),
            Paragraph(
                _(
                    "If that was not you, give the code to nobody: without it nobody gets in. But whoever it was has "
                    "got past the first step, so please change your password."
                )
            ),
            Button(_("It wasn't me"), self.not_me, kind="danger"),
        ]
