"""Request objects: an authorization request as a JWT, by value or by reference (RFC 9101; OpenID Connect Core §6).

Where there is one its parameters are the request; what stands beside it in the browser's address counts for nothing
(RFC 9101 §6.3), but for `client_id`, which must be the same (docs/decisions/0016).
"""

import base64
import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.protocol.client_documents import NotFetched, fetch
from services.oidc.protocol.client_jwt import (
    MAX_LENGTH,
    ClientJWT,
    UnusableJWT,
    check_times,
    names_in,
    read_client_jwt,
)

UNSIGNED = "none"
TYPES = frozenset({"oauth-authz-req+jwt", "application/oauth-authz-req+jwt"})
CLAIMS_OF_A_JWT = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
"""What is the JWT's own and no parameter of the request."""
ACCEPT = "application/oauth-authz-req+jwt, application/jwt"
MOST_REMEMBERED = 200
_SHA256 = re.compile(r"[A-Za-z0-9_-]{43}\Z")


class InvalidRequestObject(Exception):
    """It cannot be used. `error` and `description` are public; `detail` is for the log."""

    def __init__(self, error: str, description: str, detail: str = ""):
        super().__init__(description)
        self.error, self.description, self.detail = error, description, detail


def read_request_object(
    sent: Mapping[str, str], client: RegisteredClient, *, issuer: str
) -> tuple[dict[str, str], bool] | None:
    """The parameters that count, and whether the client signed them; None for a request without an object.

    Raises InvalidRequestObject.
    """
    text, address = sent.get("request"), sent.get("request_uri")
    if text is None and address is None:
        return None
    if text is not None and address is not None:
        raise InvalidRequestObject("invalid_request", "Either request or request_uri, not both.")
    if text is None:
        text = _fetched(address or "", client)
    try:
        found = _read(text, client, issuer=issuer)
        parameters = {
            name: value
            for name, member in found.claims.items()
            if name not in CLAIMS_OF_A_JWT and (value := _as_parameter(name, member))
        }
    except UnusableJWT as error:
        raise InvalidRequestObject(
            "invalid_request_object", "The request object cannot be used.", str(error)
        ) from error
    return parameters, found.is_signed


def _read(text: str, client: RegisteredClient, *, issuer: str) -> ClientJWT:
    """Raises UnusableJWT."""
    may_be_unsigned = (
        client.request_object_signing_alg == UNSIGNED and not client.require_signed_request_object
    )
    found = read_client_jwt(
        text,
        client,
        types=TYPES,
        registered_alg=None if may_be_unsigned else client.request_object_signing_alg,
        may_be_unsigned=may_be_unsigned,
    )
    claims = found.claims
    if claims.get("client_id") != client.client_id:
        raise UnusableJWT("its client_id is not that of the request")
    if claims.get("iss", client.client_id) != client.client_id:
        raise UnusableJWT("its iss is not the client")
    if "aud" in claims and issuer not in names_in(claims, "aud"):
        raise UnusableJWT("addressed to somebody else")
    if claims.get("sub") == client.client_id:
        # Then it could be an assertion by which the client proves itself (RFC 9101 §10.8).
        raise UnusableJWT("its sub is the client, as in an assertion")
    if "request" in claims or "request_uri" in claims:
        raise UnusableJWT("a request object within it")
    check_times(claims)
    return found


def _as_parameter(name: str, value: Any) -> str:
    """A member as it would stand in a query: numbers and objects in JSON's own words; nothing for null.

    Several resources, which a query has one by one (RFC 8707 §2), stand with blanks between them.

    Raises UnusableJWT.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if name == "resource" and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return " ".join(value)
    try:
        return json.dumps(value, separators=(",", ":"))
    except RecursionError as error:
        raise UnusableJWT("nested too deeply") from error


# -- by reference ------------------------------------------------------------------------------------------------

_remembered: OrderedDict[str, str] = OrderedDict()
_lock = threading.Lock()


def _fetched(uri: str, client: RegisteredClient) -> str:
    """The request object at an address of the client's. Raises InvalidRequestObject.

    Where its fragment is the SHA-256 of what is there (Core §6.2) it need not be fetched twice. Another fragment is not
    held against it: it only says that something has changed.
    """
    address, _, fragment = uri.partition("#")
    if address not in {known.partition("#")[0] for known in client.request_uris}:
        raise InvalidRequestObject("invalid_request_uri", "This request_uri is not registered.")
    expected = fragment if _SHA256.match(fragment) else None
    remembered = _remembered.get(uri) if expected is not None else None
    if remembered is not None:
        return remembered.strip()
    try:
        text = fetch(address, _as_text, accept=ACCEPT, max_bytes=MAX_LENGTH)
    except NotFetched as error:
        raise InvalidRequestObject(
            "invalid_request_uri", "There is no request object at the request_uri.", str(error)
        ) from error
    if expected == _sha256(text):
        _remember(uri, text)
    return text.strip()


def _as_text(body: bytes) -> str:
    try:
        return body.decode("ascii")
    except UnicodeDecodeError as error:
        raise NotFetched("not ASCII") from error


def _sha256(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def _remember(uri: str, text: str) -> None:
    with _lock:
        _remembered[uri] = text
        while len(_remembered) > MOST_REMEMBERED:
            _remembered.popitem(last=False)
