"""The authorization code grant at the token endpoint (RFC 6749 §4.1.3): a code works once, for its own client."""

from typing import Any

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import InvalidGrantError
from authlib.oauth2.rfc6749 import grants as authlib
from flask import current_app

from libs.database import utcnow
from libs.guard import single_use
from libs.observe.logs import get_logger
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.flows.revoking import end_grant
from services.oidc.models import Grant, RefreshToken, Subject
from services.oidc.protocol.client_auth import METHODS
from services.oidc.protocol.grants import authorization_of
from services.oidc.protocol.liveness import is_denied
from services.oidc.protocol.tokens import Authorization

log = get_logger("OIDC.token")


class Code:
    """A presented code that is known, unused and in time."""

    def __init__(self, row: Any):
        self.row = row
        self.code_challenge: str | None = row.code_challenge

    def get_redirect_uri(self) -> str | None:
        return self.row.redirect_uri

    def get_scope(self) -> str:
        return self.row.scope


class AuthorizationCodeGrant(authlib.AuthorizationCodeGrant):
    """The order is Authlib's: client, grant type, code, redirect_uri, PKCE, person; the code is spent last."""

    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)
    RESPONSE_TYPES: set[str] = set()

    def query_authorization_code(self, code: str, client: RegisteredClient) -> Code | None:
        """The code of this client. One used before ends what its first use produced (RFC 6749 §4.1.2)."""
        row = db.session.execute(
            sa.select(
                *Grant.__table__.columns,
                Subject.status,
                Subject.roles.label("present_roles"),
                Subject.claims.label("person_claims"),
            )
            .join(Subject, Subject.sub == Grant.sub)
            .where(Grant.code_digest == single_use.digest(code))
        ).one_or_none()
        if row is None or row.client_id != client.client_id:
            return None
        if row.code_used_at is not None:
            self._end_after_reuse(row)
            return None
        if row.ended_at is not None or row.code_expires_at <= utcnow():
            return None
        return Code(row)

    def authenticate_user(self, authorization_code: Code) -> Authorization | None:
        """Who gave the code, while they may still sign in."""
        row = authorization_code.row
        if row.status != "active" or is_denied(row, issued_at=int(row.created_at.timestamp())):
            return None
        return authorization_of(row, grant_id=row.id, nonce=row.nonce)

    def save_token(self, token: dict[str, Any]) -> None:
        """Spend the code; of many who try at once one goes on, and the others end what it got."""
        row = self.request.authorization_code.row
        now = utcnow()
        spent = db.session.execute(
            sa.update(Grant)
            .where(Grant.id == row.id, Grant.code_used_at.is_(None), Grant.ended_at.is_(None))
            .values(code_used_at=now)
            .returning(Grant.id)
            .execution_options(synchronize_session=False)
        ).first()
        if spent is None:
            self._end_after_reuse(row)
            raise InvalidGrantError("The code is not valid.")
        if self.request.client.check_grant_type("refresh_token"):
            token["refresh_token"], digest = single_use.make()
            idle = parts_of(current_app).settings.REFRESH_IDLE_LIFETIME
            db.session.execute(
                sa.insert(RefreshToken).values(
                    grant_id=row.id, digest=digest, created_at=now, expires_at=min(now + idle, row.expires_at)
                )
            )

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Kept with its grant, so that a second use is known for what it is."""

    def _end_after_reuse(self, row: Any) -> None:
        ended = end_grant(row.id, cause="code_reuse")
        log.warning("code_reused", client_id=row.client_id, grant_id=str(row.id), ended_now=ended)
