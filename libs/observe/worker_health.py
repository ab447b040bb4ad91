"""A worker seen from outside: its heartbeat, what waits for people, /healthz and /metrics on its own port."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import redis
import sqlalchemy as sa
from celery.signals import worker_ready
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from libs.guard.secrets import peers
from libs.observe.logs import get_logger, set_service
from libs.observe.metrics import GaugeSamples, Source, World, exposition, watch_pools, world_sample

log = get_logger("libs.worker_health")

HEARTBEAT_INTERVAL_S = 5
HEARTBEAT_LIFETIME_S = 30
# Others' servers have others' connections: all count, of whatever database. Those without one are the server's own.
_SERVER_CONNECTIONS = sa.text(
    "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL) AS used,"
    " current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most"
)


def heartbeat_key(service: str) -> str:
    """Where the workers of a service say when they last lived."""
    return f"worker:{service}"


def note_cleanup(client: redis.Redis, job: str) -> None:
    """A cleanup has succeeded; `job` is its task's name."""
    try:
        client.set(_cleanup_key(job), int(time.time()))
    except redis.RedisError as error:
        log.warning("cleanup_not_noted", error=type(error).__name__)


def _cleanup_key(job: str) -> str:
    return f"cleanup:{job}"


def accompany_worker(
    flask_apps: tuple[Flask, ...], port: int, host: str, sources: Iterable[Source] = ()
) -> None:
    """From the moment the worker is ready: a heartbeat per service, and the port where one is given."""
    from libs.service import parts_of

    @worker_ready.connect(weak=False)
    def _start(**_: Any) -> None:
        log.info("worker_ready", queues=",".join(parts_of(app).name for app in flask_apps))
        threading.Thread(target=_heartbeat, args=(flask_apps,), name="heartbeat", daemon=True).start()
        if port:
            watch_pools(flask_apps)
            serve(flask_apps, port, host, sources)


def _heartbeat(flask_apps: tuple[Flask, ...]) -> None:
    from libs.service import parts_of

    while True:
        for app in flask_apps:
            parts = parts_of(app)
            set_service(parts.name)
            try:
                parts.redis.set(heartbeat_key(parts.name), int(time.time()), ex=HEARTBEAT_LIFETIME_S)
                counts = json.dumps(what_waits(app))
                parts.redis.set(f"waiting:{parts.name}", counts, ex=HEARTBEAT_LIFETIME_S)
                peers.leave_note(parts.redis, parts.name, parts.settings)
            except Exception as error:
                log.warning("heartbeat_failed", error=type(error).__name__)
        time.sleep(HEARTBEAT_INTERVAL_S)


def what_waits(app: Flask) -> dict[str, int]:
    """What waits for staff in this service, by a word that the /admin page knows; `events` are the parked ones."""
    from libs.service import parts_of

    parts = parts_of(app)
    with app.app_context():
        return {**(parts.waiting() if parts.waiting else {}), "events": parts.inbox.count_parked()}


def serve(
    flask_apps: tuple[Flask, ...], port: int, host: str = "127.0.0.1", sources: Iterable[Source] = ()
) -> None:
    """Answer /healthz and /metrics for this process, in a thread."""
    from libs.service import parts_of

    registries = [parts_of(app).metrics.registry for app in flask_apps]
    world = World([*(source for app in flask_apps for source in sources_of(app)), *sources])

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/healthz":
            body, kind, status = b'{"status":"alive"}', "application/json", "200 OK"
        elif environ["PATH_INFO"] == "/metrics":
            body, kind, status = exposition(registries, world), "text/plain; version=0.0.4", "200 OK"
        else:
            body, kind, status = b"", "text/plain", "404 Not Found"
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    server = make_server(host, port, answer, threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, name="worker-port", daemon=True).start()


def sources_of(app: Flask) -> list[Source]:
    """What the worker of a service reads when somebody scrapes: first what Redis knows, then what the database does."""
    from libs.guard.secrets import rotation
    from libs.service import parts_of

    parts = parts_of(app)
    service = {"service": parts.name}

    def events() -> GaugeSamples:
        with app.app_context():
            pending, oldest, parked = (
                parts.outbox.waiting(),
                parts.outbox.oldest_waiting(),
                parts.inbox.count_parked(),
            )
        age = time.time() - oldest.timestamp() if oldest else 0.0
        yield "id_events_pending", "Events that a subscriber has not confirmed", service, pending
        yield "id_events_oldest_seconds", "Age of the oldest unconfirmed event", service, age
        yield "id_events_parked", "Events that failed too often and wait for staff", service, parked

    def queue() -> GaugeSamples:
        depth = cast(int, parts.redis.llen(parts.name))
        yield "id_queue_depth", "Tasks that wait in a queue", {"queue": parts.name}, depth

    def reencryption() -> GaugeSamples:
        return rotation.gauges(parts)

    def cleanups() -> GaugeSamples:
        jobs = list(parts.tasks.cleanups)
        times: Any = parts.redis.mget([_cleanup_key(job) for job in jobs])
        for job, at in zip(jobs, times, strict=True):
            yield world_sample("id_cleanup_last_success_seconds", float(at or 0), job=job)

    def server() -> GaugeSamples:
        with app.app_context():
            row = parts.db.fetch_one(_SERVER_CONNECTIONS)
        yield world_sample("id_db_server_connections", row.used, **service)
        yield world_sample("id_db_server_connections_max", row.most, **service)

    def own() -> GaugeSamples:
        with app.app_context():
            yield from parts.gauges() if parts.gauges is not None else ()

    return [queue, cleanups, reencryption, events, server] + ([own] if parts.gauges is not None else [])


class _Quiet(WSGIRequestHandler):
    """A scrape every few seconds is not worth a log line."""

    def log_request(self, *_: Any) -> None:
        return None
