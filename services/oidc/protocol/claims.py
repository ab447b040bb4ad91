"""Claims: what an ID token and userinfo say of a person (OpenID Connect Core §5)."""

from collections.abc import Collection, Mapping
from typing import Any

from authlib.oidc.core import UserInfo

from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.scopes import SCOPE_OF_CLAIM


def userinfo_claims(
    client: RegisteredClient,
    *,
    claims: Mapping[str, Any],
    roles: Collection[str],
    scope: str,
    request: Mapping[str, Collection[str]] | None,
) -> dict[str, Any]:
    """What userinfo says beside `sub`: claims of the scopes (§5.4), those asked for by name (§5.5), the client's own.

    Unknown values are left out, never null (§5.3.2). `request` is `Grant.claims_request`.
    """
    known = {name: value for name, value in claims.items() if value is not None}
    opened = {name: value for name, value in UserInfo(known).filter(scope).items() if name in known}
    asked = (request or {}).get("userinfo", ())
    return {**_own(client, known, roles, scope), **opened, **_by_name(client, known, asked)}


def id_token_claims(
    client: RegisteredClient,
    *,
    claims: Mapping[str, Any],
    roles: Collection[str],
    scope: str,
    request: Mapping[str, Collection[str]] | None,
) -> dict[str, Any]:
    """What an ID token says of the person beside who it is: claims asked for by name, and the client's own.

    What scopes open is userinfo's to say (§5.4).
    """
    known = {name: value for name, value in claims.items() if value is not None}
    asked = (request or {}).get("id_token", ())
    return {**_own(client, known, roles, scope), **_by_name(client, known, asked)}


def may_ask_for(client: RegisteredClient, claim: str) -> bool:
    """Whether a client may ask for a claim by its name: only what a scope of its own would open."""
    return SCOPE_OF_CLAIM.get(claim) in client.scopes


def _by_name(client: RegisteredClient, known: Mapping[str, Any], asked: Collection[str]) -> dict[str, Any]:
    return {name: known[name] for name in asked if name in known and may_ask_for(client, name)}


def _own(
    client: RegisteredClient, known: Mapping[str, Any], roles: Collection[str], scope: str
) -> dict[str, Any]:
    """The client's mapping: constants, roles, and what a granted scope opens under another name."""
    scopes, found = set(scope.split()), {}
    for name, source in client.claims_mapping.items():
        if isinstance(source, Mapping):
            found[name] = source["value"]
        elif source == "roles":
            found[name] = list(roles)
        elif source in known and SCOPE_OF_CLAIM[source] in scopes:
            found[name] = known[source]
    return found
