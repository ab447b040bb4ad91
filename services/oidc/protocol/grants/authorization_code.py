"""The authorization code grant at the token endpoint (RFC 6749 §4.1.3): a code works once, for its own client."""

from typing import Any

from authlib.oauth2.rfc6749 import grants as authlib

from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.protocol.client_auth import METHODS
from services.oidc.protocol.grants import codes
from services.oidc.protocol.reasons import difference
from services.oidc.protocol.tokens import Authorization


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
    IS_ITS_OWN_TRANSACTION = True

    def query_authorization_code(self, code: str, client: RegisteredClient) -> Code | None:
        """The code of this client, that came to it by a browser."""
        row = codes.find_code(code)
        if row is None or row.kind != "authorization_code":
            self.request.detail = "nobody knows the code"
            return None
        if row.client_id != client.client_id:
            self.request.detail = "the code is another client's"
            return None
        if not codes.is_unspent(self.request, row):
            return None
        if row.redirect_uri is not None:
            # Authlib compares it next.
            sent = self.request.payload.redirect_uri
            self.request.detail = difference("redirect_uri", sent, row.redirect_uri, of="the request")
        return Code(row)

    def authenticate_user(self, authorization_code: Code) -> Authorization | None:
        return codes.who_gave(self.request, authorization_code.row)

    def save_token(self, token: dict[str, Any]) -> None:
        codes.spend(self.request, self.request.authorization_code.row, token)

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Kept with its grant, so that a second use is known for what it is."""
