"""userinfo: the claims of a person, for the bearer of an access token."""

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6750 import InsufficientScopeError
from flask import Blueprint, Request, Response, current_app, request

from libs.people.access import protocol
from libs.service import parts_of
from services.oidc.protocol.limits import TooManyRequests, Visit
from services.oidc.protocol.userinfo import Answer, NoToken, bearer_token, userinfo
from services.oidc.routes.machine_errors import answer_in_json, oauth_error, refuse_other_methods, too_many

bp = Blueprint("userinfo", __name__)
answer_in_json(bp)


@bp.route("/oauth2/userinfo", methods=["GET", "POST"], provide_automatic_options=False)
@protocol("an access token is what opens it")
def show() -> Response:
    """OpenID Connect Core §5.3."""
    visit = Visit("oidc_userinfo")
    try:
        answer = _answer(visit, request._get_current_object())  # type: ignore[attr-defined]
    except TooManyRequests as error:
        return too_many(error)
    except OAuth2Error as error:
        return _refused(error)
    return Response(
        answer.content, headers=(("Content-Type", answer.content_type), ("Cache-Control", "no-store"))
    )


refuse_other_methods(bp, "/oauth2/userinfo", allowed=("GET", "POST"))


def _answer(visit: Visit, asked: Request) -> Answer:
    """Whatever comes of it, the request is counted."""
    try:
        return userinfo(bearer_token(asked), issuer=parts_of(current_app).settings.PUBLIC_URL, visit=visit)
    except TooManyRequests:
        raise
    except OAuth2Error:
        visit.count()
        raise


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
