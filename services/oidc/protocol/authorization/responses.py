"""The one place where answers to authorization requests are made: code or error, always with `iss` (RFC 9207)."""

from urllib.parse import urlencode

from services.oidc.protocol.authorization.checks import Refused


def code_response(redirect_uri: str, *, issuer: str, state: str | None, code: str) -> str:
    """Where the browser goes with its code (RFC 6749 §4.1.2)."""
    return _address(redirect_uri, {"code": code}, issuer, state)


def error_response(redirect_uri: str, *, issuer: str, state: str | None, refused: Refused) -> str:
    """Where the browser goes with an error (RFC 6749 §4.1.2.1)."""
    return _address(
        redirect_uri, {"error": refused.error, "error_description": refused.description}, issuer, state
    )


def _address(redirect_uri: str, parameters: dict[str, str], issuer: str, state: str | None) -> str:
    """The query that was registered is kept as it is (§3.1.2)."""
    if state is not None:
        parameters["state"] = state
    parameters["iss"] = issuer
    separator = "&" if "?" in redirect_uri else "?"
    return redirect_uri + separator + urlencode(parameters)
