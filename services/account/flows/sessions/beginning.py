"""Beginning a session: where every way to sign in ends, in one statement and one answer from Redis."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import redis
import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow, uuid7
from libs.observe.logs import correlation_id, get_logger
from libs.people.sessions import MAX_ACCOUNTS, Session, copy_key, make_secret, secret_digest
from libs.service import parts_of
from services.account.extensions import db
from services.account.flows.copies import is_live, shared_session
from services.account.flows.factors import Evidence
from services.account.flows.places import country_of
from services.account.flows.revoking import revoke_access
from services.account.flows.sessions.finding import held_rows
from services.account.flows.visitor import Visitor
from services.account.models import (
    KnownDevice,
    LoginEvent,
    PasswordCredential,
    RedisDebt,
    SecondFactorReset,
    SignInSession,
    User,
)

log = get_logger("account.sessions")


class StandingChanged(Exception):
    """Between the look at the person and now they changed: disabled, or another password. Look again."""


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """A person just signed in. `secrets` is what the browser's cookie holds from now on, the new one first.

    `device` is the secret by which the browser will be known.
    """

    session: Session
    secrets: list[str] = field(repr=False)
    device: str = field(repr=False)
    is_leaving: bool = False
    """The account is about to be erased: now is the time to think better of it."""


def begin_session(
    session: DatabaseSession,
    *,
    user: User,
    evidence: Evidence,
    method: str,
    visitor: Visitor,
    proof: str | None = None,
    provider: str | None = None,
    auth_time: datetime | None = None,
    is_known_device: bool = False,
    is_new_device: bool = False,
) -> SignIn:
    """Sign the person in on this browser, in the transaction under way or on its own.

    Session, device and login event are one statement, which holds only while the person is active and as `user`
    says, with `proof` as the hash of their password where one is given; else StandingChanged. The fast copy is
    written just before: nobody knows its secret yet, and whoever ends sessions afterwards finds the row.
    Somebody who was signed in here already keeps the session, so that apps bound to it stay signed in, under a
    new secret: the old one is dead. Beyond MAX_ACCOUNTS the oldest account of the browser is signed out.
    `auth_time` is when the person proved who they are, where that was not just now. A browser that is no known
    device of theirs gets a new device cookie: whoever used it before them may have copied the one that it had.
    `is_new_device` has the person told of it by mail.
    """
    mine, others = _of_this_browser(session, user, visitor)
    for _, row, owner in others[MAX_ACCOUNTS - 1 :]:
        revoke_access(sub=owner.sub, cause="sign_out", sids=[row.id])
    secret, now = make_secret(), utcnow()
    auth_time = auth_time or now
    device = visitor.device if visitor.device and is_known_device else make_secret()
    new = SignInSession(
        id=mine.id if mine else str(uuid7()),
        user_id=user.id,
        secret_digest=secret_digest(secret),
        auth_time=auth_time,
        amr=list(evidence.amr),
        acr=evidence.acr,
        provider=provider,
        user_agent=visitor.printable_user_agent,
        ip=visitor.ip,
        country=country_of(visitor.ip),
        created_at=mine.created_at if mine else now,
        last_seen_at=now,
        absolute_end=auth_time + parts_of(current_app).settings.SESSION_ABSOLUTE_LIFETIME,
    )
    shared = shared_session(new, user)
    _write_first_copy(new.secret_digest, shared, now)
    event = {
        "method": method,
        "notice": "due" if is_new_device else None,
    }
    statement = _statement(
        user=user,
        new=new,
        old=mine,
        proof=proof,
        device=secret_digest(device),
        old_device=visitor.device_digest,
        event=event,
        now=now,
    )
    if session.execute(statement).one_or_none() is None:
        raise StandingChanged
    if mine is not None:
        _after(session, lambda: _forget(mine.secret_digest))
    log.info("login_succeeded", sub=user.sub, sid=new.id, method=method)
    kept = [held for held, _, _ in others[: MAX_ACCOUNTS - 1]]
    return SignIn(
        session=shared, secrets=[secret, *kept], device=device, is_leaving=user.erase_at is not None
    )


HeldRow = tuple[str, SignInSession, User]


def _of_this_browser(
    session: DatabaseSession, user: User, visitor: Visitor
) -> tuple[SignInSession | None, list[HeldRow]]:
    """The person's own session here, and the other accounts'. Asks nothing where the browser holds nothing."""
    mine, others = None, []
    for held in held_rows(session, visitor.held):
        if held[1].user_id != user.id:
            others.append(held)
        elif mine is None:
            mine = held[1]
    return mine, others


def _write_first_copy(digest: str, shared: Session, now: datetime) -> None:
    parts = parts_of(current_app)
    life = min(parts.settings.SESSION_IDLE_LIFETIME.total_seconds(), shared.absolute_end - now.timestamp())
    try:
        parts.redis.set(copy_key(digest), shared.to_json(), ex=max(int(life), 1))
    except redis.RedisError as error:
        # The person is signed in all the same: /login/resume writes the copy once Redis is back.
        log.warning("session_copy_left", error=type(error).__name__)


def _forget(digest: str) -> None:
    """Delete the copy under the old secret. The debt stays for the task, which deletes once more."""
    try:
        parts_of(current_app).redis.delete(copy_key(digest))
    except redis.RedisError as error:
        log.warning("session_copy_left", error=type(error).__name__)


def _after(session: DatabaseSession, action: Any) -> None:
    """Once this is committed: now where every statement stands alone."""
    if session is db.session():
        db.after_commit(action)
    else:
        action()


def _statement(
    *,
    user: User,
    new: SignInSession,
    old: SignInSession | None,
    proof: str | None,
    device: str,
    old_device: str | None,
    event: dict[str, Any],
    now: datetime,
) -> sa.Select[Any]:
    """Everything that a sign-in writes, for as long as the person stands as they were seen."""
    person = _person(user, proof)
    written = _session(person, new, old).cte("written")
    # What depends on the session's row, so that nothing is written where that is not.
    whose = sa.select(written.c.user_id)
    steps: list[Any] = [
        insert(KnownDevice)
        .from_select(
            ["user_id", "device_digest", "first_seen_at", "last_seen_at"],
            whose.add_columns(sa.literal(device), sa.literal(now), sa.literal(now)),
        )
        .on_conflict_do_update(index_elements=["user_id", "device_digest"], set_={"last_seen_at": now})
        .cte("device"),
        _insert(
            LoginEvent,
            written.c.user_id,
            id=uuid7(),
            created_at=now,
            ip=new.ip,
            country=new.country,
            user_agent=new.user_agent,
            success=True,
            sid=new.id,
            correlation_id=correlation_id(),
            **event,
        ).cte("event"),
    ]
    if old_device not in (None, device):
        # Others who have signed in at this browser are known there by its new cookie.
        steps.append(
            sa.update(KnownDevice)
            .where(
                KnownDevice.device_digest == old_device, KnownDevice.user_id.not_in(whose), sa.exists(whose)
            )
            .values(device_digest=device)
            .cte("moved")
        )
    if old is not None:
        debt = {"id": uuid7(), "kind": "delete_copy", "subject": old.secret_digest, "created_at": now}
        rows = sa.select(*_literals(RedisDebt, debt)).select_from(written)
        steps.append(insert(RedisDebt).from_select(list(debt), rows).cte("debt"))
    if new.acr != "1":
        # Whoever has a second factor needs no way back without one.
        steps.append(
            sa.update(SecondFactorReset)
            .where(SecondFactorReset.user_id.in_(whose), SecondFactorReset.ended_at.is_(None))
            .values(ended_at=now, end_cause="cancelled")
            .cte("way_back")
        )
    return sa.select(written.c.id).add_cte(*steps)


def _person(user: User, proof: str | None) -> sa.CTE:
    """The person's row, locked so that nobody ends their sessions meanwhile and misses this one."""
    query = sa.select(User.id).where(
        User.id == user.id,
        User.version == user.version,
        User.status == "active",
        User.needs_second_factor
        == user.needs_second_factor,  # else the copy would carry roles that it may not
    )
    if proof is None:
        return query.with_for_update(read=True, of=User).cte("person")
    query = query.join(PasswordCredential, PasswordCredential.user_id == User.id)
    # Locked too: a password that is being changed is judged as it will be.
    query = query.where(PasswordCredential.hash == proof)
    return query.with_for_update(read=True, of=[User, PasswordCredential]).cte("person")


