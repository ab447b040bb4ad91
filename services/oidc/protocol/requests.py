"""What clients send by POST, read strictly: one form, each parameter once, nothing in the query."""

import base64
import binascii
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Payload, OAuth2Request
from flask import Request
from werkzeug.utils import cached_property

from services.oidc.protocol.limits import Visit

FORM = "application/x-www-form-urlencoded"
REPEATABLE = frozenset({"resource"})
"""What may come several times at our POST endpoints (RFC 8707 §2)."""


class FormPayload(OAuth2Payload):
    """The parameters of a form; empty ones count as left out (RFC 6749 §3.2)."""

    def __init__(self, values: dict[str, str]):
        self._values = values

    @property
    def data(self) -> dict[str, str]:
        return self._values

    @cached_property
    def datalist(self) -> defaultdict[str, list[str]]:
        return defaultdict(list, {name: [value] for name, value in self._values.items()})


class FormRequest(OAuth2Request):
    """A request to one of our POST endpoints, as Authlib wants to see it."""

    # As Authlib's constructor leaves them.
    client: Any = None
    auth_method: Any = None
    user: Any = None
    authorization_code: Any = None
    refresh_token: Any = None
    credential: Any = None
    _scope: Any = None
    _body: Any = None

    def __init__(self, request: Request, visit: Visit | None = None):
        # Authlib's constructor would parse an address to see that it is https. Behind our own proxies the scheme is
        # plain http; that PUBLIC_URL is https is the settings' rule.
        self.method, self.uri = request.method, "https://localhost" + request.path
        self.headers = request.headers
        self.authorization: str | None = request.environ.get("HTTP_AUTHORIZATION")
        several = read_form(request)
        self._form = once_each(several.items(), repeatable=REPEATABLE)
        self.payload = FormPayload(self._form)
        self.resources = [value for value in several.get("resource", ()) if value]
        """The resources that were named (RFC 8707 §2)."""
        self.visit = visit
        self.detail: str | None = None
        """Why it is refused, for staff alone; whoever refuses it says so here."""

    @property
    def form(self) -> dict[str, str]:
        return self._form

    @cached_property
    def basic(self) -> tuple[str, str] | None:
        """User and password of the header (RFC 7617), as they came; None where there is nothing of that kind."""
        scheme, _, encoded = (self.authorization or "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        return (user, password) if colon and password else None


def read_form(request: Request) -> dict[str, list[str]]:
    """The parameters of a POST, each with all values; none of one without a body.

    As werkzeug reads a form, without making one of its dictionaries. The body is kept for whoever asks for that.
    Raises InvalidRequestError for a query or another content type.
    """
    if request.environ.get("QUERY_STRING") and request.args:
        raise InvalidRequestError("Parameters belong into the body of the request.")
    is_form = request.environ.get("CONTENT_TYPE") == FORM or request.mimetype == FORM
    if not is_form and (request.mimetype or request.get_data()):
        raise InvalidRequestError(f"The body of the request must be {FORM}.")
    try:
        pairs = parse_qsl(request.get_data().decode(), keep_blank_values=True, errors="werkzeug.url_quote")
    except ValueError:  # no text, or of more parameters than anybody sends
        pairs = []
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def once_each(values: Iterable[tuple[str, list[str]]], *, repeatable: Collection[str] = ()) -> dict[str, str]:
    """Parameters by name, without empty ones; of those that may be repeated the first.

    Raises InvalidRequestError when another one comes twice (RFC 6749 §3.1).
    """
    found: dict[str, str] = {}
    for name, several in values:
        if len(several) > 1 and name not in repeatable:
            raise InvalidRequestError("A parameter was sent more than once.")
        if several[0]:
            found[name] = several[0]
    return found
