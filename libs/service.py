"""Service assembly: one order in which every app of the suite is put together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import redis
from flask import Blueprint, Flask, current_app

from libs.audit import Audit
from libs.database import Database, init_database
from libs.guard.breakers import Breakers
from libs.guard.keyring import KeyRing, derive
from libs.guard.ratelimit import EnhancedMode, RateLimiter
from libs.guard.secrets.sealed import SealedColumn
from libs.messaging.broker import Broker
from libs.messaging.desk import events_desk
from libs.messaging.events import Event
from libs.messaging.inbox import Handler, Inbox
from libs.messaging.outbox import Outbox
from libs.messaging.worker import Tasks, bare_celery, declare_event_tasks
from libs.observe import tracing
from libs.observe.health import Check, Probe, init_health, standard_checks
from libs.observe.logs import configure_logs
from libs.observe.metrics import GaugeSamples, Metrics, init_metrics
from libs.observe.requests import Requests
from libs.people.access import init_access
from libs.people.bearer import Bearer
from libs.people.bearer.keys import IssuerKeys
from libs.people.sessions import Session
from libs.settings import ServiceSettings, Settings
from libs.web.app import App
from libs.web.client_address import ClientAddress
from libs.web.csrf import init_csrf
from libs.web.headers import Headers
from libs.web.languages import init_languages
from libs.web.pages import init_pages
from libs.web.problems import init_problems

if TYPE_CHECKING:
    from libs.web.api import APIBlueprint

MAX_REQUEST_BYTES = 1024 * 1024
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(kw_only=True)
class Parts:
    """What an app was assembled from; found again by parts_of(app)."""

    name: str
    settings: Any
    redis: redis.Redis
    metrics: Metrics
    data_keys: KeyRing
    limiter: RateLimiter
    enhanced: EnhancedMode
    breakers: Breakers = field(init=False)
    db: Any = None
    audit: Any = None
    outbox: Any = None
    inbox: Any = None
    tasks: Any = None
    probe: Any = None
    issuer_keys: Any = None
    """Where access tokens find the issuer's keys, in a service that has an API."""
    find_session: Callable[[str], Session | None] | None = None
    """account alone: the session of a secret's digest from its row, where the copy is missing."""
    token_still_holds: Callable[[Bearer], bool | None] | None = None
    """account alone: what its rows say of an access token while Redis is away; None where they cannot tell."""
    gauges: Callable[[], GaugeSamples] | None = None
    """The service's own gauges about the world, read by its worker."""
    waiting: Callable[[], dict[str, int]] | None = None
    """What waits for staff, by a word that the /admin page knows."""
    sealed: Sequence[SealedColumn] = ()
    """Every column that `data_keys` seals."""
    when_restored: Callable[[], dict[str, int]] | None = None
    """What ends after its database came back from a backup; returns how many of what."""

    def __post_init__(self) -> None:
        self.breakers = Breakers(lambda: self.redis)


def parts_of(app: Flask) -> Parts:
    if app is current_app:  # Flask's stand-in looks the app up anew for whatever is asked of it
        app = current_app._get_current_object()  # type: ignore[attr-defined]
    parts: Parts = app.extensions["updspace_id"]
    return parts


@dataclass(frozen=True, kw_only=True)
class Stores:
    """The bare instances of a service's extensions.py that keep something."""

    db: Database
    audit: Audit
    outbox: Outbox
    inbox: Inbox
    tasks: Tasks
    issuer_keys: IssuerKeys | None = None


