"""Refusals: why requests of clients were refused, kept for staff who are asked about one."""


def remember(
    *, endpoint: str, client_id: str | None, error: str, description: str | None, detail: str | None
) -> None:
    """Keep the exact reason beside what the client was told. Never raises."""
