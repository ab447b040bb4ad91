"""Revocation (RFC 7009): a client gives a token back, and the whole grant behind it ends."""

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Request
from authlib.oauth2.rfc7009 import RevocationEndpoint
from flask import current_app

from libs.guard import single_use
from libs.observe.logs import get_logger
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.flows.revoking import end_grant
from services.oidc.models import Grant, RefreshToken
from services.oidc.protocol.client_auth import METHODS
from services.oidc.protocol.tokens import read_access_token

log = get_logger("OIDC.revocation")


@dataclass(frozen=True)
class Issued:
    """A token of somebody's and the grant it came from."""

    grant_id: uuid.UUID
    client_id: str

    def check_client(self, client: RegisteredClient) -> bool:
        return self.client_id == client.client_id


class Revocation(RevocationEndpoint):
    """Unknown tokens are answered like revoked ones (§2.2); another client's is refused and lives on (§2.1)."""

    CLIENT_AUTH_METHODS = list(METHODS)

    def check_params(self, request: OAuth2Request, client: RegisteredClient) -> None:
        # token_type_hint only speeds a search up (§2.1); ours needs none.
        if "token" not in request.form:
            raise InvalidRequestError("The parameter token is missing.")

    def query_token(self, token_string: str, token_type_hint: str | None) -> Issued | None:
        claims = read_access_token(token_string, issuer=parts_of(current_app).settings.PUBLIC_URL)
        if claims is not None:
            return Issued(uuid.UUID(claims["grant_id"]), claims["client_id"])
        row = db.fetch_one(
            sa.select(Grant.id, Grant.client_id)
            .join(RefreshToken, RefreshToken.grant_id == Grant.id)
            .where(RefreshToken.digest == single_use.digest(token_string))
        )
        return Issued(row.id, row.client_id) if row else None

    def revoke_token(self, token: Issued, request: OAuth2Request) -> None:
        """An access token takes its refresh tokens along (§2.1 allows it): nothing lives on unseen."""
        if end_grant(token.grant_id, cause="revoked_by_client"):
            log.info("grant_revoked", client_id=token.client_id, grant_id=str(token.grant_id))
