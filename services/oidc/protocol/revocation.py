"""Revocation (RFC 7009): a client gives a token back, and the whole grant behind it ends."""

from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from flask import current_app

from libs.observe.logs import get_logger
from libs.service import parts_of
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.flows.revoking import end_grant, revoke_client_token
from services.oidc.protocol.client_auth import METHODS
from services.oidc.protocol.liveness import Issued, find_issued
from services.oidc.protocol.requests import FormRequest

log = get_logger("OIDC.revocation")


class Revocation(RevocationEndpoint):
    """Unknown tokens are answered like revoked ones (§2.2); another client's is refused and lives on (§2.1)."""

    CLIENT_AUTH_METHODS = list(METHODS)

    def authenticate_token(self, request: FormRequest, client: RegisteredClient) -> Issued | None:
        """The token of this client. token_type_hint only speeds a search up (§2.1); ours needs none."""
        if "token" not in request.form:
            raise InvalidRequestError("The parameter token is missing.")
        assert request.visit is not None
        issuer = parts_of(current_app).settings.PUBLIC_URL
        issued = find_issued(request.form["token"], issuer=issuer, visit=request.visit)
        request.visit.count()
        if issued is not None and issued.client_id != client.client_id:
            request.detail = "the token is another client's"
            raise InvalidGrantError
        return issued

    def revoke_token(self, token: Issued, request: FormRequest) -> None:
        """An access token takes its refresh tokens along (§2.1 allows it): nothing lives on unseen.

        One of a client by itself has nothing behind it and ends alone.
        """
        if token.grant_id is not None:
            if end_grant(token.grant_id, cause="revoked_by_client"):
                log.info("grant_revoked", client_id=token.client_id, grant_id=str(token.grant_id))
        elif token.row is not None and revoke_client_token(token.row.token_id):
            log.info("client_token_revoked", client_id=token.client_id, token_id=token.jti)
