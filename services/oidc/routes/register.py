"""Clients register themselves, and manage their registration."""

from authlib.oauth2 import OAuth2Error
from flask import Blueprint, Response, json, request

from libs.observe.logs import get_logger
from libs.people.access import protocol
from services.oidc.protocol import registration
from services.oidc.protocol.limits import TooManyRequests, admit
from services.oidc.protocol.registration import Answer, NoRegistrationToken
from services.oidc.routes.machine_errors import answer_in_json, oauth_error, refuse_other_methods, too_many

bp = Blueprint("register", __name__)
answer_in_json(bp)
log = get_logger("OIDC.register")

MANAGEMENT = "/oauth2/register/<client_id>"


@bp.post("/oauth2/register", provide_automatic_options=False)
@protocol("an initial access token lets in, or the policy that nobody needs one")
def create() -> Response:
    """RFC 7591 §3.1."""
    admit("oidc_register")
    answer = registration.create(request)
    log.info("client_registered", client_id=answer[1]["client_id"])
    return _answer(answer)


@bp.get(MANAGEMENT)
@protocol("the client's registration access token opens it")
def read(client_id: str) -> Response:
    """RFC 7592 §2.1."""
    admit("oidc_register")
    return _answer(registration.read(request, client_id))


@bp.put(MANAGEMENT)
@protocol("the client's registration access token opens it")
def update(client_id: str) -> Response:
    """RFC 7592 §2.2."""
    admit("oidc_register")
    return _answer(registration.update(request, client_id))


@bp.delete(MANAGEMENT)
@protocol("the client's registration access token opens it")
def delete(client_id: str) -> Response:
    """RFC 7592 §2.3."""
    admit("oidc_register")
    registration.delete(request, client_id)
    return Response(status=204, headers={"Cache-Control": "no-store"})


refuse_other_methods(bp, "/oauth2/register")
refuse_other_methods(bp, MANAGEMENT, allowed=("GET", "PUT", "DELETE"))


@bp.errorhandler(OAuth2Error)
def _refused(error: OAuth2Error) -> Response:
    """RFC 7591 §3.2.2; for tokens RFC 6750 §3."""
    if isinstance(error, TooManyRequests):
        return too_many(error)
    log.warning("registration_refused", error=error.error, reason=error.get_error_description())
    response = oauth_error(
        error.status_code, str(error.error), error_description=error.get_error_description()
    )
    if error.status_code == 401:
        is_wrong = not isinstance(error, NoRegistrationToken)
        challenge = 'Bearer realm="registration"' + (', error="invalid_token"' if is_wrong else "")
        response.headers["WWW-Authenticate"] = challenge
    return response


def _answer(answer: Answer) -> Response:
    status, values = answer
    response = Response(json.dumps(values), status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.headers["Pragma"] = "no-cache"
    return response
