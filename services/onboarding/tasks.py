"""What onboarding does by itself; gateway/schedule.py says when."""

import time
from collections.abc import Callable

from libs.messaging.worker import LONGEST_TASK_S
from services.onboarding.extensions import idempotency, tasks
from services.onboarding.flows import ending, links
from services.onboarding.flows.review import reviewers


@tasks.cleanup
def clear_links() -> None:
    """Forget links that ended long ago, in bounded batches; a later run goes on where this one stops."""
    _until_nothing_is_left(links.forget_ended)


@tasks.cleanup
def clear_idempotency_keys() -> None:
    """Forget requests that nobody sends again, in the same way."""
    _until_nothing_is_left(idempotency.forget_old)


@tasks.cleanup
def expire_applications() -> None:
    """End applications that nobody goes on with, and tell their applicants; as far as the time reaches."""
    _until_nothing_is_left(ending.expire_due)


@tasks.cleanup
def forget_networks() -> None:
    """Forget where old applications came from; as far as the time reaches."""
    _until_nothing_is_left(ending.forget_networks)


@tasks.task
def mail_digests() -> None:
    """Tell reviewers once a day what waits for them; whoever was told today is passed over."""
    reviewers.send_digests()


def _until_nothing_is_left(step: Callable[[], int]) -> None:
    deadline = time.monotonic() + LONGEST_TASK_S / 2
    while step() and time.monotonic() < deadline:
        pass
