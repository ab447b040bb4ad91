"""What onboarding holds about a person who asks for it: their applications, and what became of them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from libs.messaging.events import OnboardingDataCollected
from services.onboarding.extensions import audit, db, outbox
from services.onboarding.flows import states
from services.onboarding.flows.apply import fold
from services.onboarding.models import Application, Link, Person

MOST_APPLICATIONS = 500


def collect(*, request_id: str, sub: str, emails: Iterable[str], left: Mapping[str, str]) -> None:
    """Answer account with everything about the person, and nothing about who reviewed it."""
    with db.transaction() as session:
        person = session.get(Person, sub, populate_existing=True)
        applications = session.scalars(
            sa.select(Application)
            .where(of_person(sub, emails, left))
            .order_by(Application.id.desc())
            .limit(MOST_APPLICATIONS)
        )
        content: dict[str, Any] = {
            "person": {"name": person.name, "roles": person.roles, "locale": person.locale}
            if person
            else None,
            "applications": [_whole(application) for application in applications],
        }
        outbox.record(OnboardingDataCollected(request_id=request_id, content=content))


def of_person(sub: str, emails: Iterable[str], left: Mapping[str, str]) -> sa.ColumnElement[bool]:
    """Which applications are a person's: what became their account, and what came from their addresses.

    `left` says until when each earlier address was theirs. What became another account is another person's.
    """

    def came_from(email: str) -> sa.ColumnElement[bool]:
        same = Application.email_folded == fold(email)
        until = left.get(email)
        return sa.and_(same, Application.submitted_at < datetime.fromisoformat(until)) if until else same

    theirs = sa.or_(sa.false(), *map(came_from, emails))
    return sa.or_(Application.sub == sub, sa.and_(Application.sub.is_(None), theirs))


def _whole(application: Application) -> dict[str, Any]:
    links = db.session.execute(
        sa.select(Link.purpose, Link.created_at, Link.expires_at, Link.used_at)
        .where(Link.application_id == application.id)
        .order_by(Link.id)
    )
    history = audit.entries(target=states.target(application.id), limit=500)
    return {
        "id": str(application.id),
        "email": application.email,
        "name": application.name,
        "why": application.why,
        "locale": application.locale,
        "state": application.state,
        "submitted_at": _plain(application.submitted_at),
        "confirmed_at": _plain(application.confirmed_at),
        "decided_at": _plain(application.decided_at),
        "activated_at": _plain(application.activated_at),
        # The words that the applicant was mailed, not those for staff alone.
        "reason": application.reason if application.reason_is_shown else None,
        "links": [{name: _plain(value) for name, value in row._mapping.items()} for row in links],
        "history": [{"at": _plain(row.created_at), "action": row.action} for row in reversed(history)],
    }


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
