"""What onboarding holds about a person who asks for it: their applications, what became of them, invitations.

Of staff it says nothing but what they wrote about the person: notes and reasons are the person's data too, also those
that no page shows them (GDPR article 15; docs/decisions/0025). Who wrote them is left out: that is about others.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from libs.messaging.events import OnboardingDataCollected
from services.onboarding.extensions import audit, db, outbox
from services.onboarding.flows import states
from services.onboarding.models import (
    Application,
    Invitation,
    Link,
    Note,
    Person,
    Question,
    ReviewerChoice,
    fold,
)

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
        invitations = session.scalars(
            sa.select(Invitation)
            .where(invited_as(emails, left))
            .order_by(Invitation.id.desc())
            .limit(MOST_APPLICATIONS)
        )
        content: dict[str, Any] = {
            "person": {"name": person.name, "roles": person.roles, "locale": person.locale}
            if person
            else None,
            "applications": [_whole(application) for application in applications],
            "invitations": [_invited(invitation) for invitation in invitations],
            "mails_about_reviews": session.scalar(
                sa.select(ReviewerChoice.mail).where(ReviewerChoice.sub == sub)
            ),
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


def invited_as(emails: Iterable[str], left: Mapping[str, str]) -> sa.ColumnElement[bool]:
    """Which invitations were mailed to a person's addresses while they were theirs."""

    def sent_to(email: str) -> sa.ColumnElement[bool]:
        same = sa.and_(Invitation.email_folded == fold(email), Invitation.email_folded != "")
        until = left.get(email)
        return sa.and_(same, Invitation.created_at < datetime.fromisoformat(until)) if until else same

    return sa.or_(sa.false(), *map(sent_to, emails))


def _invited(invitation: Invitation) -> dict[str, Any]:
    return {
        "email": invitation.email,
        "roles": invitation.roles,
        "note": invitation.note,
        "created_at": _plain(invitation.created_at),
        "expires_at": _plain(invitation.expires_at),
        "withdrawn_at": _plain(invitation.withdrawn_at),
    }


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
        "answers": application.answers,
        "terms_version": application.terms_version,
        "network": application.network,
        "roles": application.roles,
        "locale": application.locale,
        "state": application.state,
        "submitted_at": _plain(application.submitted_at),
        "confirmed_at": _plain(application.confirmed_at),
        "decided_at": _plain(application.decided_at),
        "activated_at": _plain(application.activated_at),
        "expired_at": _plain(application.expired_at),
        "withdrawn_at": _plain(application.withdrawn_at),
        "reason": application.reason,
        "questions": [
            {
                "asked_at": _plain(question.asked_at),
                "question": question.text,
                "answered_at": _plain(question.answered_at),
                "answer": question.answer,
            }
            for question in _of(Question, application)
        ],
        "notes": [{"at": _plain(note.written_at), "text": note.text} for note in _of(Note, application)],
        "links": [{name: _plain(value) for name, value in row._mapping.items()} for row in links],
        "history": [{"at": _plain(row.created_at), "action": row.action} for row in reversed(history)],
    }


def _of(table: Any, application: Application) -> list[Any]:
    """The rows of a table that hang on the application, oldest first."""
    query = sa.select(table).where(table.application_id == application.id).order_by(table.id)
    return list(db.session.scalars(query))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
