"""What clients send by POST, read strictly: one form, each parameter once, nothing in the query."""

from collections import defaultdict
from functools import cached_property
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Payload, OAuth2Request
from flask import Request

FORM = "application/x-www-form-urlencoded"


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

    def __init__(self, request: Request):
        # Behind our own proxies the scheme is plain http; that PUBLIC_URL is https is the settings' rule.
        super().__init__(request.method, "https://localhost" + request.path, headers=request.headers)
        self._form = read_form(request)
        self.payload = FormPayload(self._form)

    @property
    def form(self) -> dict[str, str]:
        return self._form


def read_form(request: Request) -> dict[str, str]:
    """The parameters of a POST. Raises InvalidRequestError for a query, another content type, a parameter twice."""
    if request.args:
        raise InvalidRequestError("Parameters belong into the body of the request.")
    if request.mimetype != FORM:
        raise InvalidRequestError(f"The body of the request must be {FORM}.")
    return once_each(request.form)


def once_each(values: Any) -> dict[str, str]:
    """Parameters by name, without empty ones. Raises InvalidRequestError when one comes twice (RFC 6749 §3.1)."""
    found: dict[str, str] = {}
    for name, several in values.lists():
        if len(several) > 1:
            raise InvalidRequestError("A parameter was sent more than once.")
        if several[0]:
            found[name] = several[0]
    return found