def _session(person: sa.CTE, new: SignInSession, old: SignInSession | None) -> Any:
    columns = (
        "id", "secret_digest", "auth_time", "amr", "acr", "provider", "user_agent", "ip", "country",
        "created_at", "last_seen_at", "absolute_end",
    )  # fmt: skip
    values = {name: getattr(new, name) for name in columns}
    if old is None:
        statement = _insert(SignInSession, person.c.id, **values)
    else:
        statement = (
            sa.update(SignInSession)
            .where(
                SignInSession.id == old.id,
                SignInSession.secret_digest == old.secret_digest,
                SignInSession.user_id.in_(sa.select(person.c.id)),
                is_live(),
            )
            .values(**{name: value for name, value in values.items() if name != "id"})
        )
    return statement.returning(SignInSession.id, SignInSession.user_id)


def _insert(table: Any, user_id: sa.ColumnElement[uuid.UUID], **values: Any) -> Any:
    """INSERT of one row per person found, none where there is none."""
    rows = sa.select(user_id, *_literals(table, values))
    return insert(table).from_select(["user_id", *values], rows)


def _literals(table: Any, values: dict[str, Any]) -> Sequence[sa.ColumnElement[Any]]:
    """The values as typed parameters, so that NULL and arrays are of their column's type."""
    columns = table.__table__.c
    return [
        sa.cast(sa.literal(value, columns[name].type), columns[name].type) for name, value in values.items()
    ]
