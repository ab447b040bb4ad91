"""What we write about passkeys."""

from dataclasses import dataclass

from flask_babel import gettext as _

from services.notification.letters.security import SecurityNotice


@dataclass(frozen=True, kw_only=True, repr=False)
class PasskeyAdded(SecurityNotice):
    NAME = "passkey_added"

    passkey: str
    """What its owner calls it."""

    def subject(self) -> str:
        return _("A passkey was added to your account")

    def what(self) -> list[str]:
        return [
            _(
                "The passkey “%(passkey)s” was added to your account. It signs you in by itself.",
                passkey=self.passkey,
            )
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class PasskeyRemoved(SecurityNotice):
    NAME = "passkey_removed"

    passkey: str

    def subject(self) -> str:
        return _("A passkey was removed from your account")

    def what(self) -> list[str]:
        return [
            _(
                "The passkey “%(passkey)s” was removed from your account and does not sign you in any more.",
                passkey=self.passkey,
            )
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class PasskeyCopied(SecurityNotice):
    NAME = "passkey_copied"

    passkey: str

    def subject(self) -> str:
        return _("A passkey of yours may have been copied")

    def what(self) -> list[str]:
        return [
            _(
                "Somebody tried to sign in with your passkey “%(passkey)s”. Its device counted less than it had "
                "counted before, as a copy of it would. We did not let them in.",
                passkey=self.passkey,
            ),
        ]

    def if_it_was_you(self) -> str:
        return _("If it was you, remove this passkey from your account and add a new one.")
