"""A worker seen from outside: its heartbeat, what waits for people, /healthz and /metrics on its own port."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

from celery.signals import worker_ready
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from libs.guard.secrets import peers
from libs.observe.logs import get_logger, set_service
from libs.observe.metrics import GaugeSamples, World, exposition

log = get_logger("libs.worker_health")

HEARTBEAT_INTERVAL_S = 5
HEARTBEAT_LIFETIME_S = 30


def accompany_worker(flask_apps: tuple[Flask, ...], port: int, host: str) -> None:
    """From the moment the worker is ready: a heartbeat per service, and the port where one is given."""
    from libs.service import parts_of

    @worker_ready.connect(weak=False)
    def _start(**_: Any) -> None:
        log.info("worker_ready", queues=",".join(parts_of(app).name for app in flask_apps))
        threading.Thread(target=_heartbeat, args=(flask_apps,), name="heartbeat", daemon=True).start()
        if port:
            serve(flask_apps, port, host)


def _heartbeat(flask_apps: tuple[Flask, ...]) -> None:
    from libs.service import parts_of

    while True:
        for app in flask_apps:
            parts = parts_of(app)
            set_service(parts.name)
            try:
                parts.redis.set(f"worker:{parts.name}", int(time.time()), ex=HEARTBEAT_LIFETIME_S)
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


def serve(flask_apps: tuple[Flask, ...], port: int, host: str = "127.0.0.1") -> None:
    """Answer /healthz and /metrics for this process, in a thread."""
    from libs.service import parts_of

    registries = [parts_of(app).metrics.registry for app in flask_apps]
    world = World([source for app in flask_apps for source in _sources(app)])

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


def _sources(app: Flask) -> list[Callable[[], GaugeSamples]]:
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

    def own() -> GaugeSamples:
        with app.app_context():
            yield from parts.gauges() if parts.gauges is not None else ()

    return [events, queue, reencryption] + ([own] if parts.gauges is not None else [])


class _Quiet(WSGIRequestHandler):
    """A scrape every few seconds is not worth a log line."""

    def log_request(self, *_: Any) -> None:
        return None
