"""userinfo (OpenID Connect Core §5.3): the claims that an access token opens, to whoever bears it."""

from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6750 import InsufficientScopeError, InvalidTokenError
from flask import Request

from services.oidc.flows.clients.registered import find_client
from services.oidc.flows.pairwise import subject_for
from services.oidc.protocol.claims import userinfo_claims
from services.oidc.protocol.liveness import live_grant
from services.oidc.protocol.requests import FORM
from services.oidc.protocol.tokens import read_access_token


class NoToken(OAuth2Error):
    """Nothing was presented: the answer names the scheme and no error (RFC 6750 §3.1)."""

    error = "invalid_request"
    status_code = 401


class TokenTwice(OAuth2Error):
    """More than one way of presenting a token (RFC 6750 §2)."""

    error = "invalid_request"
    description = "The access token must be sent in one way."


def bearer_token(request: Request) -> str:
    """The token of a request: in the header, or in the form of a POST (RFC 6750 §2.1, §2.2); never in the query.

    Raises NoToken, TokenTwice.
    """
    found: list[str] = []
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(credentials.strip())
    if request.method == "POST" and request.mimetype == FORM:
        found += request.form.getlist("access_token")
    if not found:
        raise NoToken
    if len(found) > 1:
        raise TokenTwice
    return found[0]


def userinfo(token: str, *, issuer: str) -> dict[str, Any]:
    """The claims behind a token. Raises InvalidTokenError, InsufficientScopeError."""
    claims = read_access_token(token, issuer=issuer, audience=issuer)
    row = live_grant(claims) if claims is not None else None
    if claims is None or row is None:
        raise InvalidTokenError
    if "openid" not in claims["scope"].split():
        raise InsufficientScopeError
    client = find_client(row.client_id)
    if client is None:
        raise InvalidTokenError
    told = userinfo_claims(
        client,
        claims=row.claims,
        roles=[role for role in row.roles if role in row.present_roles],
        scope=claims["scope"],
        request=row.claims_request,
    )
    return {**told, "sub": subject_for(client, row.sub)}
