"""What account reads from its environment beside the common settings."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from libs.settings import ServiceSettings, SettingsError

WELL_KNOWN = "/.well-known/openid-configuration"
_SLUG = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True, kw_only=True)
class OpenIDIssuer:
    """One entry of OPENID_PROVIDERS."""

    name: str
    label: str
    discovery_url: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class AccountSettings(ServiceSettings):
    """Lifetimes are read in seconds."""

    SERVICE: ClassVar[str] = "account"

    SESSION_ABSOLUTE_LIFETIME: timedelta = timedelta(days=30)
    """How long a sign-in session lives at most, however much it is used (NIST 800-63B-4 §2.1.3)."""
    ENDED_SESSIONS_KEPT: timedelta = timedelta(days=30)
    """How long the row of an ended session stays, for whoever looks into an incident."""
    PASSWORD_MIN_LENGTH: int = 15
    """Fewest characters of a password that signs in alone (NIST 800-63B-4 §3.1.1.2)."""
    PASSWORD_MAX_LENGTH: int = 1000
    """Most characters of a password; a longer one is refused, never cut."""
    ARGON2_MEMORY_KIB: int = 19 * 1024
    """Memory of one argon2id hash, KiB. Raising it rehashes each password at its next sign-in."""
    ARGON2_TIME_COST: int = 2
    """Passes of one argon2id hash."""
    ARGON2_PARALLELISM: int = 1
    """Lanes of one argon2id hash."""
    HASHING_CONCURRENCY: int = 4
    """Passwords that one process hashes side by side; bounds memory and keeps threads for other pages."""
    HASHING_WAIT_MS: int = 1000
    """How long a request waits for its turn to hash before it answers 503, milliseconds."""
    PASSWORD_LINK_LIFETIME: timedelta = timedelta(days=7)
    """How long a mailed link for setting a first password works; a newer link ends the older one."""
    RESET_LINK_LIFETIME: timedelta = timedelta(minutes=30)
    """How long a mailed link that replaces a forgotten password works; a newer link ends the older one."""
    RESET_MAIL_INTERVAL: timedelta = timedelta(minutes=10)
    """While an unused link is younger than this, asking again brings no second one: nobody can end it from outside."""
    RESET_MAILS_PER_HOUR: int = 6
    """Most links that an account is mailed in an hour because somebody typed its address."""
    ENROLMENT_LIFETIME: timedelta = timedelta(hours=1)
    """How long the page that sets up an account stays usable after the handover."""

    LOGIN_TRIES_PER_MINUTE: int = 3000
    """Tries to sign in with a password that are admitted in all, on browsers that are not known; a quarter of it in
    enhanced mode. Above what the community does at its busiest, below what its processes can hash."""
    ATTEMPT_LIFETIME: timedelta = timedelta(minutes=10)
    """How long a sign-in that passed its first step waits for the next."""
    SECOND_FACTOR_WAIT: timedelta = timedelta(days=3)
    """How long somebody who lost every second factor waits, so that its true owner can object."""
    SECOND_FACTOR_LINK_LIFETIME: timedelta = timedelta(days=3)
    """How long the link works that is mailed after that wait."""
    TOTP_SETUP_LIFETIME: timedelta = timedelta(hours=1)
    """How long a new authenticator app may take to show its first code."""
    NOTICE_LIFETIME: timedelta = timedelta(days=7)
    """How long the link "It wasn't me" of a security mail works."""
    LOGIN_EVENTS_KEPT: timedelta = timedelta(days=90)
    """How long the record of an attempt to sign in stays."""
    DEVICES_KEPT: timedelta = timedelta(days=400)
    """How long a person's browser is known without being used; as long as browsers keep a cookie."""
    EMAIL_CHANGE_LIFETIME: timedelta = timedelta(hours=24)
    """How long the link mailed to a new address works; a newer link ends the older one."""
    DATA_COLLECTION_LIFETIME: timedelta = timedelta(minutes=10)
    """How long the other services have to send what they hold about somebody; then it is handed out without them."""
    DATA_LINK_LIFETIME: timedelta = timedelta(days=7)
    """How long somebody can download the data they asked for."""
    ERASE_GRACE: timedelta = timedelta(days=14)
    """How long people can think better of erasing their account."""
    GEOIP_DATABASE: str = ""
    """Path of a MaxMind database (mmdb) that knows countries; without one none is shown."""

    GITHUB_CLIENT_ID: str = ""
    """Of an OAuth app at GitHub whose callback is PUBLIC_URL/link/github/callback; without one, no button."""
    GITHUB_CLIENT_SECRET: str = field(default="", repr=False)
    GITHUB_AUTHORIZE_URL: str = "https://github.com/login/oauth/authorize"
    """Where the browser goes; its origin is the issuer of the identities."""
    GITHUB_TOKEN_URL: str = "https://github.com/login/oauth/access_token"
    GITHUB_API_URL: str = "https://api.github.com"
    DISCORD_CLIENT_ID: str = ""
    """Of an application at Discord whose redirect is PUBLIC_URL/link/discord/callback; without one, no button."""
    DISCORD_CLIENT_SECRET: str = field(default="", repr=False)
    DISCORD_AUTHORIZE_URL: str = "https://discord.com/oauth2/authorize"
    DISCORD_TOKEN_URL: str = "https://discord.com/api/oauth2/token"
    DISCORD_API_URL: str = "https://discord.com/api"
    OPENID_PROVIDERS: str = field(default="", repr=False)
    """More issuers: a JSON list of {"name", "label", "discovery_url", "client_id", "client_secret"}."""
    PROVIDER_TIMEOUT_MS: int = 5000
    """How long one person's whole conversation with a provider may take, milliseconds."""
    PROVIDER_VISIT_LIFETIME: timedelta = timedelta(minutes=10)
    """How long a browser may stay at a provider before it comes back."""

    @cached_property
    def openid_issuers(self) -> tuple[OpenIDIssuer, ...]:
        """OPENID_PROVIDERS, read. Raises SettingsError."""
        return read_issuers(self.OPENID_PROVIDERS)

    def check(self) -> None:
        super().check()
        if not 8 <= self.PASSWORD_MIN_LENGTH <= 64:
            raise SettingsError("PASSWORD_MIN_LENGTH must be a number from 8 to 64.")
        if not 64 <= self.PASSWORD_MAX_LENGTH <= 10_000:
            raise SettingsError("PASSWORD_MAX_LENGTH must be a number from 64 to 10000.")
        if self.ARGON2_PARALLELISM < 1 or self.ARGON2_TIME_COST < 1:
            raise SettingsError("ARGON2_TIME_COST and ARGON2_PARALLELISM must be at least 1.")
        if self.ARGON2_MEMORY_KIB < 8 * self.ARGON2_PARALLELISM:
            raise SettingsError("ARGON2_MEMORY_KIB must be at least 8 for each lane of ARGON2_PARALLELISM.")
        if not self.RESET_MAIL_INTERVAL < self.RESET_LINK_LIFETIME:
            raise SettingsError("RESET_MAIL_INTERVAL must be shorter than RESET_LINK_LIFETIME.")
        if self.RESET_MAILS_PER_HOUR < 1:
            raise SettingsError("RESET_MAILS_PER_HOUR must be at least 1.")
        if self.HASHING_CONCURRENCY < 1:
            raise SettingsError("HASHING_CONCURRENCY must be at least 1.")
        if timedelta(hours=1) > self.SECOND_FACTOR_WAIT:
            raise SettingsError("SECOND_FACTOR_WAIT must be at least an hour: notices take time to be read.")
        if self.LOGIN_TRIES_PER_MINUTE < 4:
            raise SettingsError("LOGIN_TRIES_PER_MINUTE must be at least 4.")
        if self.GEOIP_DATABASE and not Path(self.GEOIP_DATABASE).is_file():
            raise SettingsError("GEOIP_DATABASE must name a readable file, or nothing.")
        if self.SESSION_ABSOLUTE_LIFETIME < self.SESSION_IDLE_LIFETIME:
            raise SettingsError("SESSION_ABSOLUTE_LIFETIME must not be shorter than SESSION_IDLE_LIFETIME.")
        if self.PROVIDER_TIMEOUT_MS < 100:
            raise SettingsError("PROVIDER_TIMEOUT_MS must be at least 100.")
        self._check_providers()

    def _check_providers(self) -> None:
        for provider in ("GITHUB", "DISCORD"):
            names = [f"{provider}_CLIENT_ID", f"{provider}_CLIENT_SECRET"]
            missing = [name for name in names if not getattr(self, name)]
            if len(missing) == 1:
                raise SettingsError(f"{missing[0]} is not set, though its counterpart is.")
            for part in ("AUTHORIZE", "TOKEN", "API"):
                self._check_address(f"{provider}_{part}_URL", getattr(self, f"{provider}_{part}_URL"))
        for issuer in self.openid_issuers:
            self._check_address("OPENID_PROVIDERS", issuer.discovery_url)

    def _check_address(self, setting: str, url: str) -> None:
        if not is_fetchable(url, self.OUTBOUND_ALLOWED_HOSTS) or url.endswith("/"):
            raise SettingsError(
                f"{setting} must be an https:// address without a slash at its end; http is for hosts of "
                "OUTBOUND_ALLOWED_HOSTS."
            )


