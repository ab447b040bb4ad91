"""What account reads from its environment beside the common settings."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from libs.settings import ServiceSettings, SettingsError


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

    ATTEMPT_LIFETIME: timedelta = timedelta(minutes=10)
    """How long a sign-in that passed its first step waits for the next."""
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
        for name in (
            "EMAIL_CHANGE_LIFETIME",
            "DATA_COLLECTION_LIFETIME",
            "DATA_LINK_LIFETIME",
            "ERASE_GRACE",
        ):
            if getattr(self, name).total_seconds() < 1:
                raise SettingsError(f"{name} must be one second or more.")
        if self.HASHING_CONCURRENCY < 1:
            raise SettingsError("HASHING_CONCURRENCY must be at least 1.")
        if self.GEOIP_DATABASE and not Path(self.GEOIP_DATABASE).is_file():
            raise SettingsError("GEOIP_DATABASE must name a readable file, or nothing.")
        if self.SESSION_ABSOLUTE_LIFETIME < self.SESSION_IDLE_LIFETIME:
            raise SettingsError("SESSION_ABSOLUTE_LIFETIME must not be shorter than SESSION_IDLE_LIFETIME.")
