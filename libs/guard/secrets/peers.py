"""What processes tell one another of their secrets: workers leave fingerprints in Redis, and whoever looks compares."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from libs.guard.secrets import fingerprints
from libs.guard.secrets.strength import RINGS
from libs.messaging.events import SUBSCRIBERS

NOTE_KEY = "secrets:{service}"
NOTE_LIFETIME_S = 120


def leave_note(client: Any, service: str, settings: Any) -> None:
    """Say under which secrets this worker runs; none of them can be read from it. Raises redis.RedisError."""
    note = json.dumps(fingerprints.compared(settings))
    client.set(NOTE_KEY.format(service=service), note, ex=NOTE_LIFETIME_S)


def read_notes(client: Any) -> dict[str, dict[str, Any]]:
    """The notes of the workers that live. Raises redis.RedisError."""
    found = client.mget([NOTE_KEY.format(service=name) for name in SUBSCRIBERS])
    return {name: json.loads(note) for name, note in zip(SUBSCRIBERS, found, strict=True) if note}


def disagreements(service: str, settings: Any, notes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Where the secrets of this process and of the workers are not the same, each as a sentence."""
    mine = fingerprints.compared(settings)
    for name, theirs in notes.items():
        if theirs["SECRET_KEY"] != mine["SECRET_KEY"]:
            known = theirs["SECRET_KEY"] in mine["SECRET_KEY_FALLBACKS"]
            knows = mine["SECRET_KEY"] in theirs["SECRET_KEY_FALLBACKS"]
            yield _sentence("SECRET_KEY", name, is_understood=known and knows)
        for ring in RINGS:
            if ring == "DATA_ENCRYPTION_KEYS" and name != service:
                continue  # its own may differ
            ours, others = mine[ring], theirs[ring]
            if ours[:1] != others[:1]:
                is_understood = ours[0] in others and others[0] in ours
                yield _sentence(ring, name, is_understood=is_understood)


def _sentence(setting: str, worker: str, *, is_understood: bool) -> str:
    if is_understood:
        return (
            f"The worker of {worker} has another {setting} in front; each opens what the other makes: "
            "restart whichever has not the new settings yet."
        )
    return (
        f"The worker of {worker} has another {setting}, and one does not open what the other makes: "
        "give both the same, the old one among those that only open."
    )
