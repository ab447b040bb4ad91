"""CSRF: a token and a same-origin check for every change of state that a cookie could authorise."""

from urllib.parse import urlsplit

from flask import Flask, Response, current_app, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from flask_wtf.csrf import CSRFError, CSRFProtect

from libs.guard.keyring import derive
from libs.people import access, sessions
from libs.settings import Settings
from libs.web.problems import problem_response

SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
NEVER_SHOWN_AGAIN = ("csrf_token", "password", "new_password", "old_password", "code", "token")


class _TokenOnly(CSRFProtect):
    """Flask-WTF's token check alone: its own Referer check would fail on pages that send no referrer."""

    def protect(self) -> None:
        from flask_wtf.csrf import validate_csrf
        from wtforms import ValidationError

        try:
            validate_csrf(self._get_csrf_token())
        except ValidationError as error:
            self._error_response(error.args[0])


def init_csrf(app: Flask, settings: Settings) -> None:
    """Check every unsafe request but those declared @protocol and the bearer-only APIs."""
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False
    app.config["WTF_CSRF_TIME_LIMIT"] = (
        None  # it lives as long as the browser's session; a slow writer loses nothing
    )
    # Oldest first: all verify, the last signs.
    app.config["WTF_CSRF_SECRET_KEY"] = [
        derive(secret, "form").hex()
        for secret in (*reversed(settings.SECRET_KEY_FALLBACKS), settings.SECRET_KEY)
    ]
    csrf = _TokenOnly(app)

    @app.before_request
    def _check() -> ResponseReturnValue | None:
        if request.method in SAFE_METHODS or request.endpoint is None or is_exempt(app, request.endpoint):
            return None
        if not is_same_origin(settings):
            return problem_response(
                403,
                "cross-origin",
                gettext("This form was sent from another site"),
                gettext("Open the page here and send it again."),
            )
        csrf.protect()
        return None

    @app.errorhandler(CSRFError)
    def _form_is_old(error: CSRFError) -> ResponseReturnValue:
        return show_form_again()


def is_exempt(app: Flask, endpoint: str) -> bool:
    """Free of CSRF: what clients send by the protocol, and APIs where a cookie never authenticates."""
    declared = access.declared_access(app, endpoint)
    return (declared is not None and declared.kind == "protocol") or request.path.startswith("/api/")


def is_same_origin(settings: Settings) -> bool:
    """Whether the browser says that a page of ours sent this; a browser that says nothing must bring the token."""
    site = request.headers.get("Sec-Fetch-Site")
    if site and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    if origin in (None, "", "null"):
        # "null" comes from our own pages that send no referrer; Sec-Fetch-Site and the token decide.
        return True
    return urlsplit(origin)[:2] == urlsplit(settings.PUBLIC_URL)[:2]


def _nobody_is_known() -> bool:
    try:
        return sessions.current_session() is None
    except sessions.SessionsUnavailable:
        return True


def show_form_again(*, must_sign_in: bool = False) -> ResponseReturnValue:
    """The person's own entries in a form to send once more, with a fresh token; secrets are not repeated."""
    from libs.service import parts_of

    fields = [
        (name, value)
        for name, values in request.form.lists()
        for value in values
        if name not in NEVER_SHOWN_AGAIN and len(value) < 20_000
    ]
    lost_a_secret = any(name in request.form for name in NEVER_SHOWN_AGAIN[1:])
    if sessions.has_cookie(parts_of(current_app).settings) and _nobody_is_known():
        must_sign_in = True  # the copy behind the cookie is missing: this page brings it back
    page = render_template(
        "again.html",
        fields=fields,
        action=request.full_path.rstrip("?"),
        must_sign_in=must_sign_in,
        lost_a_secret=lost_a_secret,
    )
    response = current_app.make_response((page, 403 if must_sign_in else 400))
    assert isinstance(response, Response)
    response.headers["Cache-Control"] = "no-store"
    return response
