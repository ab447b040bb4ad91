"""Clients that register themselves (RFC 7591) and manage their registration (RFC 7592).

They say what they are in metadata; what only staff choose is never theirs, whatever they send.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext

from libs.audit import acting_as
from libs.database import utcnow
from libs.guard.single_use import digest, make
from libs.service import parts_of
from libs.web.problems import Problem
from services.oidc.extensions import db
from services.oidc.flows.clients.changing import (
    ChangedClient,
    add_client,
    change_client,
    new_client,
    usual,
)
from services.oidc.flows.clients.ending import delete_client
from services.oidc.flows.clients.finding import UnknownClient, read_whole
from services.oidc.flows.clients.metadata import (
    ACR_VALUES,
    BY_METADATA,
    DEVICE_CODE,
    InvalidClient,
    Setting,
)
from services.oidc.flows.clients.sectors import fetch_sector
from services.oidc.flows.clients.values import read_settings
from services.oidc.models import Client, InitialAccessToken
from services.oidc.scopes import OFFLINE_ACCESS, SCOPE_CLAIMS

SCOPES = ("openid", *SCOPE_CLAIMS, OFFLINE_ACCESS)
"""What a client may give itself: what OpenID Connect knows, never anything of an API."""
GRANTS = ("authorization_code", "refresh_token", DEVICE_CODE)
"""What it may do: with a person, never by itself."""
CODE = ["code"]


class RegistrationClosed(Problem):
    """Nobody registers clients here by themselves."""

    status, slug, title = 403, "registration-closed", lazy_gettext("Clients do not register themselves here")


class TokenRefused(Problem):
    """The token is unknown, over, used up, or somebody else's: always the same words."""

    status, slug, title = 401, "invalid-token", lazy_gettext("This token does not let you do that")


class TokenNeeded(TokenRefused):
    """Nothing was presented where something has to be."""


class NotManaged(Problem):
    """Staff have switched the client off, and what it says of itself stays as it is meanwhile."""

    status, slug, title = 403, "client-disabled", lazy_gettext("This client is switched off")


@dataclass(frozen=True)
class Registration:
    """A client that has registered itself, with what it is told this once."""

    client: Client
    secret: str | None
    token: str
    """The registration access token; only its hash is kept, so that reading tells the one that was presented."""


def register(metadata: Mapping[str, Any], *, token: str | None) -> Registration:
    """Let a client register itself, with an initial access token where the policy asks for one.

    Raises RegistrationClosed, TokenRefused, InvalidClient whose errors go by the names of metadata.
    """
    policy = parts_of(current_app).settings.REGISTRATION
    if policy == "closed":
        raise RegistrationClosed
    if token is None and policy == "token":
        raise TokenNeeded
    if token is not None:
        _find_token(token)  # before anything is fetched in the name of whoever asks
    settings = settings_from(metadata)
    settings["require_pkce"] = needs_pkce(settings)
    registration_token, hashed = make()
    client = new_client(settings, registration_token_digest=hashed)
    sector = fetch_sector(client.sector_identifier_uri)
    with db.transaction() as session:
        actor = "registration:open"
        if token is not None:
            client.registered_with = _spend(session, token)
            actor = f"registration-token:{client.registered_with}"
        with acting_as(actor):
            secret = add_client(session, client, sector=sector)
    return Registration(client, secret, registration_token)


def find_registered(client_id: str, *, token: str) -> Client:
    """The client that this registration access token is for. Raises TokenRefused, NotManaged."""
    try:
        client = read_whole(client_id)[0]
    except UnknownClient:
        raise TokenRefused from None
    known = client.registration_token_digest
    if known is None or not hmac.compare_digest(digest(token), known):
        raise TokenRefused
    if not client.is_enabled:
        raise NotManaged
    return client


def replace(client_id: str, metadata: Mapping[str, Any], *, token: str) -> ChangedClient:
    """Let a client replace what it said of itself; what it leaves out is as if it had never said it (RFC 7592 §2.2).

    What staff have chosen stays, but for what protects a client that is public now.
    Raises TokenRefused, NotManaged, InvalidClient.
    """
    find_registered(client_id, token=token)
    settings = settings_from(metadata)
    if needs_pkce(settings):
        settings |= {"require_pkce": True, "rotate_refresh_tokens": True}
    return change_client(client_id, **settings)


def remove(client_id: str, *, token: str) -> None:
    """Let a client end itself, with all that it was given. Raises TokenRefused, NotManaged."""
    find_registered(client_id, token=token)
    delete_client(client_id)


# -- metadata ----------------------------------------------------------------------------------------------------


