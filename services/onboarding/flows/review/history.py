"""What happened to an application, and what else came from the same address and network."""

import uuid
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from services.onboarding.extensions import audit, db
from services.onboarding.flows import people, states
from services.onboarding.flows.review import notes, questions
from services.onboarding.models import Application, fold

LONGEST_HISTORY = 200
OTHERS_SHOWN = 50
NEIGHBOURS_SHOWN = 10
TOLD_BY_THEIR_ROWS = (
    "application.note_written",
    "application.question_asked",
    "application.question_answered",
)
"""Actions whose words stand in tables of their own."""


@dataclass(frozen=True)
class Entry:
    """A line of a history. `who` is a name where we know one, else the actor says who it was."""

    at: datetime
    action: str
    actor: str
    who: str | None
    words: str | None
    """A reason, note, question or answer."""


def of(application_id: uuid.UUID) -> list[Entry]:
    """What happened to an application, oldest first."""
    lines = [
        (row.created_at, row.action, row.actor, row.reason)
        for row in audit.entries(target=states.target(application_id), limit=LONGEST_HISTORY)
        if row.action not in TOLD_BY_THEIR_ROWS
    ]
    for note in notes.of(application_id):
        lines.append((note.written_at, "application.note_written", note.written_by, note.text))
    for question in questions.of(application_id):
        lines.append((question.asked_at, "application.question_asked", question.asked_by, question.text))
        if question.answered_at:
            lines.append(
                (question.answered_at, "application.question_answered", "anonymous", question.answer)
            )
    names = people.names_of(actor for _, _, actor, _ in lines)
    return sorted(
        (Entry(at, action, actor, names.get(actor), words) for at, action, actor, words in lines),
        key=lambda entry: entry.at,
    )


def of_address(email: str) -> list[Application]:
    """All applications of an address, newest first."""
    if not email:
        return []
    return list(
        db.session.scalars(
            sa.select(Application)
            .where(Application.email_folded == fold(email))
            .order_by(Application.id.desc())
            .limit(OTHERS_SHOWN)
        )
    )


def of_network(application: Application) -> list[Application]:
    """The newest applications of other addresses from the network that this one came from."""
    if application.network is None:
        return []
    return list(
        db.session.scalars(
            sa.select(Application)
            .where(Application.network == application.network)
            .where(Application.email_folded != application.email_folded)
            .order_by(Application.id.desc())
            .limit(NEIGHBOURS_SHOWN)
        )
    )
