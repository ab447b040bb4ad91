"""CSRF: a token and a same-origin check for every change of state that a cookie could authorise."""

from urllib.parse import urlsplit

from flask import Flask, Response, current_app, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from flask_wtf.csrf import CSRFError, CSRFProtect

from libs.guard.keyring import derive
from libs.people import access, sessions
from libs.settings import Settings
from libs.web.app import needed_where
from libs.web.headers import allow_form_target
from libs.web.problems import problem_response
from libs.web.redirects import own_path

SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
NEVER_SHOWN_AGAIN = (
    "csrf_token",
    "password",
    "new_password",
    "old_password",
    "code",
    "token",
    "ticket",
    "passkey",
)
"""Fields that are not repeated; nor is any whose name ends in one of these words (`client_secret`)."""


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
    # Its own look at every request; ours follows.
    app.before_request_funcs[None].pop()

    @app.before_request
    @needed_where(lambda endpoint, method: method not in SAFE_METHODS and not _is_protocol(app, endpoint))
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
    return _is_protocol(app, endpoint) or request.path.startswith("/api/")


def _is_protocol(app: Flask, endpoint: str) -> bool:
    declared = access.declared_access(app, endpoint)
    return declared is not None and declared.kind == "protocol"


def is_same_origin(settings: Settings) -> bool:
    """Whether the browser says that a page of ours sent this; a browser that says nothing must bring the token."""
    site = request.headers.get("Sec-Fetch-Site")
    if site and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    if origin in (None, "", "null"):
        # "null" comes from our own pages that send no referrer; Sec-Fetch-Site and the token decide.
        return True
    try:
        return urlsplit(origin)[:2] == urlsplit(settings.PUBLIC_URL)[:2]
    except ValueError:  # none that a browser sends
        return False


def is_surely_ours(settings: Settings) -> bool:
    """Whether the browser vouches that a page of ours sent this, where is_same_origin() accepts its silence."""
    if not is_same_origin(settings):
        return False
    return request.headers.get("Sec-Fetch-Site") == "same-origin" or bool(
        request.headers.get("Origin", "null") not in ("", "null")
    )


def _is_secret(name: str) -> bool:
    return name in NEVER_SHOWN_AGAIN or name.endswith(("_password", "_code", "_token", "_secret"))


def _nobody_is_known() -> bool:
    try:
        return sessions.current_session() is None
    except sessions.SessionsUnavailable:
        return True


def show_form_again(*, must_sign_in: bool = False, fresh_after: int | None = None) -> ResponseReturnValue:
    """The person's own entries in a form to send once more, with a fresh token; secrets are not repeated.

    Entries are shown only where the browser vouches that they came from a page of ours. What another site made
    a silent browser send must not become a form of ours that one press of a button makes valid.
    `fresh_after` (epoch seconds) is what a new sign-in must be as young as, where the present one is too old.
    """
    from libs.service import parts_of

    settings = parts_of(current_app).settings
    is_ours = is_surely_ours(settings)
    fields = [
        (name, value)
        for name, values in request.form.lists()
        for value in values
        if is_ours and not _is_secret(name) and len(value) < 20_000
    ]
    lost_a_secret = any(_is_secret(name) and name != "csrf_token" for name in request.form)
    if sessions.has_cookie(settings) and _nobody_is_known():
        must_sign_in = True  # the copy behind the cookie is missing: this page brings it back
    page = render_template(
        "again.html",
        fields=fields,
        action=own_path(),
        is_ours=is_ours,
        must_sign_in=must_sign_in,
        fresh_after=fresh_after,
        lost_a_secret=lost_a_secret,
    )
    # The form may belong to a page that leads away, to a provider or an app: its redirects are held to nothing here.
    allow_form_target(own_path())
    response = current_app.make_response((page, 403 if must_sign_in else 400))
    assert isinstance(response, Response)
    response.headers["Cache-Control"] = "no-store"
    return response
