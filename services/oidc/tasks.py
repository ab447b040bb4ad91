"""Celery tasks of oidc; gateway/schedule.py says when."""

from services.oidc.extensions import tasks
from services.oidc.flows.clearing import clear_old_rows


@tasks.task
def clear_expired() -> None:
    """Forget codes, grants, tokens, refusals and deliveries that can serve nobody any more, in bounded batches."""
    clear_old_rows()
