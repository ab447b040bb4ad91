"""Pushed authorization requests (RFC 9126): a client sends its request itself and gets a name for it."""

from authlib.oauth2 import OAuth2Error
from flask import Blueprint, Response, current_app, json
from flask import request as flask_request

from libs.observe.logs import get_logger
from libs.people.access import protocol
from libs.service import parts_of
from services.oidc.flows import refusals
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.protocol.authorization import pushed
from services.oidc.protocol.authorization.checks import CHECKS, REPEATABLE, AuthorizationRequest, Refused
from services.oidc.protocol.client_auth import METHODS, private_key_jwt
from services.oidc.protocol.limits import TooManyRequests, Visit
from services.oidc.protocol.requests import FormRequest
from services.oidc.protocol.server import NO_STORE, known_client, server
from services.oidc.routes.machine_errors import answer_in_json, oauth_error, refuse_other_methods

bp = Blueprint("par", __name__)
answer_in_json(bp)
log = get_logger("OIDC.par")

CREDENTIALS = frozenset({"client_secret", *private_key_jwt.PARAMETERS})
"""What proves the client and is no part of its request (§2.1)."""


@bp.post("/oauth2/par", provide_automatic_options=False)
@protocol("clients prove themselves as at the token endpoint")
def push() -> Response:
    """§2: the checks of the authorization endpoint, before the browser comes."""
    sent, visit = None, Visit("oidc_par")
    try:
        try:
            sent = FormRequest(flask_request, visit)
            client = server.authenticate_client(sent, list(METHODS))
        finally:
            visit.count()
    except OAuth2Error as error:
        if not isinstance(error, TooManyRequests):
            known = known_client(sent, error)
            _note(known, str(error.error), error.get_error_description(), sent.detail if sent else None)
        return server.handle_error_response(None, error)
    asked = _read(sent, client)
    try:
        for check in CHECKS:
            check(asked)
    except Refused as refused:
        _note(client, refused.error, refused.description, refused.detail or None)
        return oauth_error(400, refused.error, error_description=refused.description)
    request_uri, lifetime = pushed.keep(client.client_id, asked.parameters, is_signed=asked.is_signed)
    log.info("request_pushed", client_id=client.client_id)
    answer = {"request_uri": request_uri, "expires_in": lifetime}
    return Response(json.dumps(answer), 201, NO_STORE, content_type="application/json")


refuse_other_methods(bp, "/oauth2/par")


def _read(sent: FormRequest, client: RegisteredClient) -> AuthorizationRequest:
    """Who pushed it is proven; `client_id` in the form is the same, or was left out."""
    parameters = {name: value for name, value in sent.form.items() if name not in CREDENTIALS}
    if sent.resources:
        parameters[REPEATABLE] = " ".join(sent.resources)
    return AuthorizationRequest(
        parameters={**parameters, "client_id": client.client_id},
        repeated=frozenset(),
        issuer=parts_of(current_app).settings.PUBLIC_URL,
        is_push=True,
    )


def _note(client: RegisteredClient | None, error: str, description: str, detail: str | None) -> None:
    """For whoever reads the log, and for staff who are asked about this request."""
    client_id = client.client_id if client else None
    log.warning("push_refused", client_id=client_id, error=error, reason=description, detail=detail)
    refusals.remember(
        endpoint="par", client_id=client_id, error=error, description=description, detail=detail
    )
