"""A relying party to look at: an app that signs members in. It knows the issuer's address, its own id and secret.

Mounted at /demo in development; with DEMO_URL it also runs alone, on a site of its own:
`gunicorn "gateway.demo:create_app()"`.
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import urlsplit

import redis
import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import OAuth
from flask import Flask, Response, abort, g, json, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_babel import Babel, format_time, get_locale, gettext
from jinja2 import StrictUndefined
from joserfc.errors import JoseError

from gateway.settings import GatewaySettings
from libs.guard.keyring import CannotOpen, KeyRing, derive
from libs.observe.logs import set_correlation_id, set_service
from libs.people.sessions import secret_digest
from libs.service import connect_redis
from libs.web.languages import DEFAULT, LANGUAGES
from libs.web.pages import static_url

SCOPES = ("openid", "profile", "email")
SIGNED_IN_LIFETIME = timedelta(hours=1)
HTTP_TIMEOUT_S = 5
CALLS_AT_ONCE = 4
"""In one process with the issuer every call needs a second thread of the same server: they must not run out."""


def registration(settings: GatewaySettings) -> dict[str, Any]:
    """How the issuer is to know the demo: what oidc's ensure_client takes."""
    return {
        "client_id": settings.DEMO_CLIENT_ID,
        "name": "Demo app",
        "redirect_uris": [f"{settings.demo_url}/callback"],
        "post_logout_redirect_uris": [f"{settings.demo_url}/signed-out"],
        "scopes": SCOPES,
        "secret": settings.demo_client_secret,
    }


