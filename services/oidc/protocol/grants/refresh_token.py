"""The refresh token grant (RFC 6749 §6) with rotation: a spent token that comes back ends its family.

A client that lost our answer may ask again within ROTATION_GRACE and gets the same successor, for as long as
that one is unused. Only the hash of a token is stored; the successor is kept sealed under a key that only
the holder of its predecessor can derive. docs/decisions/0017 says why two statements are enough.
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import InvalidGrantError
from authlib.oauth2.rfc6749 import grants as authlib
from flask import current_app

from libs.database import is_away, utcnow, uuid7
from libs.guard import single_use
from libs.guard.keyring import CannotOpen, KeyRing, derive
from libs.people import denials
from libs.prepared import Prepared
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.flows.revoking import end_stolen_family
from services.oidc.protocol.client_auth import METHODS
from services.oidc.protocol.grants import authorization_of, opaque_values, rotation
from services.oidc.protocol.grants.unsure import Unsure
from services.oidc.protocol.liveness import denial_keys, is_live
from services.oidc.protocol.reasons import ago
from services.oidc.protocol.tokens import Authorization

ROTATION_GRACE = timedelta(seconds=30)
unsure = Unsure()


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
    IS_ITS_OWN_TRANSACTION = True

    def authenticate_refresh_token(self, refresh_token: str) -> Presented | None:
        """The token of this client, while its family lives."""
        row = db.fetch_one(rotation.TOKEN, {"digest": single_use.digest(refresh_token)})
        is_ours = row is not None and row.client_id == self.request.client.client_id
        found = self.request.visit.count(denial_keys(row) if is_ours else ())
        self.request.detail = self._end_of(row, found)
        if self.request.detail is not None:
            return None
        return self._presented(refresh_token, row)

    def _end_of(self, row: Any, found: list[str | None]) -> str | None:
        """Why the token can be nobody's any more; None while it can."""
        if row is None:
            return "nobody knows the refresh token"
        if row.client_id != self.request.client.client_id:
            return "the refresh token is another client's"
        if not is_live(row):
            if row.ended_at is not None:
                return f"its grant ended {ago(row.ended_at)} ({row.end_cause})"
            return (
                f"the person is {row.status}" if row.status != "active" else f"expired {ago(row.expires_at)}"
            )
        if row.idle_end <= utcnow():
            return f"refresh token expired (idle) {ago(row.idle_end)}"
        if denials.reach(found, issued_at=int(row.created_at.timestamp())):
            return "the person's access was revoked after it was issued"
        return None

    def _presented(self, text: str, row: Any) -> Presented | None:
        if row.used_at is None:
            return Presented(text, row, None)
        successor = _open_successor(text, row, utcnow())
        if successor is None:
            self.request.detail = f"the refresh token was used {ago(row.used_at)}: its family has ended"
            end_stolen_family(row.grant_id, sub=row.sub, client_id=row.client_id)
            return None
        return Presented(text, row, successor)

    def authenticate_user(self, refresh_token: Presented) -> Authorization:
        row = refresh_token.row
        return authorization_of(row, grant_id=row.grant_id, named=self.request.resources)

    def save_token(self, token: dict[str, Any]) -> None:
        """Spend the presented token and store what follows it, in one statement."""
        presented: Presented = self.request.refresh_token
        values = {
            "of_grant": presented.row.grant_id,
            "token_id": presented.row.id,
            **opaque_values(self.request, token),
        }
        if presented.successor is None and self.request.client.rotate_refresh_tokens:
            presented.successor = self._rotate(presented, values)
            if presented.successor is not None:
                token["refresh_token"] = presented.successor
                return
            # Somebody else has just used it, or ended its family: what is there now decides.
            row = db.fetch_one(rotation.TOKEN, {"digest": single_use.digest(presented.text)})
            again = self._presented(presented.text, row) if row is not None and is_live(row) else None
            if again is None or again.successor is None:
                raise InvalidGrantError
            presented.successor = again.successor
        if presented.successor is not None:
            self._run(rotation.AGAIN, values)
            token["refresh_token"] = presented.successor
            unsure.is_answered(presented.row.digest)
        else:
            self._run(rotation.PROLONG, {**values, "idle_end": _idle_end(presented.row, utcnow())})

    def _run(self, statement: Prepared, values: dict[str, Any]) -> None:
        """Raises InvalidGrantError when the family has ended meanwhile."""
        if db.fetch_one(statement, values) is None:
            self.request.detail = "its grant has just ended"
            raise InvalidGrantError

    def _rotate(self, presented: Presented, values: dict[str, Any]) -> str | None:
        """The successor; None when the token is spent already."""
        row, now = presented.row, utcnow()
        text, digest = single_use.make()
        rotated = {
            **values,
            "now": now,
            "sealed": _ring(presented.text).seal(text.encode(), _place(row.id)),
            "id_before": row.predecessor_id,
            "refresh_id": uuid7(),
            "refresh_digest": digest,
            "refresh_end": _idle_end(row, now),
        }
        try:
            return text if db.fetch_one(rotation.ROTATE, rotated) is not None else None
        except sa.exc.SQLAlchemyError as error:
            if is_away(error):
                # It may be done all the same, and the answer lost.
                unsure.note(row.digest)
            raise

    def revoke_old_credential(self, refresh_token: Presented) -> None:
        """Done by rotation, in the same statement that stored the successor."""


def _idle_end(row: Any, now: datetime) -> datetime:
    return min(now + parts_of(current_app).settings.REFRESH_IDLE_LIFETIME, row.expires_at)


def _open_successor(text: str, row: Any, now: datetime) -> str | None:
    """What followed this token, while nobody has used it, and while the grace lasts or our answer is still owed."""
    if row.successor_sealed is None:
        return None
    if now - row.used_at > ROTATION_GRACE and not unsure.is_owed(row.digest):
        return None
    try:
        return _ring(text).open(row.successor_sealed, _place(row.id)).decode()
    except CannotOpen:
        return None


def _ring(text: str) -> KeyRing:
    return KeyRing({"token": derive(text, "refresh successor")})


def _place(token_id: Any) -> str:
    return f"refresh_tokens.successor_sealed:{token_id}"
