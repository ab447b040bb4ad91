"""What we write about passwords."""

from dataclasses import dataclass

from flask_babel import gettext as _

from services.notification.letters.letter import Block, Button, Letter, Link, Paragraph


@dataclass(frozen=True, kw_only=True, repr=False)
class SetPassword(Letter):
    NAME = "set_password"

    link: Link

    def subject(self) -> str:
        return _("Set the password of your account")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(_("Your UpdSpace account waits for a password. Set one, and you can sign in with it.")),
            Button(_("Set a password"), self.link),
            Paragraph(_("The link is yours alone: please do not pass this mail on.")),
            Paragraph(_("If you did not expect this mail, ignore it: your account stays as it is.")),
        ]
