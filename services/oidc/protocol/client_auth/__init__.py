"""Client authentication: one module per method, and the rule that a client uses exactly one, its own."""

from collections.abc import Sequence
from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidClientError
from authlib.oauth2.rfc6749.authenticate_client import ClientAuthentication

from libs.observe.logs import get_logger
from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.protocol.client_auth import (
    client_secret_basic,
    client_secret_post,
    none,
    private_key_jwt,
)
from services.oidc.protocol.client_jwt import UnusableJWT
from services.oidc.protocol.limits import Visit
from services.oidc.protocol.requests import FormRequest

log = get_logger("OIDC.client_auth")

METHODS = {
    "client_secret_basic": client_secret_basic,
    "client_secret_post": client_secret_post,
    "private_key_jwt": private_key_jwt,
    "none": none,
}
"""In the order in which a request is asked whether it uses the method; `none` is what remains."""
CONFIDENTIAL_METHODS = tuple(name for name in METHODS if name != "none")


class NotAuthenticated(InvalidClientError):
    """Always the same words and status 401; `reason` is for the log and for staff."""

    def __init__(self, reason: str):
        super().__init__("Client authentication failed.", status_code=401)
        self.reason = reason

    def get_headers(self) -> list[tuple[str, str]]:
        """Authlib's challenge leaves the realm out, which Basic has to name (RFC 7617 §2)."""
        headers = OAuth2Error.get_headers(self)
        return [*headers, ("WWW-Authenticate", f'Basic realm="client", error="{self.error}"')]


class UnknownClientError(NotAuthenticated):
    """On the wire the same as any failed authentication; counted apart."""


class Authentication(ClientAuthentication):
    """Authlib's registry, held to one method per request (RFC 6749 §2.3)."""

    def __init__(self) -> None:
        super().__init__(find_client)
        for name, module in METHODS.items():
            self.register(name, module.authenticate)

    def authenticate(self, request: Any, methods: Sequence[str], endpoint: str = "token") -> RegisteredClient:
        """The client behind the request. Raises InvalidClientError, always with the same words and status 401."""
        try:
            return self._authenticate(request, methods, endpoint)
        except NotAuthenticated as error:
            client_id = request.client.client_id if request.client else None
            log.warning("client_not_authenticated", client_id=client_id, reason=error.reason)
            request.detail = error.reason
            raise

    def _authenticate(self, request: Any, methods: Sequence[str], endpoint: str) -> RegisteredClient:
        claimed = claimed_client_id(request)
        request.client = find_client(claimed)
        if request.client is None:
            is_named = claimed is not None
            raise UnknownClientError(
                "no enabled client has this client_id" if is_named else "no client_id was sent"
            )
        used = [name for name, module in METHODS.items() if module.is_used(request)] or ["none"]
        if len(used) > 1:
            raise NotAuthenticated("two methods at once: " + ", ".join(used))
        if used[0] not in methods:
            raise NotAuthenticated(f"{used[0]} is not accepted here")
        try:
            client: Any = self._methods[used[0]](self.query_client, request)
        except UnusableJWT as error:
            raise NotAuthenticated(f"the assertion is refused: {error}") from error
        if client is None:
            raise NotAuthenticated(request.detail or f"{used[0]}: what was sent to prove the client is wrong")
        if not client.check_endpoint_auth_method(used[0], endpoint):
            raise NotAuthenticated(f"{used[0]} is used, {client.auth_method} is registered")
        request.auth_method = used[0]
        visit: Visit | None = request.visit
        if visit is not None:
            visit.client = client
            visit.look_ahead()
        return client


def claimed_client_id(request: FormRequest) -> str | None:
    """Who the request says it comes from, proven or not."""
    return (
        client_secret_basic.claimed_client_id(request)
        or request.form.get("client_id")
        or private_key_jwt.claimed_client_id(request)
    )
