"""The gateway's own app: landing page, /admin, assets and health for the whole suite. It stores nothing."""

import libs  # noqa: F401  the first of all: it decides what redis-py brings along

# isort: split
import json
import mimetypes
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import redis
from flask import Blueprint, Flask, Response, abort, current_app, jsonify, render_template, request
from flask_babel import lazy_gettext

from gateway import docs
from gateway.health import Source, SuiteHealth, over_http
from gateway.routes import SERVICES
from gateway.settings import GatewaySettings
from libs.database import utcnow
from libs.guard.ratelimit import RateLimiter
from libs.observe.metrics import World, exposition
from libs.people import access
from libs.people.access import public, staff
from libs.service import create_service, parts_of
from libs.web.pages import STATIC, static_url

FOREVER = "public, max-age=31536000, immutable"
FOR_A_WHILE = "public, max-age=300"
KINDS = {".js": "text/javascript"}
"""What the machine's own table may call otherwise (RFC 9239)."""
SECURITY_TXT_LIFETIME = timedelta(days=90)

bp = Blueprint("front", __name__)


@dataclass(frozen=True)
class StaffPage:
    """A link on /admin: for whom, and under which word its service says how much waits there."""

    path: str
    title: Any
    about: Any
    roles: tuple[str, ...]
    waiting: str | None = None


STAFF_PAGES = (
    StaffPage(
        "/admin/applications",
        lazy_gettext("Applications"),
        lazy_gettext("Who asks to join, and what was decided."),
        ("reviewer",),
        "onboarding.applications",
    ),
    StaffPage(
        "/admin/invitations",
        lazy_gettext("Invitations"),
        lazy_gettext("Ways in that skip the review: by mail, or a link to hand out."),
        ("reviewer",),
    ),
    StaffPage(
        "/admin/policies",
        lazy_gettext("Who may join"),
        lazy_gettext("The rules about applications, tried with an address."),
        ("admin",),
    ),
    StaffPage(
        "/admin/users",
        lazy_gettext("People"),
        lazy_gettext("Accounts, where they are signed in, and how to stop one."),
        ("support",),
    ),
    StaffPage(
        "/admin/login-events",
        lazy_gettext("Login events"),
        lazy_gettext("Every attempt to sign in, and why it failed."),
        ("support",),
    ),
    StaffPage(
        "/admin/users/blocks",
        lazy_gettext("Blocks"),
        lazy_gettext("Addresses, networks and mail domains that may not sign in for a while."),
        ("support",),
    ),
    StaffPage(
        "/admin/keys",
        lazy_gettext("Signing keys"),
        lazy_gettext("What tokens are signed with, and when that changes."),
        ("admin",),
    ),
    StaffPage(
        "/admin/clients",
        lazy_gettext("Apps"),
        lazy_gettext("What signs people in here, what it may do, and why it was refused."),
        ("support",),
    ),
    StaffPage(
        "/admin/messages",
        lazy_gettext("Messages"),
        lazy_gettext("What was sent to whom, and what did not arrive."),
        ("reviewer", "support"),
        "notification.messages",
    ),
    StaffPage(
        "/admin/clients/logouts",
        lazy_gettext("Logouts"),
        lazy_gettext("Apps that are told when somebody signs out, and those that could not be."),
        ("support",),
        "oidc.logouts",
    ),
    StaffPage(
        "/admin/events/account",
        lazy_gettext("Events"),
        lazy_gettext("What the services told one another, and what could not be handled."),
        ("support",),
        "events",
    ),
)


def create_app(settings: GatewaySettings | None = None, sources: Mapping[str, Source] | None = None) -> Flask:
    """The app; `sources` give the services' health where they are not asked over HTTP."""
    settings = settings or GatewaySettings.load_or_exit()
    app = create_service(
        __name__, settings, name="gateway", limiter=RateLimiter(), blueprints=[], serves_health=False
    )
    # To the letter: what no row of the route table names comes here, too, and is to find nothing.
    app.url_map.strict_slashes = True
    app.register_blueprint(bp)
    app.register_blueprint(docs.bp)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["suite_health"] = SuiteHealth(sources or over_http(settings.upstreams))
    if settings.is_development:
        from gateway import demo

        app.wsgi_app = Mounted(app.wsgi_app, demo.create_app(settings), at="/demo")  # type: ignore[method-assign]
    return app


class Mounted:
    """WSGI: an app of its own below a path; `/demo` itself is its start page, without a redirect to `/demo/`."""

    def __init__(self, around: Callable[..., Any], app: Callable[..., Any], *, at: str):
        self.around, self.app, self.path = around, app, at

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path != self.path and not path.startswith(f"{self.path}/"):
            return self.around(environ, start_response)
        environ["SCRIPT_NAME"] = self.path
        environ["PATH_INFO"] = path.removeprefix(self.path) or "/"
        return self.app(environ, start_response)


