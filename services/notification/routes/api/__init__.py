"""The API of notification: what staff do on /admin/messages, for programs. Every view enters the same flows."""

from services.notification.routes.api import messages, suppressions

API = (messages.bp, suppressions.bp)
