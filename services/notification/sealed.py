"""What DATA_ENCRYPTION_KEYS seals in notification's database: the one list, by which keys rotate."""

from libs.guard.secrets.sealed import SealedColumn
from services.notification.flows import mailbox, messages
from services.notification.models import MailboxEntry, Message

SEALED = (
    SealedColumn(Message.sealed_context, messages.context_place),
    SealedColumn(MailboxEntry.sealed_content, mailbox.content_place),
)
