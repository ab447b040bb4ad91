"""userinfo (OpenID Connect Core §5.3): the claims that an access token opens, to whoever bears it."""

import json
from dataclasses import dataclass

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6750 import InsufficientScopeError, InvalidTokenError
from flask import Request

from services.oidc.flows.pairwise import subject_for
from services.oidc.protocol.claims import userinfo_claims
from services.oidc.protocol.limits import Visit
from services.oidc.protocol.liveness import ACCESS, find_issued, still_holds
from services.oidc.protocol.requests import FORM
from services.oidc.protocol.tokens import make_userinfo


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


@dataclass(frozen=True)
class Answer:
    """What userinfo says: claims as JSON, or a JWT of them for a client that wants it signed (Core §5.3.2)."""

    content: str
    content_type: str


def userinfo(token: str, *, issuer: str, visit: Visit) -> Answer:
    """The claims behind a token. Raises InvalidTokenError, InsufficientScopeError, TooManyRequests.

    A client by itself is nobody of whom there were claims.
    """
    issued = find_issued(token, issuer=issuer, visit=visit, kinds=(ACCESS,))
    if issued is None or not issued.is_of_person:
        raise InvalidTokenError
    row = issued.row
    visit.person = f"{issued.client_id} {row.sub}"
    client = still_holds(issued, visit)
    if client is None or issuer not in issued.audience:
        raise InvalidTokenError
    if "openid" not in issued.scope.split():
        raise InsufficientScopeError
    told = userinfo_claims(
        client,
        claims=row.claims,
        roles=[role for role in row.roles if role in row.present_roles],
        scope=issued.scope,
        request=row.claims_request,
    )
    claims = {**told, "sub": subject_for(client, row.sub)}
    alg = client.userinfo_signed_response_alg
    if alg is not None:
        return Answer(make_userinfo(claims, client, issuer=issuer, alg=alg), "application/jwt")
    return Answer(json.dumps(claims, separators=(",", ":")), "application/json")
