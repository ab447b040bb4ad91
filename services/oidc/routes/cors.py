"""CORS (Fetch standard §3.2): which scripts in browsers may read the answers of machine endpoints; never with cookies.

The authorization endpoint and pages are none of these: browsers are sent there, scripts have nothing to read.
"""

from flask import Flask, Request, Response
from flask import request as flask_request

from libs.web.app import needed_where
from services.oidc.flows.clients.origins import is_known_origin

OPEN = frozenset(
    {
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/.well-known/jwks.json",
        "/.well-known/webfinger",
    }
)
"""Documents that anybody may read, from anywhere."""
FOR_CLIENTS = frozenset({"/oauth2/token", "/oauth2/userinfo", "/oauth2/revoke", "/oauth2/par"})
"""What the scripts of a client call, from the site of one of its redirect URIs."""
METHODS = {"/oauth2/userinfo": "GET, POST"}
MAX_AGE_S = 600


def init_cors(app: Flask) -> None:
    """Answer preflights, and say on every answer who may read it."""

    @app.before_request
    @needed_where(lambda _, method: method == "OPTIONS")
    def _preflight() -> Response | None:
        request = _present()
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        if request.path not in OPEN and request.path not in FOR_CLIENTS:
            return None
        return Response(status=204)

    @app.after_request
    def _say(response: Response) -> Response:
        request = _present()
        path = request.path
        if path in OPEN:
            response.headers.add("Access-Control-Allow-Origin", "*")
            if response.status_code == 200:
                return response  # no preflight, which is answered with 204
        elif path in FOR_CLIENTS:
            response.headers.add("Vary", "Origin")
            origin = request.headers.get("Origin")
            # A 503 has waited for a store long enough.
            if origin is None or not is_known_origin(origin, may_ask=response.status_code != 503):
                return response
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "WWW-Authenticate, Retry-After, X-Request-ID"
        else:
            return response
        if request.method == "OPTIONS":
            default = "GET" if path in OPEN else "POST"
            response.headers["Access-Control-Allow-Methods"] = METHODS.get(path, default)
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            response.headers["Access-Control-Max-Age"] = str(MAX_AGE_S)
        return response


def _present() -> Request:
    """The request at hand itself, where Flask's stand-in would look it up for whatever is asked of it."""
    request: Request = flask_request._get_current_object()  # type: ignore[attr-defined]
    return request
