"""Introspection (RFC 7662): a client learns about its own tokens, an API about those that are addressed to it."""

from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from flask import current_app

from libs.service import parts_of
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.flows.pairwise import session_id_for, subject_for
from services.oidc.flows.resources import RegisteredResource, find_resources
from services.oidc.protocol.client_auth import CONFIDENTIAL_METHODS
from services.oidc.protocol.liveness import ACCESS, Issued, find_issued, still_holds
from services.oidc.protocol.requests import FormRequest
from services.oidc.protocol.tokens import named_audience


class Introspection(IntrospectionEndpoint):
    """Active or not, for whoever may know."""

    CLIENT_AUTH_METHODS = list(CONFIDENTIAL_METHODS)

    def authenticate_token(self, request: FormRequest, client: RegisteredClient) -> dict[str, Any] | None:
        """What the client may be told of the token. token_type_hint only speeds a search up (§2.1); ours needs none.

        An ID token is never found: it is no token that one introspects.
        """
        if "token" not in request.form:
            raise InvalidRequestError("The parameter token is missing.")
        assert request.visit is not None
        issuer = parts_of(current_app).settings.PUBLIC_URL
        issued = find_issued(request.form["token"], issuer=issuer, visit=request.visit)
        if issued is None:
            return None
        owner = still_holds(issued, request.visit)
        if owner is None:
            return None
        told = _told(issued, client)
        if told is None:
            return None
        is_own = issued.client_id == client.client_id
        return {"iss": issuer, **_described(issued, owner, is_own=is_own), **told}

    def create_introspection_payload(self, token: dict[str, Any] | None) -> dict[str, Any]:
        return {"active": True, **token} if token else {"active": False}


def _told(issued: Issued, client: RegisteredClient) -> dict[str, Any] | None:
    """Scope and audience as far as they concern this client; None when the token does not."""
    audience = {"aud": named_audience(issued.audience)} if issued.kind == ACCESS else {}
    if issued.client_id == client.client_id:
        return {"scope": issued.scope, **audience}
    mine = _resources_of(client, issued) if issued.kind == ACCESS else []
    if not mine:
        return None
    scopes = {scope for resource in mine for scope in resource.scopes}
    return {
        "scope": " ".join(scope for scope in issued.scope.split() if scope in scopes),
        "aud": named_audience([resource.identifier for resource in mine]),
    }


def _resources_of(client: RegisteredClient, issued: Issued) -> list[RegisteredResource]:
    """The APIs that this client speaks for and the token is addressed to."""
    known = find_resources()
    named = [known[identifier] for identifier in issued.audience if identifier in known]
    return [resource for resource in named if resource.client_id == client.client_id]


def _described(issued: Issued, owner: RegisteredClient, *, is_own: bool) -> dict[str, Any]:
    """What a token says of itself (§2.2), by the number under which its own client knows the person."""
    found: dict[str, Any] = {
        "client_id": issued.client_id,
        "sub": subject_for(owner, issued.row.sub) if issued.is_of_person else issued.client_id,
        "iat": issued.issued_at,
        "exp": issued.expires_at,
    }
    if issued.kind != ACCESS:
        return found
    found |= {"token_type": "Bearer", "jti": issued.jti}
    if issued.is_of_person:
        row = issued.row
        found |= {"auth_time": row.auth_time, "acr": row.acr, "amr": list(row.amr)}
        if is_own and not row.is_offline:
            found["sid"] = session_id_for(owner, row.sid)
    return found
