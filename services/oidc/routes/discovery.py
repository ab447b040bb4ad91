"""What clients read before anything else: metadata and public keys, as prepared bytes with an ETag."""

from datetime import timedelta
from functools import lru_cache

from flask import Blueprint, Response, current_app, request

from libs.people.access import public
from libs.service import parts_of
from libs.web.app import Ready
from services.oidc.protocol.discovery import document
from services.oidc.protocol.keys import keys
from services.oidc.routes.machine_errors import answer_in_json

bp = Blueprint("discovery", __name__)
answer_in_json(bp)


@bp.get("/.well-known/openid-configuration")
@bp.get("/.well-known/oauth-authorization-server")
@public
def metadata() -> Response:
    """OpenID Connect Discovery §4, RFC 8414 §3."""
    settings = parts_of(current_app).settings
    found = document(settings.PUBLIC_URL, clients_may_register=settings.REGISTRATION != "closed")
    return _prepared(*found, settings.JWKS_MAX_AGE)


@bp.get("/.well-known/jwks.json")
@public
def jwks() -> Response:
    """RFC 7517 §5; private halves never leave the process."""
    found = keys.last_known()
    return _prepared(found.jwks, found.etag, parts_of(current_app).settings.JWKS_MAX_AGE)


def _prepared(body: bytes, etag: str, max_age: timedelta) -> Response:
    if "HTTP_IF_NONE_MATCH" not in request.environ:
        return Ready(body, _headers(etag, max_age))
    response = Response(body, headers=_headers(etag, max_age))
    response.make_conditional(request)
    return response


@lru_cache(maxsize=16)
def _headers(etag: str, max_age: timedelta) -> tuple[tuple[str, str], ...]:
    return (
        ("Content-Type", "application/json"),
        ("Cache-Control", f"public, max-age={int(max_age.total_seconds())}"),
        ("ETag", f'"{etag}"'),
    )
