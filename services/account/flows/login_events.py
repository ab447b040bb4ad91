"""The record of every attempt to sign in: written, listed, counted, exported.

Successes are written with their session (sessions/beginning.py).
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import CIDR, INET
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import first_uuid7
from libs.guard.ratelimit import hashed_user, hashes_of_user
from libs.lists import Filter, Page, read_page
from libs.observe.logs import correlation_id, get_logger
from libs.observe.metrics import LOGIN_REASONS
from libs.service import parts_of
from services.account.extensions import audit, db
from services.account.flows.places import country_of
from services.account.flows.users import find_user, normalise_email
from services.account.flows.visitor import Visitor
from services.account.models import LoginEvent, User

log = get_logger("account.login")

EXPORTED = 100_000
"""Rows of one export at most, the newest; a shorter time brings the others."""
EXPORTED_AT_ONCE = 1_000


class Attempt(NamedTuple):
    """A login event and whose it is; `user` is None where nobody's, or whose account is erased."""

    event: LoginEvent
    user: User | None


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which login events: all that meet everything that is named."""

    sub: str | None = None
    email: str | None = None
    """Of whoever has this address, and of those who typed it where nobody had it."""
    network: str | None = None
    """An address or a network, as libs.web.client_address.parse_network writes it."""
    success: bool | None = None
    reason: str | None = None
    method: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def count_attempt() -> None:
    """Somebody tries to sign in, in whatever way."""
    parts_of(current_app).metrics.login_attempts.inc()


def count_failure(reason: str, *, method: str) -> None:
    """An attempt failed, for a word of LOGIN_REASONS: counted and logged, and no row of its own."""
    metrics = parts_of(current_app).metrics
    metrics.login_failures.inc()
    metrics.login_failure_reasons.labels(reason=reason).inc()
    log.info("login_refused", reason=reason, method=method)


def record_failure(
    reason: str, *, method: str, visitor: Visitor, user_id: uuid.UUID | None = None, typed: str | None = None
) -> None:
    """Write down an attempt that failed, for a word of LOGIN_REASONS; in one statement of its own.

    `typed` is what was entered as the address: kept as a keyed hash, and only where it is nobody's.
    """
    parts = parts_of(current_app)
    # Erased since they were found: it is nobody's. The lock makes it wait for an erasure that is under way.
    whose = (
        sa.select(User.id)
        .where(User.id == sa.literal(user_id, User.id.type))
        .with_for_update(read=True, key_share=True)
    )
    event = sa.insert(LoginEvent).values(
        user_id=whose.scalar_subquery(),
        typed_hash=hashed_user(parts.settings, typed) if typed and user_id is None else None,
        ip=visitor.ip,
        country=country_of(visitor.ip),
        user_agent=visitor.printable_user_agent,
        method=method,
        success=False,
        failure_reason=reason,
        correlation_id=correlation_id(),
    )
    with db.single_statements() as session:
        session.execute(event)
    count_failure(reason, method=method)


# -- reading ---------------------------------------------------------------------------------------------------


def list_login_events(wanted: Wanted, *, before: uuid.UUID | None = None, limit: int = 100) -> Page[Attempt]:
    """Login events, newest first.

    Of a person, of an address, of a reason, or of all by an index; what else is wanted is tried row by row, and the
    page is cut where too many rows had to be.
    """
    with db.single_statements() as session:
        whose = _whose(session, wanted)
        page = read_page(
            session,
            LoginEvent,
            sources=_sources(wanted, whose),
            filters=_filters(wanted),
            bounds=_bounds(wanted),
            before=before,
            limit=limit,
        )
        people = {whose.id: whose} if whose else {}
        ids = {event.user_id for event in page.rows if event.user_id is not None} - set(people)
        if ids:
            people |= {user.id: user for user in session.scalars(sa.select(User).where(User.id.in_(ids)))}
    attempts = [Attempt(event, people.get(event.user_id)) for event in page.rows]
    return Page(rows=attempts, before=page.before, is_cut=page.is_cut)


def _whose(session: DatabaseSession, wanted: Wanted) -> User | None:
    """The person who is wanted, if one is and there is such a person."""
    if wanted.sub is not None:
        return session.scalar(sa.select(User).where(User.sub == wanted.sub))
    if wanted.email is not None:
        email = normalise_email(wanted.email)
        return session.scalar(sa.select(User).where(User.email_normalised == email))
    return None


def _sources(wanted: Wanted, whose: User | None) -> list[sa.ColumnElement[bool]]:
    """What the index to read by is: the most particular of what is wanted."""
    # By its value: who has very many is known to the planner, as long as it sees who.
    mine = [LoginEvent.user_id == whose.id] if whose else []
    if wanted.sub is not None:
        return mine or [sa.false()]
    if wanted.email is not None:
        hashes = hashes_of_user(parts_of(current_app).settings, normalise_email(wanted.email))
        return [*mine, *(LoginEvent.typed_hash == typed for typed in hashes)]
    if wanted.network is not None and _is_one_address(wanted.network):
        return [LoginEvent.ip == _address(wanted.network)]
    if wanted.reason is not None:
        return [sa.and_(~LoginEvent.success, LoginEvent.failure_reason == wanted.reason)]
    return []


def _filters(wanted: Wanted) -> list[Filter]:
    """What no index serves, or another index than the one that is read."""
    by_person = wanted.sub is not None or wanted.email is not None
    filters: list[Filter] = []
    if (network := wanted.network) is not None:
        if not _is_one_address(network):
            filters.append(lambda event: event.ip.op("<<=")(sa.cast(sa.literal(network, sa.Text), CIDR)))
        elif by_person:
            filters.append(lambda event: event.ip == _address(network))
    if wanted.reason is not None and (by_person or wanted.network is not None):
        filters.append(lambda event: event.failure_reason == wanted.reason)
    if wanted.success is not None and not (wanted.reason is not None and not wanted.success):
        filters.append(lambda event: event.success.is_(wanted.success))
    if wanted.method is not None:
        filters.append(lambda event: event.method == wanted.method)
    return filters


def _bounds(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    bounds = []
    if wanted.since is not None:
        bounds.append(LoginEvent.id >= first_uuid7(wanted.since))
    if wanted.until is not None:
        bounds.append(LoginEvent.id < first_uuid7(wanted.until))
    return bounds


def _is_one_address(network: str) -> bool:
    return network.endswith("/128" if ":" in network else "/32")


def _address(network: str) -> sa.ColumnElement[Any]:
    return sa.cast(sa.literal(network.partition("/")[0], sa.Text), INET)


def count_failures(*, since: datetime) -> list[tuple[str, int]]:
    """How many attempts failed for each reason since then, most first; a reason that none had is left out."""
    reasons = sa.values(sa.column("reason", sa.Text), name="reasons").data(
        [(word,) for word in LOGIN_REASONS]
    )
    count = (
        sa.select(sa.func.count())
        .where(
            ~LoginEvent.success,
            LoginEvent.failure_reason == reasons.c.reason,
            LoginEvent.id >= first_uuid7(since),
        )
        .scalar_subquery()
    )
    with db.single_statements() as session:
        counted = [(reason, number) for reason, number in session.execute(sa.select(reasons.c.reason, count))]
    return sorted([one for one in counted if one[1]], key=lambda one: (-one[1], one[0]))


def export_login_events(wanted: Wanted) -> Iterator[Sequence[Attempt]]:
    """The newest EXPORTED of the events that are wanted, in batches; audited before the first is read."""
    named = {name: value for name, value in vars(wanted).items() if value is not None}
    if wanted.email is not None:
        user = find_user(email=wanted.email)
        named["email"] = f"user:{user.sub}" if user else "nobody's"
    with db.transaction():
        audit.record("login_events.exported", target="login_events:export", after=named)
    return _batches(wanted)


def _batches(wanted: Wanted) -> Iterator[Sequence[Attempt]]:
    before, left = None, EXPORTED
    while left:
        page = list_login_events(wanted, before=before, limit=min(EXPORTED_AT_ONCE, left))
        if page.rows:
            yield page.rows
        left -= len(page.rows)
        before = page.before
        if before is None:
            return
