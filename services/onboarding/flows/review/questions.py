"""Questions to the applicant, and the answers. The application stays in review meanwhile."""

import uuid
from collections.abc import Iterable

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.audit import current_actor
from libs.database import utcnow
from libs.web.problems import Problem
from services.onboarding.extensions import audit, db
from services.onboarding.flows import mail, states
from services.onboarding.flows.review import claims, standing
from services.onboarding.models import UNDECIDED, Application, Question

MOST_SHOWN = 50
IS_OPEN = sa.and_(Question.answered_at.is_(None), Question.closed_at.is_(None))


class AlreadyAsked(Problem):
    """An earlier question waits for its answer."""

    status, slug = 409, "already-asked"
    title = lazy_gettext("The applicant has not answered the last question yet")


class NotAskedYet(Problem):
    """Nobody has proven to have the address: what was entered there is not sent to it."""

    status, slug = 409, "address-not-confirmed"
    title = lazy_gettext("The applicant has not confirmed the address yet")


class NothingAsked(states.NotPossible):
    """No question waits for an answer: it was answered, or a decision has made it needless."""

    slug = "nothing-asked"
    title = lazy_gettext("No question waits for an answer")


def ask(*, application_id: uuid.UUID, text: str) -> Question:
    """Mail the applicant a question; whoever asks has claimed the application, now or before.

    Raises AlreadyDecided, ClaimedByAnother, NotAskedYet, AlreadyAsked.
    """
    with db.transaction() as session:
        application = standing.hold(application_id)
        if application.confirmed_at is None:
            raise NotAskedYet
        if open_of(application_id) is not None:
            raise AlreadyAsked
        if application.state != "in_review" or application.claimed_by is None:
            application = claims.claim(application_id=application_id)
        question = Question(application_id=application_id, asked_by=current_actor(), text=text)
        session.add(question)
        session.flush()
        audit.record("application.question_asked", target=states.target(application_id))
        mail.ask_question(application, question)
        return question


def answer(*, application_id: uuid.UUID, text: str) -> Question:
    """The applicant's answer to the open question, once. Raises NothingAsked."""
    with db.transaction() as session:
        application = states.get_locked(application_id)
        question = open_of(application_id)
        if question is None or application.state not in UNDECIDED:
            raise NothingAsked(application)
        question.answered_at, question.answer = utcnow(), text
        session.flush()
        audit.record("application.question_answered", target=states.target(application_id))
        return question


def close(application_id: uuid.UUID) -> None:
    """The answer is no longer needed. The caller's transaction holds the application."""
    db.session.execute(
        sa.update(Question)
        .where(Question.application_id == application_id, IS_OPEN)
        .values(closed_at=utcnow())
        .execution_options(synchronize_session=False)
    )


def open_of(application_id: uuid.UUID) -> Question | None:
    """The question that waits for an answer."""
    return db.session.scalar(
        sa.select(Question)
        .where(Question.application_id == application_id, IS_OPEN)
        .execution_options(populate_existing=True)
    )


def of(application_id: uuid.UUID) -> list[Question]:
    """The newest questions of an application, oldest first."""
    found = db.session.scalars(
        sa.select(Question)
        .where(Question.application_id == application_id)
        .order_by(Question.id.desc())
        .limit(MOST_SHOWN)
        .execution_options(populate_existing=True)
    )
    return list(found)[::-1]


def standings(applications: Iterable[Application]) -> dict[uuid.UUID, str]:
    """How the newest question of each stands: `asked` or `answered`; nothing for those that nobody asked."""
    ids = [application.id for application in applications if application.state in UNDECIDED]
    if not ids:
        return {}
    rows = db.session.execute(
        sa.select(Question.application_id, Question.answered_at)
        .where(Question.application_id.in_(ids), Question.closed_at.is_(None))
        .order_by(Question.application_id, Question.id.desc())
        .distinct(Question.application_id)
    )
    return {row.application_id: "answered" if row.answered_at else "asked" for row in rows}
