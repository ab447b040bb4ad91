"""What we write to people who take their data along, or go."""

from dataclasses import dataclass

from flask_babel import gettext as _

from services.notification.letters.letter import Block, Button, Letter, Link, Moment, Paragraph, in_words
from services.notification.letters.security import SecurityNotice


@dataclass(frozen=True, kw_only=True, repr=False)
class DataReady(SecurityNotice):
    NAME = "data_ready"

    link: Link
    expires_at: Moment

    def subject(self) -> str:
        return _("Your data is ready for download")

    def what(self) -> list[str]:
        return [_("You asked for all that UpdSpace ID holds about you. It is ready, in one file.")]

    def next_step(self, public_url: str) -> list[Block]:
        return [
            Button(_("Download your data"), self.link),
            Paragraph(
                _(
                    "The link works until %(moment)s, and only for you: you will be asked to sign in.",
                    moment=in_words(self.expires_at),
                )
            ),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class ErasureScheduled(SecurityNotice):
    NAME = "erasure_scheduled"

    erase_at: Moment

    def subject(self) -> str:
        return _("Your account will be erased")

    def what(self) -> list[str]:
        return [
            _(
                "Your UpdSpace account will be erased on %(moment)s, with everything that belongs to it. You are "
                "signed out everywhere, and apps have no access any more.",
                moment=in_words(self.erase_at),
            )
        ]

    def next_step(self, public_url: str) -> list[Block]:
        return [
            Paragraph(
                _(
                    "If you think better of it, sign in before then and say that you want to keep your account."
                )
            ),
            Button(_("Keep the account"), f"{public_url}/account/erase"),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class AccountKept(SecurityNotice):
    NAME = "account_kept"

    def subject(self) -> str:
        return _("Your account stays")

    def what(self) -> list[str]:
        return [
            _(
                "Your UpdSpace account will not be erased. Everything is as it was; apps may ask you to sign in "
                "again."
            )
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class AccountErased(Letter):
    NAME = "account_erased"

    def subject(self) -> str:
        return _("Your account is erased")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(
                _(
                    "Your UpdSpace account is erased, with everything that belonged to it. This is our last mail "
                    "to you: we forget this address, too."
                )
            ),
            Paragraph(_("You are welcome to join again whenever you like.")),
        ]
