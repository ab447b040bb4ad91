"""Addresses as they are typed in a shell."""

from marshmallow import ValidationError

from services.onboarding.schemas.forms import AddressForm


def checked_address(typed: str) -> str:
    """The address that was typed, as a page would take it. Raises LookupError with a sentence."""
    try:
        address: str = AddressForm().load({"email": typed})["email"]
    except ValidationError:
        raise LookupError(f"{typed or 'Nothing'} is not an e-mail address.") from None
    return address
