"""Conversations with the SMTP server, and what their ends mean for a message. No database here."""

from services.notification.transport.answers import Outcome
from services.notification.transport.conversation import hand_over

__all__ = ["Outcome", "hand_over"]
