"""The doctor: what is missing, weak or contradictory in a service's settings and around it, each with what helps.

It needs no app, so that it speaks where none can be made, and changes nothing. No word of it holds a secret.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from libs.doctor.findings import Finding, fine, skipped, weak, wrong
from libs.doctor.reading import Reading, read
from libs.doctor.stores import connected, look_at_database, look_at_redis
from libs.guard.secrets.strength import held_by
from libs.settings import ServiceSettings

__all__ = ["Examined", "Finding", "Look", "examine", "fine", "skipped", "weak", "wrong"]

SHORTEST_SECRET = 6
"""What is shorter stands in words by chance."""


@dataclass
class Examined:
    """What a look may look at; no connection where the database cannot be reached."""

    service: str
    settings: Any
    connection: sa.Connection | None = None
    refused: frozenset[str] = field(default_factory=frozenset)
    """The settings whose values were refused: what stands in `settings` in their place is nobody's."""


Look = Callable[[Examined], Iterable[Finding]]


def examine(
    kind: type[ServiceSettings],
    looks: Sequence[Look] = (),
    *,
    migrations: Path,
    environ: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Read the settings, then look at what they name. Never raises for what is wrong out there."""
    environ = os.environ if environ is None else environ
    reading = read(kind, environ)
    found = list(reading.findings)
    if reading.settings is not None:
        with ExitStack() as opened:
            found += _around(kind, reading, looks, migrations, opened)
    secrets = _secrets_of(kind, reading.environ)
    return [_without_secrets(each, secrets) for each in found]


def _around(
    kind: type[ServiceSettings], reading: Reading, looks: Sequence[Look], migrations: Path, opened: ExitStack
) -> Iterator[Finding]:
    settings = reading.settings
    assert settings is not None
    examined = Examined(kind.SERVICE, settings, refused=reading.refused)
    if kind.database_variable() in reading.refused:
        yield skipped("database", f"{kind.database_variable()} is not usable.")
    else:
        examined.connection, findings = connected(settings, opened)
        yield from findings
        if examined.connection is not None:
            yield from _guarded("database", look_at_database, examined.connection, migrations)
    if "REDIS_URL" in reading.refused:
        yield skipped("Redis", "REDIS_URL is not usable.")
    else:
        is_compared = not reading.refused & set(kind.secret_names())
        yield from look_at_redis(settings, kind.SERVICE, is_compared=is_compared)
    for look in looks:
        yield from _guarded(look.__name__.removeprefix("look_at_"), look, examined)


def _guarded(about: str, look: Callable[..., Iterable[Finding]], *arguments: Any) -> list[Finding]:
    """A look that fails is a finding itself, and keeps no other from being made."""
    try:
        return list(look(*arguments))
    except Exception as error:
        return [
            wrong(about, f"Looking at it failed ({type(error).__name__}).", "Mend what is said above first.")
        ]


def _secrets_of(kind: type[ServiceSettings], environ: Mapping[str, str]) -> list[str]:
    """Every secret as it stands in the environment, usable or not; the longest first."""
    names = {kind.database_variable() if name == "DATABASE_URL" else name for name in kind.secret_names()}
    values = {value for name in names if (value := environ.get(name, ""))}
    parts = {held.value.decode() for name in names for held in held_by(name, environ.get(name, ""))}
    pieces = {piece for value in values for piece in value.split(",")}
    found = {text.strip() for text in values | parts | pieces if len(text.strip()) >= SHORTEST_SECRET}
    return sorted(found, key=len, reverse=True)


def _without_secrets(finding: Finding, secrets: Sequence[str]) -> Finding:
    """The last wall: words come from here, but what a server answered may repeat what it was told."""
    says = finding.says
    for secret in secrets:
        says = says.replace(secret, "•••")
    return replace(finding, says=says)