def is_fetchable(url: str, allowed_hosts: Collection[str]) -> bool:
    """Whether an address of a provider is one that we send people and requests to."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in allowed_hosts)


def read_issuers(text: str) -> tuple[OpenIDIssuer, ...]:
    """The issuers of OPENID_PROVIDERS. Raises SettingsError, which repeats nothing of what is secret."""
    if not text:
        return ()
    try:
        entries = json.loads(text)
        issuers = tuple(
            OpenIDIssuer(**{name: _text(value) for name, value in entry.items()}) for entry in entries
        )
    except (ValueError, TypeError, AttributeError):
        raise SettingsError(
            'OPENID_PROVIDERS must be a JSON list of {"name", "label", "discovery_url", "client_id", "client_secret"}.'
        ) from None
    names = [issuer.name for issuer in issuers]
    if len({*names, "github", "discord"}) != len(names) + 2 or not all(map(_SLUG.fullmatch, names)):
        raise SettingsError(
            "OPENID_PROVIDERS must have a different name for each, in small letters, digits and hyphens."
        )
    if not all(issuer.discovery_url.endswith(WELL_KNOWN) for issuer in issuers):
        raise SettingsError(f"OPENID_PROVIDERS must have a discovery_url that ends in {WELL_KNOWN}.")
    return issuers


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError
    return value.strip()
