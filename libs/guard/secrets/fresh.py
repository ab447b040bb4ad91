"""Fresh values for the settings that we make ourselves, each in the form that its setting takes."""

import base64
import secrets
from collections.abc import Callable


def encryption_key() -> str:
    """An entry of a key ring: a new kid, and 32 random bytes."""
    return f"{secrets.token_hex(4)}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def shared_secret() -> str:
    """A text of 64 signs that nobody guesses."""
    return secrets.token_urlsafe(48)


def _webhook_secret() -> str:
    """As Standard Webhooks write it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _password() -> str:
    """For a role of PostgreSQL or Redis: nothing in it needs escaping in an address."""
    return secrets.token_hex(24)


MAKERS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": shared_secret,
    "DATA_ENCRYPTION_KEYS": encryption_key,
    "EVENT_ENCRYPTION_KEYS": encryption_key,
    "MAIL_FEEDBACK_SECRETS": _webhook_secret,
    "PASSWORD": _password,
}
"""By setting; PASSWORD is no setting but what goes into the address of a database or of Redis."""
NEEDED = ("SECRET_KEY", "DATA_ENCRYPTION_KEYS", "EVENT_ENCRYPTION_KEYS")
"""What no service starts without, of those that can be made here."""
