"""What clients post with their own credentials: the token endpoint, introspection, revocation."""

from flask import Blueprint, Response, current_app, g

from libs.audit import set_actor
from libs.observe.logs import Frequent, get_logger
from libs.people.access import protocol
from libs.service import parts_of
from services.oidc.flows import refusals
from services.oidc.protocol.client_auth import UnknownClientError
from services.oidc.protocol.grants import LABELS
from services.oidc.protocol.keys import keys
from services.oidc.protocol.limits import TooManyRequests
from services.oidc.protocol.server import known_client, server
from services.oidc.routes.machine_errors import answer_in_json, refuse_other_methods

bp = Blueprint("token", __name__)
answer_in_json(bp)
log = get_logger("OIDC.token")
issued = Frequent("OIDC.token", "token_issued", waits=True)


@bp.post("/oauth2/token", provide_automatic_options=False)
@protocol("clients prove themselves, or their codes by PKCE")
def token() -> Response:
    """RFC 6749 §3.2."""
    keys.load()  # before any transaction, so that making the first keys is none of it
    response = server.create_token_response()
    _count()
    return response


@bp.post("/oauth2/introspect", provide_automatic_options=False)
@protocol("clients prove themselves by their secret")
def introspect() -> Response:
    """RFC 7662 §2."""
    response = server.create_endpoint_response("introspection")
    explain("introspect")
    return response


@bp.post("/oauth2/revoke", provide_automatic_options=False)
@protocol("clients prove themselves, or bear the token")
def revoke() -> Response:
    """RFC 7009 §2."""
    response = server.create_endpoint_response("revocation")
    explain("revoke")
    return response


for path in ("/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"):
    refuse_other_methods(bp, path)


def _count() -> None:
    """Count and log what came of a token request, once it is committed."""
    metrics = parts_of(current_app).metrics
    request, error = g.token_outcome
    client = known_client(request, error)
    sent = request.payload.grant_type if request is not None else None
    grant = LABELS.get(sent or "", "other")
    if client is not None:
        set_actor(f"client:{client.client_id}")
    if error is None:
        metrics.tokens_issued.labels(grant).inc()
        issued.info(client_id=client.client_id if client else None, grant=grant)
        return
    if isinstance(error, TooManyRequests):
        return  # counted by the limit
    if client is not None:
        metrics.tokens_failed.labels(grant=grant, error=error.error).inc()
    elif isinstance(error, UnknownClientError):
        metrics.unknown_clients.inc()
    explain("token", grant=grant)


def explain(endpoint: str, **more: str) -> None:
    """Log a refusal, and keep its exact reason for staff."""
    request, error = g.token_outcome
    if error is None or isinstance(error, TooManyRequests):
        return
    client = known_client(request, error)
    client_id = client.client_id if client is not None else None
    description = error.get_error_description()
    detail = request.detail if request is not None else None
    log.warning(
        "token_refused",
        endpoint=endpoint,
        client_id=client_id,
        error=error.error,
        reason=detail or description,
        **more,
    )
    refusals.remember(
        endpoint=endpoint,
        client_id=client_id,
        error=error.error,
        description=description or None,
        detail=detail,
    )
