"""account's own tasks; each is safe to run twice. gateway/schedule.py says when they run."""

from libs.guard.secrets import rotation
from services.account.extensions import tasks
from services.account.flows import (
    attempts,
    clearing,
    copies,
    data_download,
    erasure,
    forgotten,
    new_devices,
    second_factor_reset,
    sessions,
)


@tasks.task
def settle_redis_debts() -> None:
    """Every 5 s: repeat what Redis did not take when sessions ended or people changed, until it has."""
    copies.settle_debts()


@tasks.task
def fold_seen_sessions() -> None:
    """Every 5 min: fold the uses noted in Redis into the sessions' rows."""
    sessions.fold_seen()


@tasks.task
def tell_of_new_devices() -> None:
    """Every 5 s: mail about sign-ins from devices that their owners have not used before."""
    while new_devices.tell_of_new_devices() == new_devices.ROWS_PER_BATCH:
        pass


@tasks.task
def answer_password_requests() -> None:
    """Queued when somebody asks, and every 5 s: mail links to those whose passwords were forgotten."""
    forgotten.answer_requests()


@tasks.cleanup_that_notes
def clear_expired_sessions() -> None:
    """Daily: delete sessions that expired, in bounded batches."""
    sessions.clear_expired_sessions()


@tasks.cleanup
def clear_old_rows() -> None:
    """Hourly: delete login events, links and devices that serve nobody any more, in bounded batches."""
    clearing.clear_old_rows()


@tasks.task
def expire_attempts() -> None:
    """Every minute: end sign-ins that waited too long for their next step, and write them down as expired."""
    attempts.expire_attempts()


@tasks.task
def mail_second_factor_links() -> None:
    """Every minute: mail the link to whoever has waited to remove lost second factors; end those left unused."""
    second_factor_reset.mail_due_links()


@tasks.task
def assemble_data() -> None:
    """Every minute: hand out what was collected about people, where a service has not answered in time."""
    data_download.assemble_overdue()


@tasks.task
def erase_due() -> None:
    """Every 10 min: erase the accounts whose time of grace is over."""
    while erasure.erase_due() == erasure.PEOPLE_PER_BATCH:
        pass


@tasks.task
def reencrypt() -> None:
    """Every 15 min: seal under the first data key what an earlier one seals still, in bounded batches."""
    rotation.reencrypt_some()