def create_app(settings: GatewaySettings | None = None) -> Flask:
    """The demo as an app of its own, with a cookie of its own."""
    settings = settings or GatewaySettings.load_or_exit()
    address = urlsplit(settings.demo_url)
    app = Flask(__name__, static_folder=None)
    app.config.update(
        SECRET_KEY=derive(settings.SECRET_KEY, "demo cookie").hex(),
        SESSION_COOKIE_NAME="id_demo",
        SESSION_COOKIE_PATH=address.path or "/",
        SESSION_COOKIE_SECURE=address.scheme == "https",
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(
        public_url=settings.PUBLIC_URL,
        demo_url=settings.demo_url,
        expires_at=lambda token: format_time(datetime.fromtimestamp(token["expires_at"], UTC), "medium"),
        static_url=static_url,
        language=lambda: str(get_locale() or DEFAULT),
        pretty=lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    )
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = str(Path(__file__).parent / "translations")
    Babel(app, locale_selector=lambda: request.accept_languages.best_match(list(LANGUAGES), default=DEFAULT))
    kept = Kept(settings)
    oauth = OAuth(app)
    issuer: Any = oauth.register(
        "updspace_id",
        server_metadata_url=f"{settings.PUBLIC_URL}/.well-known/openid-configuration",
        client_id=settings.DEMO_CLIENT_ID,
        client_secret=settings.demo_client_secret,
        update_token=lambda token, **_: kept.save(token),
        client_kwargs={
            "scope": " ".join(SCOPES),
            "code_challenge_method": "S256",
            "default_timeout": HTTP_TIMEOUT_S,
            # The issuer is on this machine: a proxy of the environment would look for it elsewhere.
            "trust_env": False,
            "verify": settings.OUTBOUND_CA_BUNDLE or True,
        },
    )
    _limit_calls(app)
    _explain_failures(app, kept)

    @app.get("/")
    def home() -> str:
        return render_template("demo.html", token=kept.find(), userinfo=None, notice=None)

    @app.get("/login")
    def login() -> ResponseReturnValue:
        answer: ResponseReturnValue = issuer.authorize_redirect(
            f"{settings.demo_url}/callback", ui_locales=str(get_locale())
        )
        return answer

    @app.get("/callback")
    def callback() -> ResponseReturnValue:
        # Authlib compares state and nonce, brings the PKCE verifier, and checks the ID token against the JWKS.
        token = issuer.authorize_access_token()
        # The ID token says who; name and address stand behind the userinfo endpoint (OpenID Connect Core §5.4).
        token["userinfo"] |= issuer.userinfo(token=token)
        session["id"] = secrets.token_urlsafe(32)
        kept.save(token)
        return redirect(settings.demo_url, 303)

    @app.get("/userinfo")
    def userinfo() -> ResponseReturnValue:
        token = kept.find()
        if token is None:
            return redirect(settings.demo_url, 303)
        claims = issuer.userinfo(token=token)
        return render_template("demo.html", token=token, userinfo=claims, notice=None)

    @app.post("/refresh")
    def refresh() -> ResponseReturnValue:
        token = kept.find()
        if token is not None:
            fresh = issuer.fetch_access_token(
                grant_type="refresh_token", refresh_token=token["refresh_token"]
            )
            kept.save({**token, **fresh})
        return redirect(settings.demo_url, 303)

    @app.post("/logout")
    def logout() -> ResponseReturnValue:
        token = kept.find() or {}
        kept.forget()
        answer: ResponseReturnValue = issuer.logout_redirect(
            f"{settings.demo_url}/signed-out",
            id_token_hint=token.get("id_token"),
            client_id=settings.DEMO_CLIENT_ID,
        )
        return answer

    @app.get("/signed-out")
    def signed_out() -> str:
        notice = gettext("You are signed out, here and at UpdSpace ID.")
        return render_template("demo.html", token=None, userinfo=None, notice=notice)

    return app


class Kept:
    """The tokens of each signed-in browser: sealed in Redis, found by the random id in the browser's cookie."""

    def __init__(self, settings: GatewaySettings):
        self.redis = connect_redis(settings)
        self.ring = KeyRing.derived(settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS, purpose="demo tokens")

    def save(self, token: Mapping[str, Any]) -> None:
        sealed = self.ring.seal(json.dumps(token).encode(), self._key())
        self.redis.set(self._key(), sealed, ex=SIGNED_IN_LIFETIME)

    def find(self) -> dict[str, Any] | None:
        sealed: Any = self.redis.get(self._key()) if "id" in session else None
        try:
            return json.loads(self.ring.open(sealed, self._key())) if sealed else None
        except CannotOpen:
            return None

    def forget(self) -> None:
        if "id" in session:
            self.redis.delete(self._key())
        session.clear()

    def _key(self) -> str:
        return f"demo:{secret_digest(session['id'])}"


def _limit_calls(app: Flask) -> None:
    calls = BoundedSemaphore(CALLS_AT_ONCE)

    @app.before_request
    def _take() -> None:
        set_service("demo")
        set_correlation_id(request.headers.get("X-Request-ID"))
        if request.endpoint in ("login", "callback", "userinfo", "refresh", "logout"):
            if not calls.acquire(blocking=False):
                abort(503)
            g.call = calls

    @app.teardown_request
    def _give_back(_error: BaseException | None) -> None:
        if "call" in g:
            g.pop("call").release()

    @app.after_request
    def _add_headers(response: Response) -> Response:
        issuer = app.jinja_env.globals["public_url"]
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; style-src {issuer}; img-src {issuer}; base-uri 'none';"
            f" frame-ancestors 'none'; form-action 'self' {issuer}"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response


def _explain_failures(app: Flask, kept: Kept) -> None:
    def page(notice: str, detail: str, status: int) -> ResponseReturnValue:
        return render_template("demo_failure.html", notice=notice, detail=detail), status

    @app.errorhandler(AuthlibBaseError)
    def _refused(error: AuthlibBaseError) -> ResponseReturnValue:
        """The issuer said no, or the answer belongs to no request of this browser."""
        if error.error == "invalid_grant":
            # The refresh token is dead: somebody ended the session.
            kept.forget()
        notice = gettext("UpdSpace ID did not sign you in here")
        return page(notice, f"{error.error}: {error.description or '-'}", 400)

    @app.errorhandler(JoseError)
    def _forged(error: JoseError) -> ResponseReturnValue:
        return page(gettext("The ID token did not hold up"), type(error).__name__, 400)

    @app.errorhandler(requests.RequestException)
    def _away(error: requests.RequestException) -> ResponseReturnValue:
        if error.response is not None and error.response.status_code == 401:
            return page(gettext("The access token is no longer accepted"), "401", 400)
        return page(gettext("UpdSpace ID cannot be reached"), type(error).__name__, 503)

    @app.errorhandler(redis.RedisError)
    @app.errorhandler(503)
    def _busy(error: Exception) -> ResponseReturnValue:
        return page(gettext("The demo is busy; try again in a moment"), type(error).__name__, 503)
