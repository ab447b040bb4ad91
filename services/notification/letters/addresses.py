"""What we write when an account's address changes: to the new one, to the old one, to whoever has it already."""

from dataclasses import dataclass

from flask_babel import gettext as _

from services.notification.letters.letter import Block, Button, Letter, Link, Moment, Paragraph, in_words
from services.notification.letters.security import SecurityNotice


@dataclass(frozen=True, kw_only=True, repr=False)
class ConfirmNewEmail(Letter):
    NAME = "confirm_new_email"

    link: Link
    expires_at: Moment

    def subject(self) -> str:
        return _("Confirm your new e-mail address")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(
                _(
                    "Somebody asked to use this address for their UpdSpace account. If it was you, confirm it: "
                    "until then the account keeps its old address."
                )
            ),
            Button(_("Confirm the new address"), self.link),
            Paragraph(
                _(
                    "The link works once, until %(moment)s, for whoever is signed in to that account.",
                    moment=in_words(self.expires_at),
                )
            ),
            Paragraph(_("If it was not you, ignore this mail: nothing will change.")),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class EmailInUse(Letter):
    NAME = "email_in_use"

    def subject(self) -> str:
        return _("This address has an account already")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(
                _(
                    "Somebody asked to use this address for another UpdSpace account. It is the address of yours, "
                    "so nothing was changed, and they were not told that you have it."
                )
            ),
            Paragraph(
                _(
                    "If it was you: sign in to the account of this address, and change or erase it first. "
                    "If not, there is nothing to do."
                )
            ),
            Button(_("Look at your account"), f"{public_url}/account"),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class EmailChanged(SecurityNotice):
    NAME = "email_changed"

    def subject(self) -> str:
        return _("The e-mail address of your account was changed")

    def what(self) -> list[str]:
        return [
            _(
                "Your UpdSpace account has another e-mail address now. This one no longer signs in to it, and "
                "further mails go to the new one."
            )
        ]
