"""The refresh token grant (RFC 6749 §6) with rotation: a spent token that comes back ends its family.

A client that lost our answer may ask again within ROTATION_GRACE and gets the same successor, for as long as
that one is unused. Only the hash of a token is stored; the successor is kept sealed under a key that only
the holder of its predecessor can derive.
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import InvalidGrantError
from authlib.oauth2.rfc6749 import grants as authlib
from flask import current_app

from libs.database import utcnow, uuid7
from libs.guard import single_use
from libs.guard.keyring import CannotOpen, KeyRing, derive
from libs.observe.logs import get_logger
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.flows.revoking import end_stolen_family
from services.oidc.models import Grant, RefreshToken, Subject
from services.oidc.protocol.client_auth import METHODS
from services.oidc.protocol.grants import authorization_of
from services.oidc.protocol.liveness import is_denied, is_live
from services.oidc.protocol.tokens import Authorization

log = get_logger("OIDC.token")

ROTATION_GRACE = timedelta(seconds=30)

_LOCK_FAMILY = (
    # One refresh of a family at a time; whoever ends the family waits, or is waited for.
    sa.select(Grant.id)
    .join(RefreshToken, RefreshToken.grant_id == Grant.id)
    .where(RefreshToken.digest == sa.bindparam("digest"))
    .with_for_update(of=Grant)
)
_TOKEN = (
    # A statement of its own: only one that begins under the lock sees what the holder before has written.
    sa.select(
        RefreshToken.id,
        RefreshToken.grant_id,
        RefreshToken.created_at,
        RefreshToken.expires_at.label("idle_end"),
        RefreshToken.used_at,
        RefreshToken.successor_sealed,
        RefreshToken.predecessor_id,
        Grant.client_id,
        Grant.sub,
        Grant.sid,
        Grant.is_offline,
        Grant.scope,
        Grant.resources,
        Grant.claims_request,
        Grant.auth_time,
        Grant.acr,
        Grant.amr,
        Grant.roles,
        Grant.ended_at,
        Grant.expires_at,
        Subject.status,
        Subject.roles.label("present_roles"),
        Subject.claims.label("person_claims"),
    )
    .join(Grant, Grant.id == RefreshToken.grant_id)
    .join(Subject, Subject.sub == Grant.sub)
    .where(RefreshToken.digest == sa.bindparam("digest"))
)


class Presented:
    """A refresh token that may be used; `successor` is set when it was used a moment ago."""

    def __init__(self, text: str, row: Any, successor: str | None):
        self.text, self.row, self.successor = text, row, successor

    def check_client(self, client: RegisteredClient) -> bool:
        return self.row.client_id == client.client_id

    def get_scope(self) -> str:
        return self.row.scope


class RefreshTokenGrant(authlib.RefreshTokenGrant):
    """The order is Authlib's: client, grant type, token, scope, person; the token is spent last."""

    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)
    INCLUDE_NEW_REFRESH_TOKEN = False

    def authenticate_refresh_token(self, refresh_token: str) -> Presented | None:
        """The token of this client, its family locked until the end of the transaction."""
        digest = {"digest": single_use.digest(refresh_token)}
        db.session.execute(_LOCK_FAMILY, digest)
        row = db.session.execute(_TOKEN, digest).one_or_none()
        now = utcnow()
        if row is None or row.client_id != self.request.client.client_id:
            return None
        if not is_live(row) or row.idle_end <= now:
            return None
        if is_denied(row, issued_at=int(row.created_at.timestamp())):
            return None
        if row.used_at is None:
            return Presented(refresh_token, row, None)
        successor = _open_successor(refresh_token, row, now)
        if successor is None:
            end_stolen_family(row.grant_id, sub=row.sub, client_id=row.client_id)
            return None
        return Presented(refresh_token, row, successor)

    def authenticate_user(self, refresh_token: Presented) -> Authorization:
        row = refresh_token.row
        return authorization_of(row, grant_id=row.grant_id)

    def save_token(self, token: dict[str, Any]) -> None:
        """Spend the presented token and store what follows it."""
        presented: Presented = self.request.refresh_token
        if presented.successor is not None:
            token["refresh_token"] = presented.successor
        elif self.request.client.rotate_refresh_tokens:
            token["refresh_token"] = _rotate(presented)
        else:
            _prolong(presented)

    def revoke_old_credential(self, refresh_token: Presented) -> None:
        """Done by rotation, in the same statement that stored the successor."""


def _rotate(presented: Presented) -> str:
    row, now = presented.row, utcnow()
    text, digest = single_use.make()
    spent = db.session.execute(
        sa.update(RefreshToken)
        .where(RefreshToken.id == row.id, RefreshToken.used_at.is_(None))
        .values(used_at=now, successor_sealed=_ring(presented.text).seal(text.encode(), _place(row.id)))
        .returning(RefreshToken.id)
        .execution_options(synchronize_session=False)
    ).first()
    if spent is None:
        raise InvalidGrantError("The refresh token is not valid.")
    if row.predecessor_id is not None:
        # Now that this token is used, the one before it has had its grace.
        db.session.execute(
            sa.update(RefreshToken)
            .where(RefreshToken.id == row.predecessor_id)
            .values(successor_sealed=None)
            .execution_options(synchronize_session=False)
        )
    db.session.execute(
        sa.insert(RefreshToken).values(
            id=uuid7(),
            grant_id=row.grant_id,
            digest=digest,
            created_at=now,
            expires_at=_idle_end(row, now),
            predecessor_id=row.id,
        )
    )
    return text


def _prolong(presented: Presented) -> None:
    """Start the idle life of a token that is not rotated again."""
    db.session.execute(
        sa.update(RefreshToken)
        .where(RefreshToken.id == presented.row.id)
        .values(expires_at=_idle_end(presented.row, utcnow()))
        .execution_options(synchronize_session=False)
    )


def _idle_end(row: Any, now: datetime) -> datetime:
    return min(now + parts_of(current_app).settings.REFRESH_IDLE_LIFETIME, row.expires_at)


def _open_successor(text: str, row: Any, now: datetime) -> str | None:
    """What followed this token, while the grace lasts and nobody has used it."""
    if row.successor_sealed is None or now - row.used_at > ROTATION_GRACE:
        return None
    try:
        return _ring(text).open(row.successor_sealed, _place(row.id)).decode()
    except CannotOpen:
        return None


def _ring(text: str) -> KeyRing:
    return KeyRing({"token": derive(text, "refresh successor")})


def _place(token_id: Any) -> str:
    return f"refresh_tokens.successor_sealed:{token_id}"
