"""account's own tasks; each is safe to run twice. gateway/schedule.py says when they run."""

from services.account.extensions import tasks
from services.account.flows import copies, password_links, sessions


@tasks.task
def settle_redis_debts() -> None:
    """Every 5 s: repeat what Redis did not take when sessions ended or people changed, until it has."""
    copies.settle_debts()


@tasks.task
def fold_seen_sessions() -> None:
    """Every 5 min: fold the uses noted in Redis into the sessions' rows."""
    sessions.fold_seen()


@tasks.task
def clear_expired_sessions() -> None:
    """Daily: delete sessions that expired and links that are of no use, in bounded batches."""
    sessions.clear_expired_sessions()
    while password_links.clear_old_links():
        pass
