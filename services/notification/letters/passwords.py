"""What we write about passwords."""

from dataclasses import dataclass

from flask_babel import gettext as _

from services.notification.letters.letter import Block, Button, Letter, Link, Paragraph


@dataclass(frozen=True, kw_only=True, repr=False)
class SetPassword(Letter):
    NAME = "set_password"
    IS_SECURITY = True

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


@dataclass(frozen=True, kw_only=True, repr=False)
class ResetPassword(Letter):
    NAME = "reset_password"
    IS_SECURITY = True

    link: Link

    def subject(self) -> str:
        return _("Set a new password")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(_("Somebody, most likely you, has forgotten the password of your UpdSpace account.")),
            Button(_("Set a new password"), self.link),
            Paragraph(
                _(
                    "The link works once and for a short time only. If it has expired, the page behind it offers a "
                    "fresh one. Please do not pass this mail on."
                )
            ),
            Paragraph(_("If it was not you, ignore this mail: your password stays as it is.")),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class AccountSecured(Letter):
    NAME = "account_secured"
    IS_SECURITY = True

    link: Link

    def subject(self) -> str:
        return _("Your account was secured: set a new password")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(
                _(
                    "To keep others out of your UpdSpace account, every device and every app was signed out of it, "
                    "and its password opens nothing any more. Your second factor, if you have one, stays."
                )
            ),
            Button(_("Set a new password"), self.link),
            Paragraph(
                _(
                    "The link works once and for a short time only. If it has expired, the page behind it offers a "
                    "fresh one. Please do not pass this mail on."
                )
            ),
        ]
