"""How an application ends that nobody decided: its applicant withdraws it, or time runs out; networks are forgotten."""

import uuid

import sqlalchemy as sa
from flask import current_app

from libs.database import first_uuid7, utcnow
from libs.service import parts_of
from services.onboarding.extensions import db
from services.onboarding.flows import links, mail, states
from services.onboarding.flows.review import questions
from services.onboarding.models import OPEN, Application, Question
from services.onboarding.settings import OnboardingSettings

AT_ONCE = 200
"""Applications that one call ends, or forgets the network of."""
IS_NOT_ACTIVATED = Application.directly_activated_at.is_(None)
"""While account was not told to open the account: what it was told is not taken back."""


def may_be_withdrawn(application: Application) -> bool:
    """Whether withdraw() has a chance."""
    return application.state in OPEN and application.directly_activated_at is None


def withdraw(*, application_id: uuid.UUID) -> Application:
    """The applicant has thought better of it. Pressed twice, it happens once. Raises NotPossible."""
    with db.transaction():
        application = states.get_locked(application_id)
        if application.state == "withdrawn":
            return application
        application = states.make(states.WITHDRAW, application_id, where=IS_NOT_ACTIVATED)
        _close(application)
        mail.tell_withdrawn(application)
        return application


def expire_due() -> int:
    """End what nobody goes on with, at most AT_ONCE applications. Returns how many; 0 when nothing is left to do."""
    due = _due()
    found = db.session.scalars(
        sa.select(Application.id).where(due, IS_NOT_ACTIVATED).order_by(Application.id).limit(AT_ONCE)
    ).all()
    db.session.rollback()  # a transaction for each of them follows
    return sum(_expire(application_id, due) for application_id in found)


def _expire(application_id: uuid.UUID, due: sa.ColumnElement[bool]) -> bool:
    with db.transaction():
        try:
            # Held first: what the applicant does at this moment is seen by the statement that ends it.
            states.get_locked(application_id)
            application = states.make(states.EXPIRE, application_id, where=sa.and_(due, IS_NOT_ACTIVATED))
        except (states.NotPossible, states.NoSuchApplication):
            return False
        _close(application)
        mail.tell_expired(application)
        return True


def _due() -> sa.ColumnElement[bool]:
    """Which applications have waited too long for their applicant."""
    settings, now = _settings(), utcnow()
    since = {
        name: now - lifetime
        for name, lifetime in (
            ("unconfirmed", settings.UNCONFIRMED_LIFETIME),
            ("asked", settings.QUESTION_LIFETIME),
            ("approved", settings.APPROVED_LIFETIME),
        )
    }
    asked_long_ago = (
        sa.select(Question.id)
        .where(Question.application_id == Application.id, Question.asked_at < since["asked"])
        .where(questions.IS_OPEN)
        .correlate(Application)
        .exists()
    )
    last_mail = sa.func.coalesce(Application.mailed_at, Application.submitted_at)
    return sa.or_(
        sa.and_(
            Application.state.in_(("submitted", "in_review")),
            Application.id < first_uuid7(since["unconfirmed"]),  # what the index narrows down to
            Application.confirmed_at.is_(None),
            last_mail < since["unconfirmed"],
        ),
        sa.and_(Application.state == "in_review", asked_long_ago),
        sa.and_(
            Application.state == "approved",
            Application.id < first_uuid7(since["approved"]),
            Application.decided_at < since["approved"],
            last_mail < since["approved"],
        ),
    )


def _close(application: Application) -> None:
    """Nothing that the applicant holds leads on any more, and nobody waits for their answer."""
    links.supersede(application.id)
    questions.close(application.id)


def forget_networks() -> int:
    """Forget where old applications came from, at most AT_ONCE of them. Returns how many."""
    with db.transaction() as session:
        old = (
            sa.select(Application.id)
            .where(Application.network.is_not(None))
            .where(Application.id < first_uuid7(utcnow() - _settings().NETWORKS_KEPT))
            .limit(AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        forgotten = session.execute(
            sa.update(Application)
            .where(Application.id.in_(old))
            .values(network=None)
            .execution_options(synchronize_session=False)
        )
        return forgotten.rowcount  # type: ignore[attr-defined]


def _settings() -> OnboardingSettings:
    settings: OnboardingSettings = parts_of(current_app).settings
    return settings
