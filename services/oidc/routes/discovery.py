"""What clients read before anything else: metadata and public keys, as prepared bytes with an ETag."""

from flask import Blueprint, Response, current_app, request

from libs.people.access import public
from libs.service import parts_of
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
    may_register = settings.REGISTRATION != "closed"
    return _prepared(*document(settings.PUBLIC_URL, clients_may_register=may_register))


@bp.get("/.well-known/jwks.json")
@public
def jwks() -> Response:
    """RFC 7517 §5; private halves never leave the process."""
    found = keys.last_known()
    return _prepared(found.jwks, found.etag)


def _prepared(body: bytes, etag: str) -> Response:
    response = Response(body, content_type="application/json")
    max_age = int(parts_of(current_app).settings.JWKS_MAX_AGE.total_seconds())
    response.headers["Cache-Control"] = f"public, max-age={max_age}"
    response.set_etag(etag)
    if request.if_none_match:
        response.make_conditional(request)
    return response
