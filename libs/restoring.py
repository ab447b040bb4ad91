"""After a restore: whatever may have ended since the backup ends, and the events of around then are sent again."""

from datetime import UTC, datetime, timedelta
from typing import cast

import click
import redis
import sqlalchemy as sa
from flask import current_app

from libs.commands import command, done
from libs.database import first_uuid7, utcnow
from libs.messaging.outbox import KEEP_CONFIRMED
from libs.observe.logs import get_logger
from libs.people.bearer.keys import IssuerKeys

log = get_logger("libs.restoring")

BACKUP_KEY = "cleanup:backup"
"""Where Redis keeps when the last backup was finished, in epoch seconds, for the metric of its age."""
ACTION = "service.restored"
CLOCKS_APART = timedelta(hours=1)
"""Events that were confirmed up to this long before the backup are sent again, too: clocks may differ."""
LATE = timedelta(seconds=5)
"""No restore is quicker; and no event but a late one costs a look."""


def after_restore(*, made_at: datetime | None = None) -> dict[str, int]:
    """Make the current service's database, which was just restored, fit to be served. Returns what was done, by words.

    `made_at` is when the backup was begun; without it every event that is still kept is sent again. Run twice it ends
    what has begun since. Raises redis.RedisError before anything is changed.

    Nothing leaves this process: until its database has taken its place, the suite that would hear of it is not the
    one that it is about. A suite that learned of keys that never come would believe nobody.
    """
    from libs.service import parts_of

    parts = parts_of(current_app)
    _empty(parts.redis)
    since = made_at - CLOCKS_APART if made_at else utcnow() - KEEP_CONFIRMED
    with parts.outbox.asleep(), parts.db.transaction() as session:
        # Whole tables are gone through, and nobody waits for it.
        session.execute(sa.text("SET LOCAL statement_timeout = 0"))
        counts = dict(parts.when_restored()) if parts.when_restored else {}
        if isinstance(parts.issuer_keys, IssuerKeys):  # the issuer itself has other keys by now
            parts.issuer_keys.distrust()
        counts["events sent again"] = parts.outbox.send_again(confirmed_since=since)
        parts.audit.record(ACTION, target=_target(), after=counts | {"backup_of": made_at})
    log.info("service_restored", **{name.replace(" ", "_"): count for name, count in counts.items()})
    return counts


def _empty(client: redis.Redis) -> None:
    """Copies of sessions, queued messages, half-done requests: all of it is about a time that is not any more.

    But for when the last backup was made.
    """
    backed_up_at = cast(str | None, client.get(BACKUP_KEY))
    client.flushdb(asynchronous=True)
    if backed_up_at:
        client.set(BACKUP_KEY, backed_up_at)


def is_undone(moment: datetime | None) -> bool:
    """Whether this service's database was restored after something happened elsewhere at that moment.

    What happened just now is asked about by nobody.
    """
    if moment is None or moment > utcnow() - LATE:
        return False
    from libs.service import parts_of

    parts = parts_of(current_app)
    entries = parts.audit.table
    query = sa.select(entries.c.id).where(
        entries.c.target == _target(), entries.c.action == ACTION, entries.c.id >= first_uuid7(moment)
    )
    return parts.db.session.scalar(query.limit(1)) is not None


def _target() -> str:
    from libs.service import parts_of

    return f"service:{parts_of(current_app).name}"


@click.command("restored", help="After its database came back from a backup: end what must not live again.")
@click.option(
    "--made-at",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]),
    help="When the backup was begun (made_at of its manifest); without it all events of a week are sent again.",
)
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@command
def restored(made_at: datetime | None, is_sure: bool, as_json: bool) -> None:
    if not is_sure:
        click.confirm("This ends all sessions, grants, links and codes of this service. Go on?", abort=True)
    if made_at is not None and made_at.tzinfo is None:
        made_at = made_at.replace(tzinfo=UTC)
    counts = after_restore(made_at=made_at)
    words = ", ".join(f"{count} {name}" for name, count in counts.items())
    done(f"{_target()} is ready: {words}.", dict(counts), as_json=as_json)
