"""Messages that will not arrive: where they stand then, and who is told."""

from libs.messaging.events import MailEnded
from libs.observe.logs import get_logger
from services.notification.extensions import outbox
from services.notification.flows import lifecycle
from services.notification.models import Message

log = get_logger("notification.delivery")

OUTCOMES = {lifecycle.TOO_LATE: "too_late", lifecycle.SUPPRESSED: "suppressed"}
"""What MailEnded says; `failed` is everything else."""


def end(message: Message, reason: str) -> None:
    """Within the transaction that decides it. The service that asked is told, where it wants to know."""
    lifecycle.end(message, reason)
    if message.asked_by in MailEnded.SUBSCRIBERS:
        ended = MailEnded(
            template=message.template,
            deduplication_key=message.deduplication_key,
            outcome=OUTCOMES.get(reason, "failed"),
        )
        outbox.record(ended, to=message.asked_by)
    log.warning(
        "mail_ended",
        message_id=str(message.id),
        template=message.template,
        state=message.state,
        reason=reason,
    )
