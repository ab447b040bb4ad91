"""Client authentication: one module per method, and the rule that a client uses exactly one, its own."""

from collections.abc import Sequence
from typing import Any

from authlib.oauth2.rfc6749 import InvalidClientError, OAuth2Request
from authlib.oauth2.rfc6749.authenticate_client import ClientAuthentication

from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.protocol.client_auth import client_secret_basic, client_secret_post, none

METHODS = {
    "client_secret_basic": client_secret_basic,
    "client_secret_post": client_secret_post,
    "none": none,
}
"""In the order in which a request is asked whether it uses the method; `none` is what remains."""


class UnknownClientError(InvalidClientError):
    """On the wire the same as any failed authentication; counted apart."""


class Authentication(ClientAuthentication):
    """Authlib's registry, held to one method per request (RFC 6749 §2.3)."""

    def __init__(self) -> None:
        super().__init__(find_client)
        for name, module in METHODS.items():
            self.register(name, module.authenticate)

    def authenticate(
        self, request: OAuth2Request, methods: Sequence[str], endpoint: str = "token"
    ) -> RegisteredClient:
        """The client behind the request. Raises InvalidClientError, always with the same words and status 401."""
        client_id = claimed_client_id(request)
        request.client = find_client(client_id)
        if request.client is None:
            raise refused(UnknownClientError)
        used = [name for name, module in METHODS.items() if module.is_used(request)] or ["none"]
        if len(used) > 1 or used[0] not in methods:
            raise refused()
        client: Any = self._methods[used[0]](self.query_client, request)
        if client is None or not client.check_endpoint_auth_method(used[0], endpoint):
            raise refused()
        request.auth_method = used[0]
        return client


def claimed_client_id(request: OAuth2Request) -> str | None:
    """Who the request says it comes from, proven or not."""
    return client_secret_basic.claimed_client_id(request) or request.form.get("client_id")


def refused(kind: type[InvalidClientError] = InvalidClientError) -> InvalidClientError:
    return kind("Client authentication failed.", status_code=401)
