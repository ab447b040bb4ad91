"""What oidc reads from its environment beside the common settings."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from libs.settings import ServiceSettings, SettingsError

LONGEST_ACCESS_TOKEN = timedelta(minutes=10)
LONGEST_CODE = timedelta(minutes=10)
ALLOWANCES = (
    "TOKEN_REQUESTS_PER_ADDRESS",
    "TOKEN_REQUESTS_PER_CLIENT",
    "USERINFO_REQUESTS_PER_ADDRESS",
    "USERINFO_REQUESTS_PER_PERSON",
    "AUTHORIZATION_REQUESTS_PER_ADDRESS",
    "REGISTRATION_REQUESTS_PER_ADDRESS",
)
ALLOWANCE = re.compile(r"[1-9]\d* per (\d+ )?(second|minute|hour|day)s?")


@dataclass(frozen=True, kw_only=True)
class OIDCSettings(ServiceSettings):
    """Lifetimes are read in seconds."""

    SERVICE: ClassVar[str] = "oidc"

    CODE_LIFETIME: timedelta = timedelta(seconds=60)
    """How long an authorization code can be redeemed."""
    INTERACTION_LIFETIME: timedelta = timedelta(minutes=30)
    """How long a person may take between the app's request and our answer."""
    ID_TOKEN_LIFETIME: timedelta = timedelta(hours=1)
    """How long clients may rely on an ID token; as a hint it is understood for longer."""
    REFRESH_IDLE_LIFETIME: timedelta = timedelta(days=30)
    """How long a refresh token lives without being used."""
    REFRESH_ABSOLUTE_LIFETIME: timedelta = timedelta(days=180)
    """How long an `offline_access` grant lives at most; others end with the sign-in session."""
    PUSHED_REQUEST_LIFETIME: timedelta = timedelta(seconds=90)
    """How long a pushed authorization request can be used."""
    DEVICE_CODE_LIFETIME: timedelta = timedelta(minutes=10)
    """How long a person may take to enter the code that a device shows."""
    TOKEN_REQUESTS_PER_ADDRESS: str = "1200 per minute"
    """How often an address may call token, introspection and revocation without having proven who it is."""
    TOKEN_REQUESTS_PER_CLIENT: str = "6000 per minute"
    """The same for a client that has proven itself, from all its addresses together."""
    USERINFO_REQUESTS_PER_ADDRESS: str = "3000 per minute"
    """How often an address may ask userinfo."""
    USERINFO_REQUESTS_PER_PERSON: str = "600 per minute"
    """How often one client may ask userinfo about one person."""
    AUTHORIZATION_REQUESTS_PER_ADDRESS: str = "600 per minute"
    """How often an address may bring authorization requests."""
    REGISTRATION_REQUESTS_PER_ADDRESS: str = "60 per minute"
    """How often an address may register clients, or manage their registration."""
    REGISTRATION: str = "token"
    """Who may register clients over HTTP: closed, token (who has an initial access token) or open."""
    REFUSALS_KEPT: timedelta = timedelta(days=14)
    """How long staff can look up why a request was refused."""
    KEY_ROTATION_INTERVAL: timedelta = timedelta(days=90)
    """How long a key signs before the next one takes over."""
    OIDC_PRIVATE_KEY_PEM: str = field(default="", repr=False)
    """A private key (RSA, P-256 or Ed25519), PEM or base64 of PEM, imported once; unset: keys are made here."""
    OIDC_PUBLIC_KEY_PEM: str = field(default="", repr=False)
    """Its public half, for whoever sets both; must belong to it."""
    OIDC_KEY_PAIRS: str = field(default="", repr=False)
    """A JSON list of {"kid", "private_key_pem", "public_key_pem"}; one without a private key only verifies."""
    JWKS_MAX_AGE: timedelta = timedelta(minutes=15)
    """How long clients may cache our public keys and metadata."""

    def check(self) -> None:
        super().check()
        if not timedelta(0) < self.ACCESS_TOKEN_LIFETIME <= LONGEST_ACCESS_TOKEN:
            raise SettingsError("ACCESS_TOKEN_LIFETIME must be a number of seconds from 1 to 600.")
        if not timedelta(0) < self.CODE_LIFETIME <= LONGEST_CODE:
            raise SettingsError("CODE_LIFETIME must be a number of seconds from 1 to 600.")
        for name in ALLOWANCES:
            if not ALLOWANCE.fullmatch(getattr(self, name)):
                raise SettingsError(f"{name} must read like '1200 per minute'.")
        if self.REGISTRATION not in ("closed", "token", "open"):
            raise SettingsError("REGISTRATION must be closed, token or open.")
        if self.REFRESH_ABSOLUTE_LIFETIME < self.REFRESH_IDLE_LIFETIME:
            raise SettingsError("REFRESH_ABSOLUTE_LIFETIME must not be shorter than REFRESH_IDLE_LIFETIME.")
        # Imported here because flows know the tables, which settings come before.
        from services.oidc.flows.keys.material import given_material

        given_material(self)
