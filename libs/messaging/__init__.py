"""How services speak: events, outbox, inbox, worker."""
