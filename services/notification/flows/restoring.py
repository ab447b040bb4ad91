"""After a restore: mail that waits may have left long ago. It is held until staff release it, or forget it."""

import uuid
from collections.abc import Callable, Iterator

import sqlalchemy as sa

from libs.database import utcnow
from services.notification.extensions import audit, db, tasks
from services.notification.flows import lifecycle
from services.notification.models import WAITING, Message

BATCH = 500


def hold_mail() -> dict[str, int]:
    """Hold all that waits, in the caller's transaction. A mail whose link is over ends as too late when released:

    whoever asked for it makes a new one where that is right.
    """
    now = utcnow()
    expires_at = sa.case((Message.expires_at.is_not(None), sa.func.least(Message.expires_at, now)))
    done = db.session.execute(
        sa.update(Message)
        .where(Message.state.in_(WAITING))
        .values(state="held", expires_at=expires_at, due_at=now)
        .execution_options(synchronize_session=False)
    )
    return {"mails held": int(done.rowcount)}  # type: ignore[attr-defined]


def release() -> int:
    """Queue again all that is held, oldest first. Returns how many."""
    return sum(_in_batches(lambda message: lifecycle.queue_again(message, now=utcnow()), "message.released"))


def forget() -> int:
    """Delete all that is held: it left before the restore, or nobody needs it any more. Returns how many."""
    return sum(_in_batches(lambda message: db.session.delete(message), "message.forgotten"))


def _in_batches(change: Callable[[Message], None], action: str) -> Iterator[int]:
    """Change what is held, a transaction and an entry of the audit for each batch; yields how many of each."""
    after = uuid.UUID(int=0)
    while True:
        with db.transaction() as session:
            batch = session.scalars(
                sa.select(Message)
                .where(Message.state == "held", Message.id > after)
                .order_by(Message.id)
                .limit(BATCH)
                .with_for_update()
                .execution_options(populate_existing=True)
            ).all()
            for message in batch:
                change(message)
            if batch:
                audit.record(action, target="service:notification", after={"messages": len(batch)})
        if not batch:
            break
        after = batch[-1].id
        yield len(batch)
    # The sweep finds them all; one task begins at once.
    tasks.send("sweep_messages")


def count_held() -> int:
    query = sa.select(sa.func.count()).select_from(Message).where(Message.state == "held")
    return db.session.execute(query).scalar_one()
