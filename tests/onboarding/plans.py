"""What reviewers look at, on a table of many applications: for the plans of PostgreSQL, and for the bench."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from tests.bench.applications import Applications


@contextmanager
def seeded_applications(app: Flask, *, count: int) -> Iterator[None]:
    """So many applications more, and statistics that know of them; afterwards the table is as before."""
    connection = psycopg2.connect(parts_of(app).settings.DATABASE_URL)
    seed = Applications(connection, count=count)
    try:
        seed.make()
        yield
    finally:
        seed.remove()
        connection.close()


def looks() -> dict[str, Callable[[], Any]]:
    """Everything that a page, a scrape or a heartbeat reads, by name; within an app's context."""
    from services.onboarding.extensions import db
    from services.onboarding.flows.review import history, observing, queue, signs
    from services.onboarding.models import Application

    def page(**wanted: Any) -> Callable[[], Any]:
        def read() -> Any:
            found = queue.find(**wanted)
            db.session.rollback()
            return found

        return read

    newest = db.session.scalar(
        sa.select(Application)
        .where(Application.network.is_not(None))
        .order_by(Application.id.desc())
        .limit(1)
    )
    middle = db.session.scalar(sa.select(Application.id).where(Application.state == "rejected").limit(1))
    assert newest is not None
    db.session.expunge(newest)
    db.session.rollback()
    filters = {f"filter {state}": page(state=state) for state in queue.FILTERS}
    return {
        **filters,
        "newest first": page(newest_first=True),
        "a later page of all": page(state="all", after=middle),
        "a part of a name among the undecided": page(search="owalsk"),
        "nobody among the undecided": page(search="nobody at all"),
        "an address among all": page(state="all", search="p77."),
        "a letter among all": page(state="all", search="p"),
        "a name among all": page(state="all", search="kowalski ann"),
        "a name among the withdrawn": page(state="withdrawn", search="ann"),
        "a mail domain among all": page(state="all", search="@d77.seed.test"),
        "a mail domain among the rejected": page(state="rejected", search="@d77.seed.test"),
        "numbers beside the filters": queue.count_groups,
        "signs": lambda: signs.of(newest),
        "neighbours": lambda: history.of_network(newest),
        "gauges": lambda: list(observing.gauges()),
        "what waits": observing.count_undecided,
    }
