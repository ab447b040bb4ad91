"""What clients send by POST, read strictly: one form, each parameter once, nothing in the query."""

from collections import defaultdict
from collections.abc import Collection
from functools import cached_property
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Payload, OAuth2Request
from flask import Request

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

    def __init__(self, request: Request, visit: Visit | None = None):
        # Behind our own proxies the scheme is plain http; that PUBLIC_URL is https is the settings' rule.
        super().__init__(request.method, "https://localhost" + request.path, headers=request.headers)
        self._form = read_form(request)
        self.payload = FormPayload(self._form)
        self.resources = [value for value in request.form.getlist("resource") if value]
        """The resources that were named (RFC 8707 §2)."""
        self.visit = visit
        self.detail: str | None = None
        """Why it is refused, for staff alone; whoever refuses it says so here."""

    @property
    def form(self) -> dict[str, str]:
        return self._form


def read_form(request: Request) -> dict[str, str]:
    """The parameters of a POST. Raises InvalidRequestError for a query, another content type, a parameter twice."""
    if request.args:
        raise InvalidRequestError("Parameters belong into the body of the request.")
    if request.mimetype != FORM:
        raise InvalidRequestError(f"The body of the request must be {FORM}.")
    return once_each(request.form, repeatable=REPEATABLE)


def once_each(values: Any, *, repeatable: Collection[str] = ()) -> dict[str, str]:
    """Parameters by name, without empty ones; of those that may be repeated the first.

    Raises InvalidRequestError when another one comes twice (RFC 6749 §3.1).
    """
    found: dict[str, str] = {}
    for name, several in values.lists():
        if len(several) > 1 and name not in repeatable:
            raise InvalidRequestError("A parameter was sent more than once.")
        if several[0]:
            found[name] = several[0]
    return found
