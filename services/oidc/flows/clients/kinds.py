"""Kinds of apps: what is usual for each, so that little has to be said to register one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask_babel import lazy_gettext

from libs.people.bearer.scopes import API_SCOPES, OWN_SCOPES
from services.oidc.flows.clients.changing import ChangedClient, create_client
from services.oidc.flows.clients.metadata import DEVICE_CODE, InvalidClient
from services.oidc.scopes import SCOPES


@dataclass(frozen=True)
class Kind:
    """A kind of app, in the words of the form, and the settings that make a client one."""

    title: Any
    about: Any
    settings: Mapping[str, Any] = field(default_factory=dict)


KINDS: Mapping[str, Kind] = {
    "web": Kind(
        lazy_gettext("A web app with a server"),
        lazy_gettext("It keeps a secret on its server."),
        {"auth_method": "client_secret_basic"},
    ),
    "browser": Kind(
        lazy_gettext("An app that runs in the browser alone"),
        lazy_gettext("It can keep no secret: PKCE and rotating refresh tokens protect it."),
        {"auth_method": "none"},
    ),
    "native": Kind(
        lazy_gettext("An app on a phone, a computer, a television"),
        lazy_gettext(
            "No secret; loopback and schemes of its own are allowed. Without redirect URIs it signs in by a code "
            "that the device shows."
        ),
        {"auth_method": "none", "application_type": "native"},
    ),
    "machine": Kind(
        lazy_gettext("A program that acts for itself"),
        lazy_gettext("Nobody signs in: it gets tokens for APIs with its secret."),
        {"auth_method": "client_secret_basic", "grants": ["client_credentials"], "redirect_uris": []},
    ),
}
OF_PEOPLE = frozenset({*SCOPES} - {*API_SCOPES}) | OWN_SCOPES
"""Scopes that mean nothing where nobody signs in."""


def create_client_of_kind(
    *, kind: str, name: str, redirect_uris: Iterable[str], scopes: Iterable[str]
) -> ChangedClient:
    """Register a client of a kind of KINDS; everything else is as usual for it. Raises InvalidClient."""
    if kind not in KINDS:
        raise InvalidClient(errors={"kind": lazy_gettext("This must be chosen.")})
    chosen: dict[str, Any] = {"redirect_uris": list(redirect_uris), **KINDS[kind].settings}
    if kind == "native" and not chosen["redirect_uris"]:
        chosen["grants"] = [DEVICE_CODE, "refresh_token"]
    is_nobodys = kind == "machine"
    chosen["scopes"] = [scope for scope in scopes if not (is_nobodys and scope in OF_PEOPLE)]
    return create_client(name=name, **chosen)
