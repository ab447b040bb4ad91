"""Door 4: what the worker does. Every task may run twice and side by side."""

import uuid

from libs.guard.secrets import rotation
from services.notification.extensions import tasks
from services.notification.flows import delivery, erasure, feedback, retention


@tasks.task
def deliver(message_id: str) -> None:
    """Try to deliver one message, then others that are due; queued when it is asked for, and by the sweep."""
    delivery.deliver(message_id=uuid.UUID(message_id))
    delivery.deliver_due()


@tasks.task
def sweep_messages() -> None:
    """Queue what waits without a task: retries that are due, leases that ran out, what no broker took."""
    delivery.sweep()


@tasks.cleanup
def clear_messages() -> None:
    """Every hour: forget what old mails would have said, and old messages, in bounded batches."""
    retention.clear_messages()


@tasks.cleanup
def forget_erased() -> None:
    """Every 10 min: forget the last mails to people who are gone once they have left, then the addresses."""
    erasure.forget_erased()


@tasks.cleanup
def clear_feedback() -> None:
    """Daily: forget which webhooks were taken more than a week ago."""
    feedback.clear_taken()


@tasks.task
def reencrypt() -> None:
    """Every 15 min: seal under the first data key what an earlier one seals still, in bounded batches."""
    rotation.reencrypt_some()
