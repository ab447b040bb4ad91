"""Traces, where OTEL_EXPORTER_OTLP_ENDPOINT is set: what a request did in each service, under the request's own number.

Nothing of OpenTelemetry is imported otherwise. What may be said of a request is a list (docs/decisions/0034); the
standard variables OTEL_* say the rest: sampler, headers and time-out of the exporter, attributes of the process.
"""

import atexit
import contextlib
import logging
import random
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from flask import Flask

from libs.observe import logs
from libs.observe.health import version
from libs.settings import Settings

PATIENCE_AT_END_S = 2.0
"""How long a process that ends waits for an exporter that is away or hangs."""
NOT_TRACED = r"^https?://[^/]+/(healthz|readyz|health|metrics)(\?|$),^https?://[^/]+/static/"
"""What only machines ask every few seconds, and assets."""
MAY_BE_TOLD = frozenset(
    {
        *("service", "correlation_id", "message_id", "template", "result"),
        *("http.method", "http.route", "http.scheme", "http.status_code"),
        *("http.request.method", "http.response.status_code", "url.scheme", "error.type"),
        *("db.system", "db.name", "db.statement", "db.redis.pipeline_length"),
        *("db.system.name", "db.namespace", "db.query.text"),
        *("celery.action", "celery.task_name", "celery.state", "celery.retries"),
        *("messaging.message.id", "messaging.message_id", "messaging.destination"),
        "exception.type",
    }
)
"""Attributes that leave us. Addresses, queries, headers, parameters and texts of errors are none of them."""
LONGEST_TEXT = 2000
_TRACE_ID = re.compile(r"[0-9a-f]{32}\Z")

log = logs.get_logger("libs.tracing")
_tracer: Any = None
_nothing: AbstractContextManager[None] = contextlib.nullcontext()


