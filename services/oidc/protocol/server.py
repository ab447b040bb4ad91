"""The token endpoint and its neighbours, assembled from Authlib's classes and our grants."""

import json
from typing import Any

from authlib.consts import default_json_headers
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Request
from flask import Response, g
from flask import request as flask_request

from libs.web.app import Ready
from services.oidc.extensions import db
from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.protocol.client_auth import Authentication, UnknownClientError, claimed_client_id
from services.oidc.protocol.device import DeviceAuthorization
from services.oidc.protocol.grants import generate_token
from services.oidc.protocol.grants.authorization_code import AuthorizationCodeGrant
from services.oidc.protocol.grants.client_credentials import ClientCredentialsGrant
from services.oidc.protocol.grants.device_code import DeviceCodeGrant
from services.oidc.protocol.grants.refresh_token import RefreshTokenGrant
from services.oidc.protocol.introspection import Introspection
from services.oidc.protocol.limits import TooManyRequests, Visit
from services.oidc.protocol.pkce import S256Challenge
from services.oidc.protocol.requests import FormRequest
from services.oidc.protocol.revocation import Revocation

LIMIT = "oidc_token"
"""The scope in which requests to these endpoints are counted."""
LIMITS = {"device_authorization": "oidc_device"}
"""Endpoints that are counted apart."""
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class UnsupportedGrantType(OAuth2Error):
    """Says nothing of what was sent."""

    error = "unsupported_grant_type"
    description = "This grant type is not supported."


class Server(AuthorizationServer):
    """Authlib's server with our own way of reading requests and knowing clients."""

    def __init__(self) -> None:
        super().__init__()
        self._client_auth = Authentication()
        self.register_token_generator("default", generate_token)
        self.register_grant(AuthorizationCodeGrant, [S256Challenge()])
        self.register_grant(RefreshTokenGrant)
        self.register_grant(ClientCredentialsGrant)
        self.register_grant(DeviceCodeGrant)
        self.register_endpoint(DeviceAuthorization)
        self.register_endpoint(Introspection)
        self.register_endpoint(Revocation)

    def query_client(self, client_id: str) -> RegisteredClient | None:
        return find_client(client_id)

    def create_oauth2_request(self, request: Any) -> OAuth2Request:
        return request if isinstance(request, OAuth2Request) else _read(Visit(LIMIT))

    def get_token_grant(self, request: OAuth2Request) -> Any:
        grant_type = request.payload.grant_type
        if not grant_type:
            raise InvalidRequestError("The parameter grant_type is missing.")
        for kind, extensions in self._token_grants:
            if grant_type == kind.GRANT_TYPE:
                grant = kind(request, self)
                for extension in extensions or ():
                    extension(grant)
                return grant
        raise UnsupportedGrantType

    def create_token_response(self, request: Any = None) -> Response:
        """Answer the token endpoint; what came of it is left in `g.token_outcome` for the counters."""
        visit, oauth_request = Visit(LIMIT), None
        try:
            oauth_request = _read(visit)
            grant = self.get_token_grant(oauth_request)
            answer = self._answer_of(grant)
        except OAuth2Error as error:
            answer = error
        return self._concluded(oauth_request, visit, answer)

    def create_endpoint_response(self, name: str, request: Any = None) -> Response:
        """Answer introspection, revocation or device authorization."""
        visit, oauth_request = Visit(LIMITS.get(name, LIMIT)), None
        try:
            oauth_request = _read(visit)
            answer = self._endpoints[name][0](oauth_request)
        except OAuth2Error as error:
            answer = error
        return self._concluded(oauth_request, visit, answer)

    @staticmethod
    def _answer_of(grant: Any) -> Any:
        """What the grant answers. A refusal is committed, too: some of them end a grant."""
        if getattr(grant, "IS_ITS_OWN_TRANSACTION", False):
            grant.validate_token_request()
            return grant.create_token_response()
        with db.transaction():
            try:
                grant.validate_token_request()
                return grant.create_token_response()
            except OAuth2Error as error:
                return error

    def _concluded(self, request: FormRequest | None, visit: Visit, answer: Any) -> Response:
        """The answer as a response; a refusal that nothing has counted so far is counted, and that may make it another.

        What was issued stands: a grant counts before it spends anything.
        """
        try:
            visit.count()
        except TooManyRequests as refusal:
            answer = refusal if isinstance(answer, OAuth2Error) else answer
        error = answer if isinstance(answer, OAuth2Error) else None
        g.token_outcome = (request, error)
        return self.handle_error_response(request, error) if error else self.handle_response(*answer)

    def handle_response(self, status_code: int, payload: Any, headers: Any) -> Response:
        body = json.dumps(payload)
        if status_code == 200 and headers is default_json_headers:
            return Ready(body.encode(), headers)
        response = Response(body, status_code, headers)
        if headers is not default_json_headers:  # these say so themselves
            response.headers.update(NO_STORE)
        return response

    def get_error_uri(self, request: Any, error: Any) -> None:
        return None

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""


def _read(visit: Visit) -> FormRequest:
    """The request at hand itself: a look through Flask's stand-in costs as much as what is looked at."""
    return FormRequest(flask_request._get_current_object(), visit)  # type: ignore[attr-defined]


def known_client(request: FormRequest | None, error: OAuth2Error | None) -> RegisteredClient | None:
    """The client that a token request came from or claimed to; None when nobody knows it."""
    if request is None or isinstance(error, UnknownClientError):
        return None
    return request.client or find_client(claimed_client_id(request))


server = Server()
