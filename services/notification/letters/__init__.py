"""What we write to people: every letter by its name."""

from services.notification.letters import (
    addresses,
    joining,
    leaving,
    passkeys,
    passwords,
    reviewing,
    second_factor,
    security,
    sign_in,
)
from services.notification.letters.letter import Letter, one_line

LETTERS: dict[str, type[Letter]] = {
    letter.NAME: letter
    for letter in (
        joining.Invitation,
        joining.ConfirmAddress,
        joining.AddressConfirmed,
        joining.ApplicationQuestion,
        joining.ActivationLink,
        joining.ApplicationRejected,
        joining.DecisionTakenBack,
        joining.ApplicationWithdrawn,
        joining.ApplicationExpired,
        reviewing.ApplicationWaits,
        reviewing.ReviewDigest,
        passwords.SetPassword,
        passwords.ResetPassword,
        passwords.AccountSecured,
        passkeys.PasskeyAdded,
        passkeys.PasskeyCopied,
        passkeys.PasskeyRemoved,
        second_factor.RecoveryCodesMade,
        second_factor.RecoveryCodeUsed,
        second_factor.SecondFactorAdded,
        second_factor.SecondFactorRemoved,
        second_factor.SecondFactorResetByStaff,
        second_factor.SecondFactorResetDone,
        second_factor.SecondFactorResetReady,
        second_factor.SecondFactorResetStarted,
        security.NewDevice,
        security.PasswordChanged,
        security.ProviderLinked,
        security.ProviderUnlinked,
        security.SignInThreatened,
        sign_in.SignInCode,
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
