"""Forgetting a person who is gone. Decided applications stay as numbers; open ones go with the person."""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from libs.observe.logs import get_logger
from services.onboarding.extensions import audit, db
from services.onboarding.flows import people, states
from services.onboarding.flows.data_download import of_person
from services.onboarding.models import OPEN, Application, Link

log = get_logger("onboarding.erasure")


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
        open_ids = [row.id for row in found if row.state in OPEN]
        session.execute(sa.delete(Link).where(Link.application_id.in_(ids)))
        session.execute(sa.delete(Application).where(Application.id.in_(open_ids)))
        session.execute(
            sa.update(Application)
            .where(Application.id.in_(ids))
            .values(email="", email_folded="", name="", why="", reason=None, continue_to=None, sub=None)
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
