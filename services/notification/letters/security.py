"""What we write when something about an account's safety has changed: what it was, where, and "It wasn't me"."""

from dataclasses import dataclass

from flask_babel import get_locale
from flask_babel import gettext as _

from services.notification.letters.letter import Block, Button, Letter, Link, Moment, Paragraph, in_words


@dataclass(frozen=True, kw_only=True, repr=False)
class SecurityNotice(Letter):
    """A change that its owner must hear of, whoever made it. Subclasses say what it was."""

    IS_SECURITY = True

    moment: Moment
    device: str
    """Browser and system that it came from, in words; empty where nobody knows, as with staff."""
    not_me: Link
    """Whose button ends all sessions and starts a reset."""

    def what(self) -> list[str]:
        """What happened, a paragraph each."""
        raise NotImplementedError

    def next_step(self, public_url: str) -> list[Block]:
        """What its owner can do with it, where there is something."""
        return []

    def if_it_was_you(self) -> str:
        return _("If it was you, there is nothing to do.")

    def blocks(self, public_url: str) -> list[Block]:
        place = (
            _("It happened on %(moment)s, from %(device)s.", moment=in_words(self.moment), device=self.device)
            if self.device
            else _("It happened on %(moment)s.", moment=in_words(self.moment))
        )
        return [
            *(Paragraph(text) for text in self.what()),
            *self.next_step(public_url),
            Paragraph(place),
            Paragraph(self.if_it_was_you()),
            Button(_("It wasn't me"), self.not_me, kind="danger"),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class NewDevice(SecurityNotice):
    NAME = "new_device"

    address: str
    country: str
    """Its code (ISO 3166-1), or nothing."""

    def subject(self) -> str:
        return _("A new device signed in to your account")

    def what(self) -> list[str]:
        locale = get_locale()
        country = locale.territories.get(self.country, self.country) if locale else self.country
        place = f"{self.address} ({country})" if country else self.address
        return [
            _("Somebody signed in to your account from a browser that you have not used here before."),
            _("Its network address: %(place)s", place=place),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class PasswordChanged(SecurityNotice):
    NAME = "password_changed"

    def subject(self) -> str:
        return _("The password of your account was changed")

    def what(self) -> list[str]:
        return [
            _("Your UpdSpace account has a new password."),
            _("Every other device and every app was signed out; your second factor, if you have one, stays."),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class ProviderLinked(SecurityNotice):
    NAME = "provider_linked"

    provider: str
    account: str
    """What the provider calls the account there."""

    def subject(self) -> str:
        return _("You can sign in with %(provider)s now", provider=self.provider)

    def what(self) -> list[str]:
        return [
            _(
                "The account %(account)s at %(provider)s was linked to yours: whoever can use it can sign in as you.",
                account=self.account,
                provider=self.provider,
            )
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class ProviderUnlinked(SecurityNotice):
    NAME = "provider_unlinked"

    provider: str
    account: str

    def subject(self) -> str:
        return _("You can no longer sign in with %(provider)s", provider=self.provider)

    def what(self) -> list[str]:
        return [
            _(
                "The account %(account)s at %(provider)s was unlinked from yours: "
                "it no longer signs anybody in as you.",
                account=self.account,
                provider=self.provider,
            )
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class SignInThreatened(SecurityNotice):
    NAME = "sign_in_threatened"

    def subject(self) -> str:
        return _("We ended an app's access to your account")

    def what(self) -> list[str]:
        return [
            _(
                "Somebody tried to use your account with a sign-in key that an app had already used. "
                "The key may have been copied, so we ended the access that came with it."
            ),
            _(
                "The app may ask you to sign in again; that is all right. Please see whether you know all "
                "the places where you are signed in."
            ),
        ]

    def next_step(self, public_url: str) -> list[Block]:
        return [Button(_("Where you are signed in"), f"{public_url}/account/sessions")]

    def if_it_was_you(self) -> str:
        return _(
            "If you know them all, there is nothing more to do. Else, close your account to everybody else:"
        )
