"""Celery: tasks as blueprints, the one worker app of a process, and a bare app that only sends."""

import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from celery import Celery
from celery.apps import worker as celery_worker
from celery.signals import setup_logging, task_postrun, task_prerun, worker_init
from flask import Flask
from kombu import Queue

from libs.audit import acting_as
from libs.messaging.broker import MOST_TASKS, NUMBER, Broker, BrokerAway, QueueFull
from libs.messaging.relay import REPEATED
from libs.observe import tracing
from libs.observe.logs import get_logger, set_correlation_id, set_service
from libs.observe.metrics import Source
from libs.observe.worker_health import accompany_worker, note_cleanup
from libs.schema import wait_until_migrated
from libs.settings import Settings

log = get_logger("libs.worker")

VISIBILITY_TIMEOUT_S = 120
LONGEST_TASK_S = 60
"""No task runs longer: beyond the visibility time-out the broker would hand it to a second worker."""
CONCURRENCY = 4


class Tasks:
    """The tasks of one service, declared without a Celery app: `X.name` on queue `X`."""

    def __init__(self, service: str):
        self.service = service
        self.functions: dict[str, Callable[..., Any]] = {}
        self.cleanups: dict[str, bool] = {}
        """Names of those that delete what is old; whether the flow itself notes when it has come to its end."""
        self._broker: Broker | None = None

    def init_app(self, broker: Broker) -> None:
        self._broker = broker

    def task(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Declare a task under the function's own name. It must be safe to run twice."""
        self.functions[f"{self.service}.{function.__name__}"] = function
        return function

    def cleanup(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Declare a task that deletes what is old: when it last succeeded is a gauge."""
        self.cleanups[f"{self.service}.{function.__name__}"] = False
        return self.task(function)

    def cleanup_that_notes(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same, of a flow that calls note_cleanup() itself: once nothing is left, or by a command, too."""
        self.cleanups[f"{self.service}.{function.__name__}"] = True
        return self.task(function)

    def send(self, name: str, *args: Any) -> bool:
        """Queue one of this service's tasks. False when it could not be: a sweep must find the work then."""
        assert self._broker is not None, "tasks are not bound to an app"
        try:
            self._broker.send(
                f"{self.service}.{name}",
                list(args),
                queue=self.service,
                most=MOST_TASKS,
            )
        except (BrokerAway, QueueFull):
            return False
        return True


def bare_celery(settings: Settings, name: str = "updspace-id", *, only_sends: bool = False) -> Celery:
    """A Celery app with the house's configuration and no task of its own.

    One that only sends is patient for as long as a request may be; a worker's connections wait longer.
    """
    app = Celery(name, broker=settings.REDIS_URL, set_as_current=False)
    timeout = settings.REDIS_TIMEOUT_MS / 1000
    patience = timeout if only_sends else max(timeout * 4, 2.0)
    app.conf.update(
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            # Without these a hung broker blocks a sender for many seconds.
            "socket_timeout": patience,
            "socket_connect_timeout": patience,
            "retry_on_timeout": False,
            "health_check_interval": 25,
            # A sender tries once more and gives up: its row waits for the sweep. Workers reconnect for ever.
            "max_retries": 1,
            "interval_start": 0,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A full broker refuses what a worker notes there; it waits for room instead of ending.
        broker_channel_error_retry=True,
        broker_pool_limit=4,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        worker_pool="threads",
        worker_concurrency=CONCURRENCY,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        # A worker stopped by a deploy finishes what it holds.
        worker_soft_shutdown_timeout=LONGEST_TASK_S,
        timezone="UTC",
        enable_utc=True,
    )
    return app


def create_worker(*flask_apps: Flask, sources: Iterable[Source] = ()) -> Celery:
    """The one Celery app of this process: the tasks of these services, each in its own service's app context.

    `sources` give gauges beside those of the services.
    """
    from libs.service import parts_of

    settings = parts_of(flask_apps[0]).settings
    celery = bare_celery(settings)
    queues = []
    for flask_app in flask_apps:
        parts = parts_of(flask_app)
        queues.append(Queue(parts.name))
        for name, function in parts.tasks.functions.items():
            run = _in_context(flask_app, parts.name, function)
            celery.task(_observed(flask_app, name, run), name=name, shared=False)
    celery.conf.task_queues = queues
    celery.conf.task_default_queue = queues[0].name
    celery.conf.flask_apps = flask_apps
    _keep_to_itself(celery)
    celery.set_default()
    _wait_for_migrations(flask_apps)
    port, host = int(os.environ.get("WORKER_PORT") or 0), os.environ.get("WORKER_ADDRESS") or "127.0.0.1"
    accompany_worker(flask_apps, port, host, sources)
    return celery


def _wait_for_migrations(flask_apps: tuple[Flask, ...]) -> None:
    """The worker takes no task before its databases have what its release needs."""

    @worker_init.connect(weak=False)
    def _wait(**_: Any) -> None:
        # Celery listens to signals only later, and the first process of a container is not ended by one of itself.
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            for app in flask_apps:
                wait_until_migrated(app)
        finally:
            signal.signal(signal.SIGTERM, before)


def _keep_to_itself(celery: Celery) -> None:
    """Workers have nothing to tell one another: looking for others costs each start a second, and the broker's room.

    What they would print, a banner and a word on each signal, is no record of the log's.
    Only Celery's command line could say so otherwise, and each who writes one would have to remember.
    """
    ordinary = celery.Worker
    alone = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True, "quiet": True}

    def worker(**options: Any) -> Any:
        return ordinary(**{**options, **alone})

    celery.Worker = worker
    celery_worker.safe_say = _say


def _say(words: str, *_: Any) -> None:
    """What Celery would print past every log when it is told to stop."""
    log.info("celery_says", words=words.strip())


def _in_context(flask_app: Flask, service: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        set_service(service)
        number = set_correlation_id(_correlation_id_of(args))
        tracing.note(service=service, correlation_id=number)
        with flask_app.app_context(), acting_as(f"task:{service}.{function.__name__}"):
            return function(*args, **kwargs)

    return run


def _observed(flask_app: Flask, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Counted and timed; a cleanup that succeeds is noted."""
    from libs.service import parts_of

    parts = parts_of(flask_app)
    parts.metrics.declare_task(name)
    notes_cleanup = parts.tasks.cleanups.get(name) is False

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        began, is_success = time.monotonic(), False
        try:
            result = function(*args, **kwargs)
            is_success = True
        finally:
            parts.metrics.observe_task(name, time.monotonic() - began, is_success=is_success)
        if notes_cleanup:
            note_cleanup(parts.redis, name)
        return result

    return run


def _correlation_id_of(args: tuple[Any, ...]) -> str | None:
    """An event brings its own; a task brings the one of the request that queued it."""
    if args and isinstance(args[0], dict) and "correlation_id" in args[0]:
        return args[0]["correlation_id"]
    return _header(NUMBER)


def _header(name: str) -> Any:
    """What the message of the task under way carries; None outside of one."""
    from celery import current_task

    if not current_task:
        return None
    request = current_task.request
    return (getattr(request, "headers", None) or {}).get(name) or getattr(request, name, None)


def _is_repeated() -> bool:
    """Whether this message was sent before, or the broker took it back from a worker that kept it too long."""
    from celery import current_task

    delivery = (current_task.request.delivery_info or {}) if current_task else {}
    return bool(_header(REPEATED) or delivery.get("redelivered"))


@setup_logging.connect
def _keep_our_logs(**_: Any) -> None:
    """Celery leaves logging alone when somebody listens here; configure_logs() has done it."""


_started: dict[str, float] = {}


@task_prerun.connect
def _note_start(task_id: str = "", **_: Any) -> None:
    _started[task_id] = time.monotonic()


@task_postrun.connect
def _log_task(task_id: str = "", task: Any = None, state: str = "", **_: Any) -> None:
    started = _started.pop(task_id, time.monotonic())
    name = getattr(task, "name", "")
    # Sweeps run every few seconds: only their failures are news.
    level = (
        "debug"
        if state == "SUCCESS" and name.rpartition(".")[2].startswith(("relay", "sweep", "count"))
        else "info"
    )
    getattr(log, level)(
        "task_done", task=name, state=state, duration_ms=round((time.monotonic() - started) * 1000, 1)
    )


def declare_event_tasks(tasks: Tasks, outbox: Any, inbox: Any) -> None:
    """The tasks by which every service takes part in events; gateway/schedule.py runs the sweeps."""

    def receive_event(envelope: dict[str, Any]) -> None:
        """One event for this service."""
        inbox.receive(envelope, is_repeated=_is_repeated())

    def confirm_events(subscriber: str, event_ids: list[str], parked: bool = False) -> None:
        """A subscriber has these events of ours."""
        outbox.confirm(subscriber, event_ids, parked=parked)

    def relay_outbox() -> None:
        """Send what no relay thread sent: leftovers of a crash, of an absent broker, of a lost confirmation."""
        outbox.relay()

    def sweep_inbox() -> None:
        """Try again the events whose handling failed and is due."""
        inbox.sweep()

    def clear_events() -> None:
        """Forget events that everybody confirmed or handled long ago, in bounded batches."""
        for clear in (outbox.clear_confirmed, inbox.clear_handled):
            deadline = time.monotonic() + LONGEST_TASK_S / 3
            while clear() and time.monotonic() < deadline:
                pass

    for function in (receive_event, confirm_events, relay_outbox, sweep_inbox):
        tasks.task(function)
    tasks.cleanup(clear_events)
