"""Forgetting a person who is gone. Closed applications stay as numbers; open ones go with the person."""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from libs.observe.logs import get_logger
from services.onboarding.extensions import audit, db
from services.onboarding.flows import people, states
from services.onboarding.flows.data_download import invited_as, of_person
from services.onboarding.models import (
    UNDECIDED,
    Application,
    Invitation,
    Link,
    Note,
    Question,
    ReviewerChoice,
)

log = get_logger("onboarding.erasure")

FORGOTTEN: dict[str, Any] = {
    "email": "",
    "email_folded": "",
    "name": "",
    "why": "",
    "answers": {},
    "terms_version": None,
    "continue_to": None,
    "network": None,
    "invitation_id": None,
    "reason": None,
    "sub": None,
}
"""What an application says once its person is gone; its states and times are what is counted."""


def erase(*, sub: str, emails: Iterable[str], left: Mapping[str, str]) -> None:
    """Keep of the person's applications only what counts them: states and times. Told twice, it happens once."""
    with db.transaction() as session:
        people.bury_person(sub=sub)
        found = session.execute(
            sa.select(Application.id, Application.state)
            .where(of_person(sub, emails, left))
            .order_by(Application.id)
            .with_for_update()
        ).all()
        ids = [row.id for row in found]
        open_ids = [row.id for row in found if row.state in UNDECIDED]
        for row in found:
            if row.state == "approved":
                # It became the account that is gone: that event was overtaken by this one, and says nothing new.
                states.make(states.ACTIVATE, row.id)
        for table in (Link, Note, Question):
            session.execute(sa.delete(table).where(table.application_id.in_(ids)))
        session.execute(sa.delete(Application).where(Application.id.in_(open_ids)))
        session.execute(
            sa.update(Application)
            .where(Application.id.in_(ids))
            .values(FORGOTTEN)
            .execution_options(synchronize_session=False)
        )
        session.execute(sa.delete(ReviewerChoice).where(ReviewerChoice.sub == sub))
        # An invitation to them leads nowhere any more; without its address it would be a link for anybody.
        session.execute(
            sa.update(Invitation)
            .where(invited_as(emails, left))
            .values(
                email="",
                email_folded="",
                note="",
                withdrawn_at=sa.func.coalesce(Invitation.withdrawn_at, sa.func.now()),
            )
            .execution_options(synchronize_session=False)
        )
        # The reasons were written to the person, about the person.
        session.execute(
            audit.table.update()
            .where(audit.table.c.target.in_([states.target(id_) for id_ in ids]))
            .values(reason=None)
        )
        audit.record(
            "applicant.erased",
            target=f"user:{sub}",
            after={"applications": len(ids) - len(open_ids), "withdrawn": len(open_ids)},
        )
    log.info("applicant_erased", sub=sub, applications=len(ids))