def create_service(
    import_name: str,
    settings: Settings,
    *,
    name: str,
    limiter: RateLimiter,
    blueprints: Sequence[Blueprint],
    api: "Sequence[APIBlueprint]" = (),
    stores: Stores | None = None,
    handlers: Mapping[type[Event], Handler] | None = None,
    commands: Iterable[click.Command] = (),
    checks: Mapping[str, Check] | None = None,
    failures: Mapping[str, str] | None = None,
    find_session: Callable[[str], Session | None] | None = None,
    token_still_holds: Callable[[Bearer], bool | None] | None = None,
    gauges: Callable[[], GaugeSamples] | None = None,
    waiting: Callable[[], dict[str, int]] | None = None,
    sealed: Sequence[SealedColumn] = (),
    when_restored: Callable[[], dict[str, int]] | None = None,
    serves_health: bool = True,
) -> Flask:
    """Assemble an app: logs, stores, messaging, request chain, health, pages, API, commands, in this order.

    `checks` adds rows to /health; `failures` says what their failing means. `serves_health` is off for the
    gateway's app, which answers for all.
    """
    app = App(import_name, static_folder=None)
    configure_logs(settings, service=name)
    tracing.start(settings, service=name)
    tracing.trace_app(app)
    _configure(app, settings)
    parts = Parts(
        name=name,
        settings=settings,
        redis=connect_redis(settings),
        metrics=Metrics(name),
        data_keys=KeyRing.parse(settings.DATA_ENCRYPTION_KEYS, setting="DATA_ENCRYPTION_KEYS"),
        limiter=limiter,
        # Asked of the app's Redis of the moment.
        enhanced=EnhancedMode(lambda: parts.redis),
        find_session=find_session,
        token_still_holds=token_still_holds,
        gauges=gauges,
        waiting=waiting,
        sealed=sealed,
        when_restored=when_restored,
    )
    app.extensions["updspace_id"] = parts
    folder = Path(app.root_path)
    if stores is not None:
        assert isinstance(settings, ServiceSettings)
        parts.db, parts.audit, parts.outbox = stores.db, stores.audit, stores.outbox
        parts.inbox, parts.tasks, parts.issuer_keys = stores.inbox, stores.tasks, stores.issuer_keys
        init_database(app, stores.db, settings, folder / "migrations")
        parts.metrics.declare_pool()
        _init_messaging(app, parts, settings, handlers or {})

    # The request chain, outermost first. Around Flask: who asks, by which method, what every answer carries, and
    # under which id it is logged and timed. Within: in which language, is it their own form, may they, how often.
    around = Headers(Requests(app.wsgi_app, parts.metrics), settings)
    app.wsgi_app = ClientAddress(_KnownMethods(around), settings.TRUSTED_PROXY_HOPS)  # type: ignore[method-assign]
    init_problems(app)
    init_languages(app, folder / "translations")
    init_pages(app, settings)
    init_csrf(app, settings)
    init_access(app)
    limiter.init_app(app, settings)

    metrics_text = init_metrics(app, parts.metrics)
    standard, standard_failures = standard_checks(app)
    parts.probe = Probe({**standard, **(checks or {})}, {**standard_failures, **(failures or {})})
    if serves_health:
        init_health(app, parts.probe, metrics_text)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    if stores is not None:
        app.register_blueprint(events_desk(name))
    if api:
        from libs.web.api import init_api

        init_api(app, api)
    if stores is not None:
        from libs.commands import standard_commands
        from libs.restoring import restored

        for command in (*standard_commands(), restored):
            app.cli.add_command(command)
    for command in commands:
        app.cli.add_command(command)
    parts.metrics.declare_scopes(limiter.scopes)
    return app


def _configure(app: Flask, settings: Settings) -> None:
    app.config.update(
        SECRET_KEY=derive(settings.SECRET_KEY, "browser").hex(),
        SECRET_KEY_FALLBACKS=[derive(key, "browser").hex() for key in settings.SECRET_KEY_FALLBACKS],
        SESSION_COOKIE_NAME="__Host-id_browser" if settings.is_secure else "id_browser",
        SESSION_COOKIE_SECURE=settings.is_secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        MAX_CONTENT_LENGTH=MAX_REQUEST_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_REQUEST_BYTES,
        PROPAGATE_EXCEPTIONS=False,
        TRAP_HTTP_EXCEPTIONS=False,
    )
    app.url_map.strict_slashes = False


def connect_redis(settings: Settings) -> redis.Redis:
    """A client that gives up quickly: a request never waits long for what may be lost."""
    timeout = settings.REDIS_TIMEOUT_MS / 1000
    client: redis.Redis = redis.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        health_check_interval=30,
        retry=None,
    )
    return client


def _init_messaging(
    app: Flask, parts: Parts, settings: ServiceSettings, handlers: Mapping[type[Event], Handler]
) -> None:
    sender = bare_celery(settings, name=parts.name, only_sends=True)
    event_keys = KeyRing.parse(settings.EVENT_ENCRYPTION_KEYS, setting="EVENT_ENCRYPTION_KEYS")
    # A client of its own: what requests need of Redis is a matter by itself.
    broker = Broker(sender, connect_redis(settings))
    parts.tasks.init_app(broker)
    parts.outbox.init_app(app, event_keys, broker)
    parts.inbox.init_app(app, event_keys, broker, handlers)
    declare_event_tasks(parts.tasks, parts.outbox, parts.inbox)


class _KnownMethods:
    """WSGI middleware: refuse methods nobody uses here, so that they cannot become metric labels."""

    def __init__(self, app: Callable[..., Any]):
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in METHODS:
            start_response(
                "405 Method Not Allowed", [("Allow", ", ".join(sorted(METHODS))), ("Content-Length", "0")]
            )
            return [b""]
        return self.app(environ, start_response)