def settings_from(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What metadata says, by our names, and for all else the defaults of the specifications.

    Unknown and privileged names are passed over (RFC 7591 §2). Raises InvalidClient under the names of metadata.
    """
    taken = {name: value for name, value in metadata.items() if name in _OWN and value is not None}
    said = read_settings(taken, find=_OWN.get)
    settings: dict[str, Any] = {
        setting.name: usual().get(setting.name) for setting in _OWN.values() if setting.name != "name"
    }
    settings["grants"] = ["authorization_code"]
    settings |= said
    if "request_object_signing_alg" not in taken and not settings["require_signed_request_object"]:
        # "Any algorithm supported by the OP" (Registration §2), of which `none` is one, as our metadata says.
        settings["request_object_signing_alg"] = "none"
    settings["default_acr_values"] = [word for word in settings["default_acr_values"] if word in ACR_VALUES]
    if "scope" not in taken:
        is_offline = "refresh_token" in settings["grants"]
        settings["scopes"] = [scope for scope in SCOPES if is_offline or scope != OFFLINE_ACCESS]
    settings["name"] = said.get("name") or _name_of(settings)
    _check_own_rules(metadata, settings)
    return settings


def _check_own_rules(metadata: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """What holds for clients that register themselves beyond the rules for all. Raises InvalidClient."""
    errors: dict[str, Any] = {}
    if unknown := set(settings["scopes"]) - set(SCOPES):
        errors["scope"] = lazy_gettext("We do not offer: %(words)s.", words=", ".join(sorted(unknown)))
    if unknown := set(settings["grants"]) - set(GRANTS):
        errors["grant_types"] = lazy_gettext("We do not offer: %(words)s.", words=", ".join(sorted(unknown)))
    response_types = metadata.get("response_types")
    if response_types is not None and response_types != response_types_of(settings["grants"]):
        errors["response_types"] = lazy_gettext('["code"] with the grant authorization_code, and no other.')
    uri = settings["initiate_login_uri"]
    if uri is not None and not uri.startswith("https:"):
        errors["initiate_login_uri"] = lazy_gettext("It must be an https address.")
    if errors:
        raise InvalidClient(errors=errors)


def response_types_of(grants: list[str]) -> list[str]:
    return list(CODE) if "authorization_code" in grants else []


def needs_pkce(settings: Mapping[str, Any]) -> bool:
    """Public and native clients always; the Foundation's plans go without as confidential web apps."""
    return settings["auth_method"] == "none" or settings["application_type"] == "native"


def metadata_of(client: Client) -> dict[str, Any]:
    """What a client is registered with, by the names of metadata; what is not chosen is left out."""
    found: dict[str, Any] = {}
    for name, setting in _OWN.items():
        value = getattr(client, setting.name)
        if value is not None and (value != [] or setting.name in ("redirect_uris", "grants")):
            found[name] = " ".join(value) if name == "scope" else value
    found["response_types"] = response_types_of(client.grants)
    return found


def _name_of(settings: Mapping[str, Any]) -> str:
    """What people are shown where a client names itself nowhere: where it lives."""
    for uri in (settings["client_uri"], *settings["redirect_uris"]):
        if uri and uri.isprintable():
            parts = urlsplit(uri) if "[" not in uri else None
            if parts and (parts.hostname or parts.scheme):
                return (parts.hostname or parts.scheme)[:200]
    return "?"


_OWN: Mapping[str, Setting] = {
    name: setting for name, setting in BY_METADATA.items() if not setting.is_privileged
}


# -- tokens ------------------------------------------------------------------------------------------------------


def _holds() -> list[sa.ColumnElement[bool]]:
    return [
        InitialAccessToken.revoked_at.is_(None),
        InitialAccessToken.expires_at > utcnow(),
        sa.or_(InitialAccessToken.uses_left.is_(None), InitialAccessToken.uses_left > 0),
    ]


def _find_token(token: str) -> None:
    """Raises TokenRefused."""
    is_mine = InitialAccessToken.digest == digest(token)
    if db.fetch_one(sa.select(InitialAccessToken.id).where(is_mine, *_holds())) is None:
        raise TokenRefused


def _spend(session: Any, token: str) -> Any:
    """Take one use of an initial access token, by a conditional update. Returns its id. Raises TokenRefused."""
    spent = session.execute(
        sa.update(InitialAccessToken)
        .where(InitialAccessToken.digest == digest(token), *_holds())
        .values(uses_left=InitialAccessToken.uses_left - 1)
        .returning(InitialAccessToken.id)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()
    if spent is None:
        raise TokenRefused
    return spent
