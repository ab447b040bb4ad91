"""Reviewers, and the mail that tells them what waits: at once, as a digest once a day, or never."""

from datetime import datetime, time
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import insert

from libs.database import utcnow
from libs.messaging.events import MailRequested
from libs.service import parts_of
from services.onboarding.extensions import audit, db, outbox
from services.onboarding.flows.review import questions
from services.onboarding.models import IS_REVIEWER, UNDECIDED, Application, Person, Question, ReviewerChoice
from services.onboarding.settings import OnboardingSettings

AT_ONCE, DIGEST = "at_once", "digest"
DEFAULT = DIGEST


def choice_of(sub: str) -> str:
    """When this reviewer wants mail: a word of REVIEWER_MAILS."""
    return db.session.scalar(sa.select(ReviewerChoice.mail).where(ReviewerChoice.sub == sub)) or DEFAULT


def choose(*, sub: str, mail: str) -> None:
    """Keep when a reviewer wants mail."""
    with db.transaction() as session:
        before = choice_of(sub)
        session.execute(
            insert(ReviewerChoice)
            .values(sub=sub, mail=mail)
            .on_conflict_do_update(index_elements=["sub"], set_={"mail": mail})
        )
        if before != mail:
            audit.record(
                "reviewer.mail_chosen", target=f"user:{sub}", before={"mail": before}, after={"mail": mail}
            )


def tell(application: Application) -> None:
    """Mail those who want to know at once that this application needs a review; part of the transaction under way."""
    wanting = db.session.execute(
        sa.select(Person)
        .join(ReviewerChoice, ReviewerChoice.sub == Person.sub)
        .where(ReviewerChoice.mail == AT_ONCE, IS_REVIEWER, Person.email != "")
    ).scalars()
    for person in wanting:
        _mail(
            person,
            "application_waits",
            # The reviewer first: what becomes of this mail is no trouble of the application's.
            key=f"waits:{person.sub}:{application.id}",
            context={"applicant": application.name, "link": f"{_pages()}/{application.id}"},
        )


def send_digests() -> int:
    """Mail today's digest to every reviewer who wants one and has not had it. Returns to how many.

    Nobody for whom nothing waits is written to: they are looked at again an hour later. Run twice side by side,
    each reviewer is written to once.
    """
    now = utcnow()
    morning = datetime.combine(now.date(), time(hour=_settings().DIGEST_HOUR), now.tzinfo)
    if now < morning:
        return 0
    return sum(_send_digest(person, morning) for person in _due(morning))


def _due(morning: datetime) -> list[Person]:
    wants = sa.or_(
        ReviewerChoice.sub.is_(None),
        sa.and_(ReviewerChoice.mail == DIGEST, _has_had_none_since(morning)),
    )
    return list(
        db.session.scalars(
            sa.select(Person)
            .outerjoin(ReviewerChoice, ReviewerChoice.sub == Person.sub)
            .where(IS_REVIEWER, Person.email != "", wants)
            .order_by(Person.sub)
        )
    )


def _has_had_none_since(morning: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(ReviewerChoice.last_digest_at.is_(None), ReviewerChoice.last_digest_at < morning)


def _send_digest(person: Person, morning: datetime) -> bool:
    """Whether something waited and this call was the first of the day to say so."""
    with db.transaction() as session:
        count, since = session.execute(
            sa.select(sa.func.count(), sa.func.min(Application.confirmed_at)).where(_waits_for(person.sub))
        ).one()
        if not count:
            return False
        now = utcnow()
        is_first = session.scalar(
            insert(ReviewerChoice)
            .values(sub=person.sub, mail=DIGEST, last_digest_at=now)
            .on_conflict_do_update(
                index_elements=["sub"],
                set_={"last_digest_at": now},
                where=sa.and_(ReviewerChoice.mail == DIGEST, _has_had_none_since(morning)),
            )
            .returning(ReviewerChoice.sub)
        )
        if is_first is None:
            return False
        context = {"count": count, "since": since.isoformat(), "link": _pages()}
        _mail(person, "review_digest", key=f"digest:{person.sub}:{morning.date()}", context=context)
        return True


def _waits_for(sub: str) -> sa.ColumnElement[bool]:
    """Applications that this reviewer could go on with now: the address is proven, and no answer is waited for."""
    asked = sa.exists().where(Question.application_id == Application.id, questions.IS_OPEN)
    claimed_by_another = sa.and_(
        Application.state == "in_review",
        sa.func.coalesce(Application.claimed_by, "") != "",
        Application.claimed_by != f"user:{sub}",
    )
    return sa.and_(
        Application.state.in_(UNDECIDED),
        Application.confirmed_at.is_not(None),
        sa.not_(sa.func.coalesce(claimed_by_another, sa.false())),
        sa.not_(asked),
    )


def _mail(person: Person, template: str, *, key: str, context: dict[str, Any]) -> None:
    outbox.record(
        MailRequested(
            template=template,
            recipient=person.email,
            locale=person.locale,
            context={"name": person.name, **context},
            deduplication_key=key,
        )
    )


def _pages() -> str:
    return f"{_settings().PUBLIC_URL}/admin/applications"


def _settings() -> OnboardingSettings:
    settings: OnboardingSettings = parts_of(current_app).settings
    return settings
