"""The version that a form was made from, so that of two who change one thing at once the second is told."""

from typing import Any

from flask import request


def seen_version() -> list[int]:
    """What was looked at; no number is no version."""
    text = request.form.get("version", "")
    return [int(text)] if text.isdecimal() and len(text) < 10 else []


def version_to_show(thing: Any, *, is_changed: bool) -> Any:
    """What the form carries next: the version that it was made from.

    Once somebody was told of another change it is the present one: a second press saves over that, knowingly.
    """
    return thing.version if is_changed else request.form.get("version", thing.version)
