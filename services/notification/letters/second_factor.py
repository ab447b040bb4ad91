"""What we write about second factors: set up, removed, used up, and the way back without them."""

from dataclasses import dataclass

from flask_babel import gettext as _
from flask_babel import ngettext

from services.notification.letters.letter import Block, Button, Count, Link, Moment, Paragraph, in_words
from services.notification.letters.security import SecurityNotice


@dataclass(frozen=True, kw_only=True, repr=False)
class SecondFactorAdded(SecurityNotice):
    NAME = "second_factor_added"

    def subject(self) -> str:
        return _("An authenticator app was set up for your account")

    def what(self) -> list[str]:
        return [
            _(
                "An authenticator app was set up as your second step. From now on, signing in asks for a code "
                "that it shows."
            )
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class SecondFactorRemoved(SecurityNotice):
    NAME = "second_factor_removed"

    def subject(self) -> str:
        return _("The authenticator app of your account was removed")

    def what(self) -> list[str]:
        return [
            _(
                "The authenticator app was removed from your account. Codes that it shows do not count any more."
            )
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class RecoveryCodeUsed(SecurityNotice):
    NAME = "recovery_code_used"

    left: Count

    def subject(self) -> str:
        return _("A recovery code of your account was used")

    def what(self) -> list[str]:
        return [
            _("Somebody signed in to your account with one of your recovery codes. It does not work again."),
            ngettext(
                "You have %(num)s code left. You can make new ones in your account.",
                "You have %(num)s codes left. You can make new ones in your account.",
                self.left,
            ),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class RecoveryCodesMade(SecurityNotice):
    NAME = "recovery_codes_made"

    def subject(self) -> str:
        return _("New recovery codes were made for your account")

    def what(self) -> list[str]:
        return [
            _("Somebody signed in to your account made new recovery codes. The old ones stopped working.")
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class SecondFactorResetStarted(SecurityNotice):
    NAME = "second_factor_reset_started"

    available_at: Moment

    def subject(self) -> str:
        return _("Somebody asks to remove the second step of your account")

    def what(self) -> list[str]:
        return [
            _(
                "Somebody passed the first step of signing in to your account, and says that they lost everything "
                "for the second: the authenticator app, passkeys and recovery codes."
            ),
            _(
                "We wait until %(moment)s, then we mail a link that removes the second step. Signing in with it "
                "before that ends this.",
                moment=in_words(self.available_at),
            ),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class SecondFactorResetReady(SecurityNotice):
    NAME = "second_factor_reset_ready"

    link: Link
    expires_at: Moment

    def subject(self) -> str:
        return _("You can remove the second step of your account now")

    def what(self) -> list[str]:
        return [
            _(
                "You asked to remove the second step of your account, and have waited long enough. The link asks "
                "you to sign in, then removes the authenticator app, passkeys and recovery codes, and signs "
                "you out everywhere."
            )
        ]

    def blocks(self, public_url: str) -> list[Block]:
        return [
            *(Paragraph(text) for text in self.what()),
            Button(_("Remove the second step"), self.link),
            Paragraph(
                _("The link works once, until %(moment)s.", moment=in_words(self.expires_at)),
            ),
            Paragraph(
                _("If you did not ask for this, somebody can pass the first step of signing in as you:")
            ),
            Button(_("It wasn't me"), self.not_me, kind="danger"),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class SecondFactorResetDone(SecurityNotice):
    NAME = "second_factor_reset_done"

    def subject(self) -> str:
        return _("The second step of your account was removed")

    def what(self) -> list[str]:
        return [
            _(
                "The second step was removed from your account by the link that we mailed, and you were signed "
                "out everywhere. Signing in takes one step now."
            ),
            _("Please set up a second step again as soon as you can."),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class SecondFactorResetByStaff(SecurityNotice):
    NAME = "second_factor_reset_by_staff"

    def subject(self) -> str:
        return _("We removed the second step of your account")

    def what(self) -> list[str]:
        return [
            _(
                "Our staff removed the second step of your account, and signed you out everywhere. That is what "
                "we do when somebody tells us that they lost it."
            ),
            _("Please set up a second step again as soon as you can."),
        ]
