"""userinfo: the claims of a person, for the bearer of an access token."""

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6750 import InsufficientScopeError
from flask import Blueprint, Response, current_app, json, request

from libs.people.access import protocol
from libs.service import parts_of
from services.oidc.extensions import limiter
from services.oidc.protocol.userinfo import NoToken, bearer_token, userinfo
from services.oidc.routes.machine_errors import answer_in_json, oauth_error

bp = Blueprint("userinfo", __name__)
answer_in_json(bp)


@bp.route("/oauth2/userinfo", methods=["GET", "POST"])
@limiter.limit("oidc_userinfo", "3000 per minute")
@protocol("an access token is what opens it")
def show() -> Response:
    """OpenID Connect Core §5.3."""
    try:
        claims = userinfo(bearer_token(request), issuer=parts_of(current_app).settings.PUBLIC_URL)
    except OAuth2Error as error:
        return _refused(error)
    response = Response(json.dumps(claims), content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _refused(error: OAuth2Error) -> Response:
    """RFC 6750 §3."""
    response = oauth_error(error.status_code, str(error.error))
    challenge = 'Bearer realm="userinfo"'
    if not isinstance(error, NoToken):
        challenge += f', error="{error.error}"'
    if isinstance(error, InsufficientScopeError):
        challenge += ', scope="openid"'
    response.headers["WWW-Authenticate"] = challenge
    return response
