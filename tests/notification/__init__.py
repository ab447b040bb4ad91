"""The notification service, at its edges."""
