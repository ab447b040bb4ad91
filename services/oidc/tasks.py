"""Celery tasks of oidc; gateway/schedule.py says when."""

import time

from libs.messaging.worker import LONGEST_TASK_S
from services.oidc.extensions import tasks
from services.oidc.flows.clearing import clear_batch


@tasks.task
def clear_expired() -> None:
    """Forget codes, grants and refresh tokens that can serve nobody any more, in bounded batches."""
    deadline = time.monotonic() + LONGEST_TASK_S / 3
    while clear_batch() and time.monotonic() < deadline:
        pass
