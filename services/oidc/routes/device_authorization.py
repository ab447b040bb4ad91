"""/oauth2/device_authorization: a device begins (RFC 8628 §3.1)."""

from flask import Blueprint, Response

from libs.people.access import protocol
from services.oidc.protocol.server import server
from services.oidc.routes.machine_errors import answer_in_json, refuse_other_methods
from services.oidc.routes.token import explain

bp = Blueprint("device_authorization", __name__)
answer_in_json(bp)


@bp.post("/oauth2/device_authorization", provide_automatic_options=False)
@protocol("clients prove themselves, or are public; a person confirms elsewhere")
def authorize() -> Response:
    """RFC 8628 §3.1."""
    response = server.create_endpoint_response("device_authorization")
    explain("device_authorization")
    return response


refuse_other_methods(bp, "/oauth2/device_authorization")
