"""The one place where answers to authorization requests are made: code or error, always with `iss` (RFC 9207)."""

from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode

from services.oidc.protocol.authorization.checks import Refused


class Asking(Protocol):
    """An authorization request or its interaction: where the answer goes, and how."""

    @property
    def redirect_uri(self) -> str: ...
    @property
    def response_mode(self) -> str: ...
    @property
    def state(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class AuthorizationResponse:
    """What the browser carries to the client: by its address, or in a form (OAuth 2.0 Form Post Response Mode)."""

    redirect_uri: str
    mode: str
    parameters: dict[str, str] = field(repr=False)

    @property
    def address(self) -> str:
        """Where the browser is sent; the query that was registered is kept as it is (RFC 6749 §3.1.2)."""
        if self.mode == "form_post":
            return self.redirect_uri
        separator = "#" if self.mode == "fragment" else "&" if "?" in self.redirect_uri else "?"
        return self.redirect_uri + separator + urlencode(self.parameters)


def code_response(asking: Asking, *, issuer: str, code: str) -> AuthorizationResponse:
    """RFC 6749 §4.1.2."""
    return _response(asking, {"code": code}, issuer)


def error_response(asking: Asking, *, issuer: str, refused: Refused) -> AuthorizationResponse:
    """RFC 6749 §4.1.2.1."""
    return _response(asking, {"error": refused.error, "error_description": refused.description}, issuer)


def _response(asking: Asking, parameters: dict[str, str], issuer: str) -> AuthorizationResponse:
    if asking.state is not None:
        parameters["state"] = asking.state
    parameters["iss"] = issuer
    return AuthorizationResponse(
        redirect_uri=asking.redirect_uri, mode=asking.response_mode, parameters=parameters
    )
