"""What onboarding does by itself; gateway/schedule.py says when."""

import time
from collections.abc import Callable

from libs.messaging.worker import LONGEST_TASK_S
from services.onboarding.extensions import idempotency, tasks
from services.onboarding.flows import links
from services.onboarding.flows.review import reviewers


@tasks.task
def clear_links() -> None:
    """Forget links that ended long ago, in bounded batches; a later run goes on where this one stops."""
    _in_batches(links.forget_ended)


@tasks.task
def clear_idempotency_keys() -> None:
    """Forget requests that nobody sends again, in the same way."""
    _in_batches(idempotency.forget_old)


def _in_batches(forget: Callable[[], int]) -> None:
    deadline = time.monotonic() + LONGEST_TASK_S / 2
    while forget() and time.monotonic() < deadline:
        pass


@tasks.task
def mail_digests() -> None:
    """Tell reviewers once a day what waits for them; whoever was told today is passed over."""
    reviewers.send_digests()
