"""What we write to people: every letter by its name."""

from services.notification.letters import addresses, joining, leaving, passwords, security
from services.notification.letters.letter import Letter, one_line

LETTERS: dict[str, type[Letter]] = {
    letter.NAME: letter
    for letter in (
        joining.ConfirmAddress,
        joining.ActivationLink,
        joining.ApplicationRejected,
        passwords.SetPassword,
        passwords.ResetPassword,
        passwords.AccountSecured,
        security.NewDevice,
        security.PasswordChanged,
        security.ProviderLinked,
        security.ProviderUnlinked,
        security.SignInThreatened,
        addresses.ConfirmNewEmail,
        addresses.EmailInUse,
        addresses.EmailChanged,
        leaving.DataReady,
        leaving.ErasureScheduled,
        leaving.AccountKept,
        leaving.AccountErased,
    )
}


class UnknownTemplate(LookupError):
    """No mail has this name."""


def letter_of(template: str) -> type[Letter]:
    """The letter of this name. Raises UnknownTemplate."""
    try:
        return LETTERS[template]
    except KeyError:
        raise UnknownTemplate(f"No mail is named {one_line(template)}.") from None
