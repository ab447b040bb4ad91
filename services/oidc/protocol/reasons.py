"""The words in which staff read why a request was refused; no secret and no whole value of a request in them."""

from datetime import datetime

from libs.database import utcnow


def difference(name: str, sent: str | None, known: str, *, of: str) -> str | None:
    """Where a value differs from the one that it must equal; None when it is the same."""
    if sent == known:
        return None
    if sent is None:
        return f"{name} is missing"
    at = next((i for i, (one, other) in enumerate(zip(sent, known, strict=False)) if one != other), None)
    if at is None:
        at = min(len(sent), len(known))
    return f"{name} differs from the one of {of} at character {at + 1}"


def ago(moment: datetime) -> str:
    """How long ago that was, in its largest unit."""
    seconds = max(int((utcnow() - moment).total_seconds()), 0)
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' if count != 1 else ''} ago"
    return "a moment ago"
