"""What a service's secrets are, without any of them: set or not, in use for what, fingerprints, and rows by key."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis
import sqlalchemy as sa

from libs.batches import patient
from libs.guard.keyring import KeyRing
from libs.guard.secrets import fingerprints, peers
from libs.guard.secrets.rings import Ring
from libs.guard.secrets.sealed import count_rows, rows_by_key, unopened_keys
from libs.service import Parts
from libs.settings import ServiceSettings

MATTERS = {
    "SECRET_KEY": "cookies, forms, tickets between services; shared by all",
    "SECRET_KEY_FALLBACKS": "what an earlier SECRET_KEY made; shared by all",
    "DATA_ENCRYPTION_KEYS": "sealed columns of this database",
    "EVENT_ENCRYPTION_KEYS": "sealed fields of events; shared by all",
    "REDIS_URL": "the password of Redis",
    "OTEL_EXPORTER_OTLP_HEADERS": "who may send traces to the collector; made there",
    "DATABASE_URL": "the password of the database",
    "GITHUB_CLIENT_SECRET": "signing in with GitHub; made there",
    "DISCORD_CLIENT_SECRET": "signing in with Discord; made there",
    "OPENID_PROVIDERS": "signing in with other issuers; made there",
    "OIDC_PRIVATE_KEY_PEM": "a signing key of your own, imported once",
    "OIDC_PUBLIC_KEY_PEM": "its public half",
    "OIDC_KEY_PAIRS": "signing keys of your own, imported once",
    "SMTP_URL": "the password of the mail server",
    "MAIL_FEEDBACK_SECRETS": "who may tell what became of mail",
}
_OPEN_EVENTS = sa.text(
    """
    SELECT split_part(field.value->>'sealed', ':', 1) AS kid, count(*) AS fields FROM (
        SELECT data FROM outbox_events AS e WHERE EXISTS (
            SELECT FROM outbox_deliveries AS d WHERE d.event_id = e.id AND d.state <> 'confirmed')
        UNION ALL
        SELECT envelope->'data' FROM inbox_events WHERE state <> 'handled' AND envelope IS NOT NULL
    ) AS waiting(data), jsonb_each(waiting.data) AS field
    WHERE jsonb_typeof(field.value) = 'object' AND field.value->>'sealed' IS NOT NULL
    GROUP BY 1
    """
)
"""Sealed fields of events that somebody has still to open; what everybody confirmed is only kept."""


@dataclass(frozen=True)
class Status:
    """One row for each secret, and sentences about what does not fit together."""

    rows: list[dict[str, Any]]
    disagreements: list[str]


def look(parts: Parts) -> Status:
    """Everything about the secrets of this service. Raises sqlalchemy's errors where the database is away."""
    settings, data_keys = parts.settings, parts.data_keys
    event_keys = KeyRing.parse(settings.EVENT_ENCRYPTION_KEYS, setting="EVENT_ENCRYPTION_KEYS")
    with patient(parts.db) as session:
        rows = dict(rows_by_key(count_rows(session, parts.sealed)))
        events = dict(session.execute(_OPEN_EVENTS).tuples().all())
        unopened = unopened_keys(session, data_keys, parts.sealed)
    counts = {"DATA_ENCRYPTION_KEYS": rows, "EVENT_ENCRYPTION_KEYS": events}
    found = [row for name in settings.secret_names() for row in _rows(settings, name, counts.get(name, {}))]
    wrong = [
        *_lacking("DATA_ENCRYPTION_KEYS", "row(s)", data_keys, rows),
        *_lacking("EVENT_ENCRYPTION_KEYS", "field(s) of events that wait", event_keys, events),
        *(
            f"Rows under {kid} do not open: DATA_ENCRYPTION_KEYS has another key of that name."
            for kid in unopened
        ),
    ]
    try:
        wrong += peers.disagreements(parts.name, settings, peers.read_notes(parts.redis))
    except redis.RedisError as error:
        wrong.append(
            f"Redis did not answer ({type(error).__name__}): workers could not be compared with this."
        )
    return Status(found, wrong)


def objections(parts: Parts, setting: str, key: str) -> list[str]:
    """Why the other keys of a ring may not leave yet, each as a sentence; none where everything here is under `key`.

    Raises redis.RedisError where workers cannot be asked, and sqlalchemy's errors where the database is away.
    """
    names = Ring.of(parts.settings, setting).names
    found = []
    if names[0] != key:
        what = key or "(none was named)"
        found.append(
            f"{parts.name} uses {names[0]} of {setting}, not {what}: restart it, and wait for the end."
        )
    with patient(parts.db) as session:
        if setting == "DATA_ENCRYPTION_KEYS":
            waiting, help_ = dict(rows_by_key(count_rows(session, parts.sealed))), "secrets reencrypt"
        elif setting == "EVENT_ENCRYPTION_KEYS":
            waiting, help_ = (
                dict(session.execute(_OPEN_EVENTS).tuples().all()),
                "events list, events retry --all",
            )
        else:
            waiting, help_ = {}, ""
    found += [
        f"{parts.name} needs {kid} for {number} more: {help_}."
        for kid, number in sorted(waiting.items())
        if kid != key and number
    ]
    notes = peers.read_notes(parts.redis)
    return found + [
        sentence
        for sentence in peers.disagreements(parts.name, parts.settings, notes)
        if f" {setting} " in sentence or f" {setting}," in sentence
    ]


def _rows(settings: ServiceSettings, name: str, counts: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    value = getattr(settings, name)
    if name in fingerprints.RINGS:
        for number, (kid, mark) in enumerate(fingerprints.of_ring(value, setting=name).items()):
            yield _row(settings, name, kid, "seals" if number == 0 else "opens", mark, counts.get(kid, 0))
    elif name == "SECRET_KEY":
        yield _row(settings, name, None, "signs", fingerprints.of_secret_key(value))
    elif name == "SECRET_KEY_FALLBACKS" and value:
        for number, fallback in enumerate(value, 1):
            yield _row(settings, name, str(number), "verifies", fingerprints.of_secret_key(fallback))
    elif value and not isinstance(value, str):
        for number, part in enumerate(value, 1):
            yield _row(settings, name, str(number), "set", fingerprints.of_text(part, settings.SECRET_KEY))
    elif value:
        yield _row(settings, name, None, "set", fingerprints.of_text(value, settings.SECRET_KEY))
    else:
        yield _row(settings, name, None, "not set", None)


def _row(
    settings: ServiceSettings,
    name: str,
    key: str | None,
    state: str,
    mark: str | None,
    rows: int | None = None,
) -> dict[str, Any]:
    return {
        "setting": settings.database_variable() if name == "DATABASE_URL" else name,
        "key": key,
        "state": state,
        "fingerprint": mark,
        "rows": rows,
        "matters for": MATTERS[name],
    }


def _lacking(setting: str, what: str, keys: KeyRing, counts: Mapping[str, int]) -> Iterator[str]:
    for kid, number in sorted(counts.items()):
        if kid not in keys.keys:
            yield f"{number} {what} are sealed under {kid}, which {setting} lacks: put that key back, at its end."
