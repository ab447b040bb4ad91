"""When keys take turns: the moments at which nobody's copy of the JWKS can be wrong any more."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import current_app

from libs.service import parts_of
from services.oidc.models import SigningKey

LOOK_INTERVAL = timedelta(seconds=1)
"""A key added, promoted or withdrawn is seen by every process within this time."""
MARGIN = timedelta(minutes=5)
"""For clocks that differ, caches that are late, and a process that could not ask the database meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long each part of a key's life lasts."""

    rotation: timedelta
    """How long a key signs."""
    ahead: timedelta
    """How long a key is published at least before it signs: no JWKS without it can be cached then."""
    after: timedelta
    """How long a key is published after it signed last: every token that it signed has expired then."""
    caching: timedelta
    """How long clients may go without asking for the JWKS."""
    hints: timedelta
    """How long ID tokens are understood as hints after their key signed last: as long as a sign-in can live on."""

    def rotates_at(self, current: SigningKey) -> datetime:
        """When the one after it is to sign."""
        return (current.activated_at or current.created_at) + self.rotation

    def ready_at(self, key: SigningKey, others: Iterable[SigningKey]) -> datetime:
        """From when on a key can sign without a client having to fetch the JWKS before its time.

        The first keys of an algorithm are published together: whoever knows one of them knows the other.
        """
        is_first = all(other.created_at >= key.created_at for other in others if other.alg == key.alg)
        return key.created_at if is_first else key.created_at + self.ahead

    def retires_at(self, previous: SigningKey) -> datetime | None:
        """When nothing that it signed is alive; None for one that never signed here: nobody here can tell."""
        return previous.replaced_at + self.after if previous.replaced_at else None


def timing() -> Timing:
    """By the settings of this process."""
    settings = parts_of(current_app).settings
    return Timing(
        rotation=settings.KEY_ROTATION_INTERVAL,
        ahead=settings.JWKS_MAX_AGE + LOOK_INTERVAL + MARGIN,
        after=max(settings.ID_TOKEN_LIFETIME, settings.ACCESS_TOKEN_LIFETIME) + LOOK_INTERVAL + MARGIN,
        caching=settings.JWKS_MAX_AGE,
        hints=settings.REFRESH_ABSOLUTE_LIFETIME,
    )
