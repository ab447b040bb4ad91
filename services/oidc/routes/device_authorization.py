"""/oauth2/device_authorization: a device begins (RFC 8628 §3.1)."""

from flask import Blueprint, Response

from libs.people.access import protocol
from services.oidc.protocol.server import server
from services.oidc.routes.machine_errors import answer_in_json
from services.oidc.routes.token import OTHER_METHODS, explain, refuse_other_methods

bp = Blueprint("device_authorization", __name__)
answer_in_json(bp)


@bp.post("/oauth2/device_authorization", provide_automatic_options=False)
@protocol("clients prove themselves, or are public; a person confirms elsewhere")
def authorize() -> Response:
    """RFC 8628 §3.1."""
    response = server.create_endpoint_response("device_authorization")
    explain("device_authorization")
    return response


bp.add_url_rule(
    "/oauth2/device_authorization",
    view_func=refuse_other_methods,
    methods=OTHER_METHODS,
    provide_automatic_options=False,
)
