"""What onboarding reads from its environment beside the common settings."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from libs.settings import ServiceSettings, SettingsError


@dataclass(frozen=True, kw_only=True)
class OnboardingSettings(ServiceSettings):
    """Lifetimes are read in seconds."""

    SERVICE: ClassVar[str] = "onboarding"

    CONFIRMATION_LINK_LIFETIME: timedelta = timedelta(days=3)
    """How long the link that confirms an applicant's address works; a newer one ends the older."""
    ACTIVATION_LINK_LIFETIME: timedelta = timedelta(hours=24)
    """How long the link that opens an approved person's account works; a newer one ends the older."""
    INVITATION_LIFETIME: timedelta = timedelta(days=14)
    """How long an invitation works, unless whoever makes it says otherwise."""
    ENDED_LINKS_KEPT: timedelta = timedelta(days=30)
    """How long after its end a link is still known, so that its page can offer a fresh mail in one click."""
    DISPOSABLE_DOMAINS: tuple[str, ...] = ()
    """Mail domains, comma-separated, that give addresses away for minutes; what lies below them counts too."""
    DIGEST_HOUR: int = 6
    """The hour (UTC) from which reviewers are mailed what waits for them, once a day."""

    @property
    def disposable_domains(self) -> frozenset[str]:
        return frozenset(self.DISPOSABLE_DOMAINS)

    def check(self) -> None:
        super().check()
        if not 0 <= self.DIGEST_HOUR <= 23:
            raise SettingsError("DIGEST_HOUR must be an hour from 0 to 23.")
