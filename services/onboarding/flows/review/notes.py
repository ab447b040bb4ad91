"""Private notes: what reviewers write to each other. No page shows an applicant one (docs/decisions/0025)."""

import uuid

import sqlalchemy as sa

from libs.audit import current_actor
from services.onboarding.extensions import audit, db
from services.onboarding.flows import states
from services.onboarding.models import Note

MOST_SHOWN = 200


def add(*, application_id: uuid.UUID, text: str) -> Note:
    """Write a note, whatever has become of the application. Raises NoSuchApplication."""
    with db.transaction() as session:
        states.get_locked(application_id)
        note = Note(application_id=application_id, written_by=current_actor(), text=text)
        session.add(note)
        session.flush()
        audit.record("application.note_written", target=states.target(application_id))
        return note


def of(application_id: uuid.UUID) -> list[Note]:
    """The newest notes of an application, oldest first."""
    found = db.session.scalars(
        sa.select(Note)
        .where(Note.application_id == application_id)
        .order_by(Note.id.desc())
        .limit(MOST_SHOWN)
    )
    return list(found)[::-1]
