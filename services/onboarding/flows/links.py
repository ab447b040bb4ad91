"""Single-use links of applications: made, found, spent, superseded, forgotten."""

import uuid
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext

from libs.database import utcnow
from libs.guard import single_use
from libs.service import parts_of
from libs.web.problems import Problem
from services.onboarding.extensions import db
from services.onboarding.models import Link
from services.onboarding.settings import OnboardingSettings

CONFIRM_ADDRESS = "confirm_address"
ACTIVATE = "activate"
PATHS = {CONFIRM_ADDRESS: "/apply/confirm", ACTIVATE: "/activate"}
CLEARED_AT_ONCE = 1000


class LinkEnded(Problem):
    """The link opens nothing: `why` is `unknown`, `used`, `superseded` or `expired`; unknown has no `link`."""

    status, slug = 410, "link-ended"
    title = lazy_gettext("This link no longer works")

    def __init__(self, why: str, link: Link | None = None):
        super().__init__(f"The link is {why}.")
        self.why, self.link = why, link


def issue(application_id: uuid.UUID, purpose: str) -> tuple[str, Link]:
    """A new link, as its URL and its row; it ends the earlier one of this purpose.

    The caller's transaction holds the application. The URL is for the one mail or terminal it is made for.
    """
    settings = _settings()
    now = utcnow()
    supersede(application_id, purpose)
    token, digest = single_use.make()
    link = Link(
        application_id=application_id,
        purpose=purpose,
        token_digest=digest,
        created_at=now,
        expires_at=now + _lifetime(settings, purpose),
    )
    db.session.add(link)
    db.session.flush()
    # The configured origin, whatever Host header the request under way came with.
    return f"{settings.PUBLIC_URL}{PATHS[purpose]}?token={token}", link


def supersede(application_id: uuid.UUID, *purposes: str) -> None:
    """End the application's living links of these purposes, or of all."""
    _end(application_id, purposes, superseded_at=utcnow())


def use_up(application_id: uuid.UUID, *purposes: str) -> None:
    """What the application's living links of these purposes were for has happened."""
    _end(application_id, purposes, used_at=utcnow())


def _end(application_id: uuid.UUID, purposes: tuple[str, ...], **values: Any) -> None:
    db.session.execute(
        sa.update(Link)
        .where(Link.application_id == application_id, Link.purpose.in_(purposes or PATHS))
        .where(Link.used_at.is_(None), Link.superseded_at.is_(None))
        .values(values)
    )


def find(token: str, *purposes: str) -> Link | None:
    """The link of this token, alive or ended; a token of one purpose is nothing at another's door."""
    return db.session.execute(
        sa.select(Link)
        .where(Link.token_digest == single_use.digest(token), Link.purpose.in_(purposes))
        .execution_options(populate_existing=True)
    ).scalar_one_or_none()


def open_link(token: str, purpose: str) -> Link:
    """The living link of this token; looking spends nothing. Raises LinkEnded."""
    link = find(token, purpose)
    if link is None:
        raise LinkEnded("unknown")
    why = end_of(link)
    if why:
        raise LinkEnded(why, link)
    return link


def end_of(link: Link) -> str | None:
    """Why the link no longer works; None while it does."""
    if link.used_at is not None:
        return "used"
    if link.superseded_at is not None:
        return "superseded"
    return "expired" if link.expires_at <= utcnow() else None


def is_newest(link_id: uuid.UUID) -> bool:
    """Whether this link was neither used nor replaced, though its time may be over."""
    link = db.session.get(Link, link_id, populate_existing=True)
    return link is not None and link.used_at is None and link.superseded_at is None


def spend(link: Link) -> None:
    """Use the link, once: of two side by side one wins. Raises LinkEnded.

    The caller's transaction holds the application.
    """
    now = utcnow()
    spent = db.session.execute(
        sa.update(Link)
        .where(
            Link.id == link.id, Link.used_at.is_(None), Link.superseded_at.is_(None), Link.expires_at > now
        )
        .values(used_at=now)
        .returning(Link.id)
    ).one_or_none()
    if spent is None:
        db.session.refresh(link)
        raise LinkEnded(end_of(link) or "expired", link)


def forget_ended() -> int:
    """Delete links that ended long ago, at most a thousand a call. Returns how many."""
    with db.transaction() as session:
        old = (
            sa.select(Link.id)
            .where(Link.expires_at < utcnow() - _settings().ENDED_LINKS_KEPT)
            .limit(CLEARED_AT_ONCE)
        )
        return session.execute(sa.delete(Link).where(Link.id.in_(old))).rowcount  # type: ignore[attr-defined]


def _settings() -> OnboardingSettings:
    settings: OnboardingSettings = parts_of(current_app).settings
    return settings


def _lifetime(settings: OnboardingSettings, purpose: str) -> timedelta:
    if purpose == CONFIRM_ADDRESS:
        return settings.CONFIRMATION_LINK_LIFETIME
    return settings.ACTIVATION_LINK_LIFETIME
