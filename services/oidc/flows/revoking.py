"""Revoking: grants end, and with them every code and token that came of them."""

import uuid
from datetime import UTC, datetime

import redis
import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext

from libs.database import utcnow
from libs.messaging.events import SignInThreatened
from libs.observe.logs import get_logger
from libs.people import denials
from libs.service import parts_of
from libs.web.problems import Problem
from services.oidc.extensions import audit, db, outbox
from services.oidc.flows.logouts import tell_clients
from services.oidc.flows.subjects import find_sub_by_email, remember_revocation
from services.oidc.models import AccessToken, Consent, Grant

log = get_logger("OIDC.revoking")

ENDS_ONE_SESSION = ("sign_out", "session_ended")
"""Causes after which `offline_access` grants stay (docs/architecture.md section 15)."""


class UnknownPerson(Problem):
    """The issuer has never been told of this address."""

    status, slug, title = 404, "unknown-person", lazy_gettext("Nobody with this address has used an app yet")


SOMEBODY_ELSES = "taken_over"
"""The cause after which what apps were allowed is asked anew: it may have been somebody else who allowed it."""


def end_grant(grant_id: uuid.UUID, *, cause: str) -> bool:
    """End one grant. False when it had ended before, so that its consequences come once."""
    with db.transaction() as session:
        ended = session.execute(
            sa.update(Grant)
            .where(Grant.id == grant_id, Grant.ended_at.is_(None))
            .values(ended_at=utcnow(), end_cause=cause)
            .returning(Grant.id)
        )
        return ended.first() is not None


def revoke_client_token(token_id: uuid.UUID) -> bool:
    """End one access token of a client by itself. False when it had ended before."""
    with db.transaction() as session:
        ended = session.execute(
            sa.update(AccessToken)
            .where(AccessToken.id == token_id, AccessToken.revoked_at.is_(None))
            .values(revoked_at=utcnow())
            .returning(AccessToken.id)
        )
        return ended.first() is not None


def end_stolen_family(grant_id: uuid.UUID, *, sub: str, client_id: str) -> None:
    """A spent refresh token came back: somebody holds a copy. Its family dies and the person is told, once."""
    with db.transaction():
        if not end_grant(grant_id, cause="refresh_token_theft"):
            return
        audit.record(
            "grant.ended", target=f"client:{client_id}", after={"sub": sub, "cause": "refresh_token_theft"}
        )
        outbox.record(SignInThreatened(sub=sub, cause="refresh_token_theft"))
    log.warning("refresh_token_reused", client_id=client_id, sub=sub)


def end_access(*, sub: str, sids: list[str] | None, cause: str, not_before: int) -> int:
    """Do what account's access_revoked asks, as far as its cause goes, and tell clients. Returns how many grants ended.

    `not_before` is epoch seconds: with `sids` None, what came of a sign-in after it stays, so that an event
    that arrives late does not end it. A session named in `sids` is over for good.
    """
    made_before = Grant.created_at < datetime.fromtimestamp(not_before + 1, UTC)
    if sids is None:
        # By the sign-in too: its last grant may be a moment younger than the event.
        over = [Grant.sub == sub, sa.or_(made_before, Grant.auth_time < not_before)]
        ending = over
    else:
        over = [Grant.sub == sub, Grant.sid.in_(sids)]
        if cause in ENDS_ONE_SESSION:
            ending = [*over, ~Grant.is_offline]
        else:
            # "All others": what these sessions made, and whatever outlives sessions.
            outliving = sa.and_(Grant.is_offline, made_before)
            ending = [Grant.sub == sub, sa.or_(Grant.sid.in_(sids), outliving)]
    with db.transaction() as session:
        if sids is None:
            # First, and by its row's lock: a code being issued now is found below or finds this.
            remember_revocation(sub=sub, before=not_before)
        if cause == SOMEBODY_ELSES:
            session.execute(
                sa.delete(Consent).where(
                    Consent.sub == sub,
                    Consent.updated_at < datetime.fromtimestamp(not_before + 1, UTC),
                )
            )
        tell_clients(*over, sub=sub, cause=cause, is_session=sids is not None)
        # Locked in one order: two events about one person must not wait for each other.
        living = [*ending, Grant.ended_at.is_(None)]
        found = sa.select(Grant.id).where(*living).order_by(Grant.id).with_for_update()
        ended = session.execute(
            sa.update(Grant)
            .where(Grant.id.in_(found.scalar_subquery()))
            .values(ended_at=utcnow(), end_cause=cause)
            .returning(Grant.id)
            .execution_options(synchronize_session=False)
        ).all()
    log.info("grants_ended", sub=sub, cause=cause, count=len(ended))
    return len(ended)


def revoke_tokens(*, email: str) -> tuple[str, int]:
    """End every grant of a person, access tokens included; their sign-in sessions stay.

    Returns the sub and how many grants ended. Raises UnknownPerson.
    """
    parts = parts_of(current_app)
    with db.transaction() as session:
        sub = find_sub_by_email(email)
        if sub is None:
            raise UnknownPerson
        tell_clients(Grant.sub == sub, sub=sub, cause="tokens_revoked", is_session=False)
        ended = session.execute(
            sa.update(Grant)
            .where(Grant.sub == sub, Grant.ended_at.is_(None))
            .values(ended_at=utcnow(), end_cause="tokens_revoked")
            .returning(Grant.id)
            .execution_options(synchronize_session=False)
        ).all()
        audit.record("tokens.revoked", target=f"user:{sub}", after={"grants": len(ended)})
    # Beyond our own endpoints, which ask the rows, only a denial reaches an access token before it expires.
    try:
        denials.deny(parts.redis, parts.settings, subs=[sub])
    except redis.RedisError as error:
        log.warning("denial_not_written", sub=sub, error=type(error).__name__)
    return sub, len(ended)
