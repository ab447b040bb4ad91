"""Traces: nothing at all unless they are wanted; then one per request, and no secret in any."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from flask import Flask
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind

from gateway.servers import free_port
from libs.observe import tracing
from libs.observe.logs import numbered
from tests.collector import Collector, hanging
from tests.gateway.doors import ROOT, gunicorn, running
from tests.libs.traced import NUMBER, SECRET

KEY = "what-the-collector-knows-us-by"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"

UNTRACED = """
import sys, time
from gateway.all_in_one import create_apps, create_front, create_worker
from gateway.schedule import create_beat
from libs.observe import tracing
import redis

apps = create_apps()
create_front(apps), create_worker(apps), create_beat()
print([name for name in sys.modules if name.startswith(("opentelemetry", "google.protobuf"))])
print(tracing.span("x") is tracing.span("y"), hasattr(redis.Redis.execute_command, "__wrapped__"))
began = time.perf_counter()
for _ in range(10_000):
    with tracing.span("x"):
        tracing.note(result="y")
print((time.perf_counter() - began) / 10_000)
"""


def python(*arguments: str, environ: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_where_nobody_wants_traces_nothing_of_them_is_imported_and_they_cost_nothing(
    environment: dict[str, str],
) -> None:
    modules, is_plain, seconds = python(
        "-c", UNTRACED, environ={**environment, ENDPOINT: ""}
    ).stdout.splitlines()[-3:]
    assert modules == "[]"
    assert is_plain == "True False"
    assert float(seconds) < 20e-6, "a request asks a few times"


@pytest.fixture(scope="module")
def arrived(
    sample_app: Flask, sample_settings: Any, environment: dict[str, str]
) -> Iterator[tuple[Collector, list[dict[str, Any]]]]:
    """What the traced service sent, and its log."""
    settings = {**environment, "NOTIFICATION_DATABASE_URL": sample_settings.DATABASE_URL}
    with Collector() as collector:
        known_by = {"OTEL_EXPORTER_OTLP_HEADERS": f"api-key={KEY}"}
        done = python("-m", "tests.libs.traced", environ={**settings, **known_by, ENDPOINT: collector.url})
        yield collector, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


Arrived = tuple[Collector, list[dict[str, Any]]]


def test_a_trace_has_the_number_of_its_request_and_log_lines_name_it(arrived: Arrived) -> None:
    collector, log = arrived
    spans = {span.name: span for span in collector.spans(NUMBER) if span.name != "GET"}
    assert len(collector.spans()) == len(collector.spans(NUMBER)), "nothing but requests begins a trace"
    request = spans["GET /trouble"]
    assert (request.process, request.parent) == ("id-notification", "")
    assert request.attributes["http.status_code"] == 500
    assert request.attributes["service"] == "notification"
    for name in ("apply_async/notification.remember", "SET", "SELECT"):
        assert spans[name].parent == request.id, name
    line = next(line for line in log if line["event"] == "request" and line["path"] == "/trouble")
    assert (line["trace_id"], line["span_id"]) == (NUMBER, request.id)
    assert all(
        line["trace_id"] == NUMBER for line in log if line["correlation_id"] == NUMBER and "trace_id" in line
    )


def test_what_only_machines_ask_is_not_traced(arrived: Arrived) -> None:
    routes = {span.attributes.get("http.route") for span in arrived[0].spans()}
    assert "/trouble" in routes
    assert not routes & {"/healthz", "/metrics"}


def test_the_collector_knows_us_by_the_header_that_is_set(arrived: Arrived) -> None:
    collector, log = arrived
    assert collector.keys == {KEY}
    assert KEY not in json.dumps(log)


def test_no_secret_is_in_a_trace_whatever_went_wrong(arrived: Arrived) -> None:
    collector, _ = arrived
    assert collector.bodies
    assert not any(SECRET.encode() in body for body in collector.bodies)
    names = {name for span in collector.spans() for name in span.attributes}
    assert names <= tracing.MAY_BE_TOLD
    failed = [event for span in collector.spans() for event in span.events]
    assert all(set(event) <= {"exception.type"} for event in failed)
    assert all(not words for _, words in (span.status for span in collector.spans()))
    refused = next(span for span in collector.spans() if span.name.startswith("INSERT"))
    assert "%(text)s" in refused.attributes["db.statement"], "the statement, and not what it is about"
    unknown = [span for span in collector.spans() if span.attributes.get("http.status_code") == 404]
    assert [span.name for span in unknown] == ["GET"], "a path that nobody knows may hold anything"


@pytest.mark.parametrize(("chosen", "count"), [(ALWAYS_ON, 2), (ALWAYS_OFF, 0)])
def test_the_chosen_sampler_decides_about_requests_and_nobody_about_the_rest(
    chosen: Sampler, count: int
) -> None:
    provider = TracerProvider(sampler=chosen, id_generator=tracing._Numbers())  # type: ignore[arg-type]
    provider.sampler = tracing._Begun(provider.sampler)  # type: ignore[assignment]
    tracer = provider.get_tracer("test")
    recorded = []
    with numbered(NUMBER):
        for kind in (SpanKind.SERVER, SpanKind.CONSUMER):
            with (
                tracer.start_as_current_span("outer", kind=kind) as outer,
                tracer.start_as_current_span("inner", kind=SpanKind.CLIENT) as inner,
            ):
                recorded += [span for span in (outer, inner) if span.is_recording()]
                assert f"{inner.get_span_context().trace_id:032x}" == NUMBER
    assert len(recorded) == count


@pytest.mark.parametrize("trouble", ["hangs", pytest.param("is away", marks=pytest.mark.soak)])
def test_a_collector_in_trouble_slows_no_request_and_no_shutdown(
    environment: dict[str, str], tmp_path: Path, trouble: str
) -> None:
    """In a gunicorn that forks, so that what sends runs in the process that serves."""
    port, log = free_port(), tmp_path / "front.jsonl"
    with hanging() as url:
        where = url if trouble == "hangs" else f"http://127.0.0.1:{free_port()}"
        settings = {**environment, ENDPOINT: where, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with running(gunicorn("gateway.front:create_app()", port), settings, port, log) as process:
            ask(port)
            time.sleep(0.5)  # by now it is being sent
            began = time.monotonic()
            for _ in range(50):
                ask(port)
            assert time.monotonic() - began < 5
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert process.wait(30) == 0
            assert time.monotonic() - began < 10, "the exporter's own time-out alone would be 10"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all(len(line["trace_id"]) == 32 for line in lines if line["event"] == "request")
    lost = [line for line in lines if line["event"] == "traces_lost"]
    assert len(lost) <= 1, "once, not with every batch"
    assert not [line for line in lines if where.partition("//")[2] in json.dumps(line)]


def ask(port: int) -> None:
    request = Request(f"http://127.0.0.1:{port}/robots.txt", headers={"Host": "localhost"})
    with urlopen(request, timeout=30) as answer:
        assert answer.status == 200
