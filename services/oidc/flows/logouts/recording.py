"""Who is to be told: the clients of what ends, in the transaction that ends it (Back-Channel Logout §2.3, §2.5)."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from libs.database import utcnow, uuid7
from libs.observe.logs import correlation_id, get_logger
from services.oidc.extensions import db, tasks
from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.flows.pairwise import session_id_for, subject_for
from services.oidc.models import Client, Grant, LogoutDelivery
from services.oidc.models.logouts import PATIENCE

log = get_logger("OIDC.logout")


@dataclass(frozen=True)
class SignedOut:
    """A sign-in session that has ended."""

    sub: str
    sid: str


def tell_clients(*which: sa.ColumnElement[bool], sub: str, cause: str, is_session: bool) -> int:
    """Record what the clients of these grants are to be told, before the caller ends the grants in its transaction.

    Ended grants count, too: what the client made of its ID token lives on. Each grant counts once, and once more where
    it has lived on since (`offline_access`) and ends now. With `is_session` the sign-in sessions of the grants are
    over; else everything of the person at these clients is. Returns how many deliveries were recorded.
    """
    now = utcnow()
    with db.transaction() as session:
        found = (
            sa.select(Grant.id)
            .where(
                *which,
                sa.or_(Grant.told_at.is_(None), Grant.ended_at.is_(None)),
                # A code that nobody redeemed in time brought no ID token to anybody.
                sa.or_(Grant.code_used_at.is_not(None), Grant.code_expires_at > now),
            )
            # In the order in which grants are locked to be ended.
            .order_by(Grant.id)
            .with_for_update()
        )
        reached = session.execute(
            sa.update(Grant)
            .where(Grant.id.in_(found.scalar_subquery()))
            .values(told_at=now)
            .returning(Grant.client_id, Grant.sid)
            .execution_options(synchronize_session=False)
        ).all()
        sids: dict[str, set[str]] = {}
        for row in reached:
            sids.setdefault(row.client_id, set()).add(row.sid)
        listeners = _listeners(session, sids)
        living = set() if is_session else _living_elsewhere(session, listeners, sub=sub, which=which)
        deliveries = [
            {
                "id": uuid7(),
                "client_id": client.client_id,
                "sub": subject_for(client, sub),
                "sid": None if sid is None else session_id_for(client, sid),
                "cause": cause,
                "correlation_id": correlation_id(),
                "next_attempt_at": now,
                "give_up_at": now + PATIENCE,
                "created_at": now,
            }
            for client in listeners
            for sid in _named(client, sids[client.client_id], is_session or client.client_id in living)
        ]
        if deliveries:
            session.execute(sa.insert(LogoutDelivery), deliveries)
            db.after_commit(lambda: tasks.send("send_logouts"))
            log.info("logouts_recorded", sub=sub, cause=cause, count=len(deliveries))
    return len(deliveries)


def clients_to_show(ended: Collection[SignedOut], *, limit: int) -> list[tuple[RegisteredClient, str]]:
    """The clients of these sessions that are told through the browser, and the session each knew; the newest first."""
    if not ended:
        return []
    rows = db.fetch_all(
        sa.select(Grant.client_id, Grant.sid)
        .join(Client, Client.client_id == Grant.client_id)
        .where(
            Grant.sub.in_({one.sub for one in ended}),
            Grant.sid.in_({one.sid for one in ended}),
            Grant.code_used_at.is_not(None),
            Client.frontchannel_logout_uri.is_not(None),
            Client.is_enabled,
        )
        .group_by(Grant.client_id, Grant.sid)
        .order_by(sa.func.max(Grant.created_at).desc(), Grant.client_id)
        .limit(limit)
    )
    found = ((find_client(row.client_id), row.sid) for row in rows)
    return [(client, sid) for client, sid in found if client is not None and client.frontchannel_logout_uri]


def _listeners(session: Any, client_ids: Collection[str]) -> Sequence[RegisteredClient]:
    """Of these clients those that are told: enabled, with an address for it."""
    wanted = session.scalars(
        sa.select(Client.client_id)
        .where(
            Client.client_id.in_(client_ids), Client.is_enabled, Client.backchannel_logout_uri.is_not(None)
        )
        .order_by(Client.client_id)
    )
    found = [find_client(client_id) for client_id in wanted]
    return [client for client in found if client is not None]


def _living_elsewhere(
    session: Any, listeners: Sequence[RegisteredClient], *, sub: str, which: Sequence[sa.ColumnElement[bool]]
) -> set[str]:
    """Clients that the person has signed in to anew since what ends: an event that comes late must spare that."""
    return set(
        session.scalars(
            sa.select(Grant.client_id).where(
                Grant.sub == sub,
                Grant.client_id.in_([client.client_id for client in listeners]),
                Grant.ended_at.is_(None),
                Grant.expires_at > utcnow(),
                ~sa.and_(*which),
            )
        )
    )


def _named(client: RegisteredClient, sids: Collection[str], by_session: bool) -> Iterator[str | None]:
    """The sessions that the client's tokens name; None: one token, for all of the person's."""
    if by_session or client.backchannel_logout_session_required:
        yield from sorted(sids)
    else:
        yield None