@bp.get("/")
@public
def home() -> str:
    """What this is, and in development the tour through it."""
    return render_template("home.html")


@bp.get("/admin")
@staff()
def admin() -> str:
    """Where staff start: the pages that are theirs, and what waits there."""
    person = access.current_session()
    counts = _waiting()
    pages = [page for page in STAFF_PAGES if person.has_role(*page.roles)]
    return render_template("admin.html", pages=pages, counts=counts)


def _waiting() -> dict[str, int]:
    """`service.word` → how many wait, as the workers counted; what nobody counted lately is absent."""
    keys = [f"waiting:{service}" for service in SERVICES]
    try:
        texts: Any = parts_of(current_app).redis.mget(keys)
    except redis.RedisError:
        return {}
    counts: dict[str, int] = {}
    for service, text in zip(SERVICES, texts, strict=True):
        for word, number in json.loads(text or "{}").items():
            counts[f"{service}.{word}"] = int(number)
    parked = [counts[f"{service}.events"] for service in SERVICES if f"{service}.events" in counts]
    if len(parked) == len(SERVICES):
        counts["events"] = sum(parked)
    return counts


# ------------------------------------------------------------------------------------------ assets and files


@bp.get("/static/<path:name>")
@public
def static(name: str) -> Response:
    """A shared asset; under its versioned address it may be kept for a year."""
    is_versioned = "v" in request.args and request.full_path == _versioned(name)
    return _asset(name, FOREVER if is_versioned else docs.FOR_A_WHILE)


@bp.get("/favicon.ico")
@public
def favicon() -> Response:
    """For browsers that ask without reading the page."""
    return _asset("icon.svg", docs.FOR_A_WHILE)


def _asset(name: str, cache_control: str) -> Response:
    content = _assets().get(name)
    if content is None:
        abort(404)
    kind = KINDS.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    response = Response(content, mimetype=kind, headers={"Cache-Control": cache_control})
    response.add_etag()
    response.make_conditional(request)
    return response


def _versioned(name: str) -> str | None:
    return static_url(name) if name in _assets() else None


@cache
def _assets() -> dict[str, bytes]:
    """Every asset by its name: they are few and small, and what is not here cannot be asked for."""
    return {
        path.relative_to(STATIC).as_posix(): path.read_bytes() for path in STATIC.rglob("*") if path.is_file()
    }


@bp.get("/robots.txt")
@public
def robots() -> Response:
    """Search engines may know the start page and the way in; the rest is between us and members."""
    text = "User-agent: *\nAllow: /$\nAllow: /apply$\nAllow: /static/\nDisallow: /\n"
    return Response(
        text, content_type="text/plain; charset=utf-8", headers={"Cache-Control": docs.FOR_A_WHILE}
    )


@bp.get("/.well-known/security.txt")
@public
def security() -> Response:
    """Where to report a weakness (RFC 9116)."""
    settings = parts_of(current_app).settings
    expires = (utcnow() + SECURITY_TXT_LIFETIME).strftime("%Y-%m-%dT00:00:00Z")
    lines = [
        f"Contact: {settings.SECURITY_CONTACT}",
        f"Expires: {expires}",
        "Preferred-Languages: en, ru",
        f"Canonical: {settings.PUBLIC_URL}/.well-known/security.txt",
    ]
    text = "\n".join(lines) + "\n"
    return Response(
        text, content_type="text/plain; charset=utf-8", headers={"Cache-Control": docs.FOR_A_WHILE}
    )


# ------------------------------------------------------------------------------------------ health


@bp.get("/healthz")
@public
def healthz() -> Response:
    """The process lives. Asks nothing and nobody."""
    return jsonify(status="alive")


@bp.get("/readyz")
@public
def readyz() -> tuple[Response, int]:
    """Whether people can sign in."""
    report = current_app.extensions["suite_health"].readiness()
    return jsonify(report), 503 if report["failing"] else 200


@bp.get("/health")
@public
def health() -> tuple[Response, int]:
    """Every component of every service, merged."""
    report = current_app.extensions["suite_health"].report()
    return jsonify(report), 503 if report["status"] == "unhealthy" else 200


@bp.get("/metrics")
@public
def metrics() -> Response:
    """Of this app, and what it sees of the others, on its own port: the front doors keep it closed."""
    health: SuiteHealth = current_app.extensions["suite_health"]
    text = exposition([parts_of(current_app).metrics.registry], World([health.gauges]))
    return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")