def start(settings: Settings, *, service: str) -> None:
    """Trace this process, where that is wanted. The first app of a process names it, unless OTEL_SERVICE_NAME does.

    Before anything that is traced is made: engines of SQLAlchemy are watched from their making on.
    """
    global _tracer
    if _tracer is not None or not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # Its own words come with every batch that does not leave, and name the exporter's address.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    ours = {
        "service.name": f"id-{service}",
        "service.namespace": "updspace-id",
        "service.version": version(),
        "deployment.environment.name": settings.ID_ENV,
    }
    provider = TracerProvider(
        resource=Resource.create(ours).merge(OTELResourceDetector().detect()),
        id_generator=_Numbers(),  # type: ignore[arg-type]
        shutdown_on_exit=False,
    )
    provider.sampler = _Begun(provider.sampler)  # type: ignore[assignment]
    exporter = OTLPSpanExporter(endpoint=f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces")
    leaving = BatchSpanProcessor(_Sparing(exporter))  # type: ignore[arg-type]
    provider.add_span_processor(_Naming())  # type: ignore[arg-type]
    provider.add_span_processor(leaving)
    trace.set_tracer_provider(provider)
    atexit.register(_end, leaving)
    _watch_libraries()
    _tracer = provider.get_tracer("updspace-id")
    logs.show_trace(_current_ids)


def _watch_libraries() -> None:
    from celery import signals
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    RedisInstrumentor().instrument()
    SQLAlchemyInstrumentor().instrument()
    celery = CeleryInstrumentor()
    celery.instrument()
    # A task that is sent by its name, as all of ours are, would leave a span open for ever: sending() is for them.
    signals.before_task_publish.disconnect(celery._trace_before_publish)
    signals.after_task_publish.disconnect(celery._trace_after_publish)


def trace_app(app: Flask) -> None:
    """A span for each request of this app; before anything else is put around it."""
    if _tracer is not None:
        from opentelemetry.instrumentation.flask import FlaskInstrumentor

        FlaskInstrumentor.instrument_app(app, excluded_urls=NOT_TRACED, enable_commenter=False)


def span(name: str, **attributes: Any) -> AbstractContextManager[Any]:
    """Something that is waited for: part of the trace under way, where there is one."""
    if _tracer is None:
        return _nothing
    from opentelemetry.trace import SpanKind

    span: AbstractContextManager[Any] = _tracer.start_as_current_span(
        name, kind=SpanKind.CLIENT, attributes=attributes
    )
    return span


@contextlib.contextmanager
def sending(name: str, *, number: str | None = None, **attributes: str) -> Iterator[dict[str, str]]:
    """Around what sends a task, or a mail: the headers by which whoever takes it goes on with the trace.

    `number` is the request's that it is about, where that may be another than the one under way.
    """
    if _tracer is None:
        yield {}
        return
    from opentelemetry.context import Context
    from opentelemetry.propagate import inject
    from opentelemetry.trace import SpanKind

    headers: dict[str, str] = {}
    is_anothers = number is not None and _TRACE_ID.match(number) and number != _current_trace()
    with (
        logs.numbered(number) if is_anothers else _nothing,
        _tracer.start_as_current_span(
            name,
            context=Context() if is_anothers else None,
            kind=SpanKind.PRODUCER,
            attributes=attributes,
        ),
    ):
        inject(headers)
        yield headers


def note(**attributes: str | None) -> None:
    """Say something of the span under way that its beginning did not know."""
    if _tracer is not None:
        from opentelemetry import trace

        current = trace.get_current_span()
        for name, value in attributes.items():
            if value is not None:
                current.set_attribute(name, value)


def _current_trace() -> str:
    from opentelemetry import trace

    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


def _current_ids() -> tuple[str, str] | None:
    """Trace and span under way, as log records name them; None where nothing of it will leave."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.trace_flags.sampled:
        return None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def _end(leaving: Any) -> None:
    """Let go what waits, for a moment: an exporter that hangs keeps no process from ending."""
    ending = threading.Thread(target=leaving.shutdown, name="traces-end", daemon=True)
    with contextlib.suppress(RuntimeError):
        ending.start()
        ending.join(PATIENCE_AT_END_S)


# The four below are what OpenTelemetry calls id generator, sampler, span processor and exporter. They are not derived
# from its classes, which are not to be imported with this module.


class _Numbers:
    """Ids: a trace has the number that its request has in logs, mails and on error pages."""

    def generate_trace_id(self) -> int:
        number = logs.correlation_id() or ""
        return (int(number, 16) if _TRACE_ID.match(number) else 0) or random.getrandbits(128) or 1

    def generate_span_id(self) -> int:
        return random.getrandbits(64) or 1

    def is_trace_id_random(self) -> bool:
        """The gateway draws its numbers from all of their bits, so that samplers may go by them."""
        return True


class _Begun:
    """Requests, and what is sent, begin a trace. What a thread or the clock does by itself does not: it never ends."""

    def __init__(self, chosen: Any):
        self._chosen = chosen

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, kind: Any = None, *more: Any, **named: Any
    ) -> Any:
        from opentelemetry import trace
        from opentelemetry.sdk.trace.sampling import Decision, SamplingResult

        parent = trace.get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            is_left_out = not parent.is_remote and not parent.trace_flags.sampled
        else:
            is_left_out = kind not in (trace.SpanKind.SERVER, trace.SpanKind.PRODUCER)
        if is_left_out:
            return SamplingResult(Decision.DROP)
        return self._chosen.should_sample(parent_context, trace_id, name, kind, *more, **named)

    def get_description(self) -> str:
        return str(self._chosen.get_description())


class _Naming:
    """Each span says whose it is: one process may hold several services."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        span.set_attribute("service", logs.current_service())
        number = logs.correlation_id()
        if number:
            span.set_attribute("correlation_id", number)

    def _on_ending(self, span: Any) -> None:
        """Nothing."""

    def on_end(self, span: Any) -> None:
        """Nothing."""

    def shutdown(self) -> None:
        """Nothing."""

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


class _Sparing:
    """Hands on spans without what they must not tell, in a thread of its own; says once that they do not leave."""

    def __init__(self, exporter: Any):
        self._exporter = exporter
        self._is_away = False

    def export(self, spans: Sequence[Any]) -> Any:
        from opentelemetry.sdk.trace.export import SpanExportResult

        result = self._exporter.export([_spared(span) for span in spans])
        is_away = result is not SpanExportResult.SUCCESS
        if is_away != self._is_away:
            self._is_away = is_away
            log.warning("traces_lost") if is_away else log.info("traces_leave_again")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._exporter.force_flush(timeout_millis))


def _spared(span: Any) -> Any:
    """A copy with what stands on the list. Texts of errors quote rows and addresses: their kind must do."""
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace import SpanKind, Status

    name = span.name
    if span.kind == SpanKind.SERVER and not (span.attributes or {}).get("http.route"):
        name = name.partition(" ")[0]  # a path that nobody knows may hold anything
    return ReadableSpan(
        name=logs.redact(name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_told(span.attributes),
        events=[Event(event.name, _told(event.attributes), event.timestamp) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _told(attributes: Any) -> dict[str, Any]:
    return {
        name: logs.redact(value[:LONGEST_TEXT]) if isinstance(value, str) else value
        for name, value in (attributes or {}).items()
        if name in MAY_BE_TOLD
    }
