"""Health, metrics, logs."""

import contextvars
import dataclasses
import io
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
import structlog
from flask import Flask

from libs.observe import health
from libs.observe.health import Component, Probe, health_report
from libs.observe.logs import Frequent, configure_logs, get_logger, let_lines_wait, redact, write_waiting
from libs.observe.metrics import Metrics, World, exposition
from libs.service import parts_of
from tests.libs import sample
from tests.libs.sample import SampleSettings
from tests.pages import Browser
from tests.running import ROOT


def test_health_names_what_it_looked_at(sample_app: Flask) -> None:
    report = Browser(sample_app).get("/health").json
    rows = {row["name"]: row for row in report["components"]}  # type: ignore[index]
    assert {"database", "cache", "events", "workers"} <= set(rows)
    assert rows["database"]["status"] == "healthy"
    assert rows["database"]["latency_ms"] >= 0
    assert report["version"].startswith("1.0.0")  # type: ignore[index]


def test_a_hung_check_counts_as_failed_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(health, "PROBE_INTERVAL_S", 0.1)
    release = threading.Event()
    started: list[int] = []

    def hang() -> Component:
        started.append(1)
        release.wait(30)
        return Component("database")

    probe = Probe({"database": hang, "cache": lambda: Component("cache")}, {"database": "unhealthy"})
    rows = {row.name: row.status for row in probe.components()}
    assert rows == {"database": "unhealthy", "cache": "healthy"}
    seen = probe._result[0]
    while probe._result[0] == seen:
        time.sleep(0.02)
    assert len(started) == 1, "a check that hangs is not started again and again"
    release.set()


def test_two_hundred_callers_cost_one_probe_a_second() -> None:
    count: list[int] = []

    def check() -> Component:
        count.append(1)
        return Component("cache")

    probe = Probe({"cache": check})
    threads = [threading.Thread(target=probe.components) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(count) <= 10


ENDING = """
import threading, time
from libs.observe import health

health.PROBE_INTERVAL_S = 0.1
probe = health.Probe({"cache": lambda: health.Component("cache")})
assert [row.status for row in probe.components()] == ["healthy"]


def finish():
    threading.main_thread().join()
    time.sleep(0.5)  # the interpreter starts no threads any more
    print([row.details for row in probe.components()])


threading.Thread(target=finish).start()
"""


def test_a_process_that_ends_while_it_looks_says_nothing() -> None:
    """And a look that cannot begin is a look that failed: the probe itself goes on."""
    done = subprocess.run(
        [sys.executable, "-c", ENDING], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "[{'reason': 'failed'}]\n")


def test_a_failure_shows_no_error_text() -> None:
    def fail() -> Component:
        raise RuntimeError("host db-17.internal refused user admin")

    report = health_report(Probe({"database": fail}, {"database": "unhealthy"}).components())
    assert report["status"] == "unhealthy"
    assert "db-17" not in str(report)


def test_liveness_asks_nothing(sample_app: Flask) -> None:
    assert Browser(sample_app).get("/healthz").json == {"status": "alive"}


def test_requests_are_timed_by_route_not_by_path(sample_app: Flask) -> None:
    Browser(sample_app).get("/open")
    Browser(sample_app).get("/no-such-path-12345")
    text = Browser(sample_app).get("/metrics").text
    assert (
        'id_http_request_duration_seconds_count{method="GET",route="/open",service="notification",status="200"}'
        in text
    )
    assert 'id_http_request_total{method="GET",service="notification",status="404"}' in text
    assert "no-such-path-12345" not in text


def test_the_line_of_a_request_has_the_form_of_all_others(
    sample_app: Flask, log_text: Callable[[], str]
) -> None:
    get_logger("libs.request").info("request", method="GET", path='/no-"such"-ü', status=404, duration_ms=1.0)
    Browser(sample_app).get('/no-"such"-ü', headers={"X-Request-ID": "an-id-of-some-length"})
    model, line = log_text().splitlines()
    changing = ("duration_ms", "timestamp", "correlation_id", "service")
    expected = {**json.loads(model), **{name: json.loads(line)[name] for name in changing}}
    assert line == json.dumps(expected)
    assert json.loads(line)["service"] == "notification"
    assert json.loads(line)["correlation_id"] == "an-id-of-some-length"
    assert len(json.loads(line)["timestamp"]) == len(json.loads(model)["timestamp"])


def test_frequent_records_have_the_form_of_all_others(sample_app: Flask, log_text: Callable[[], str]) -> None:
    fields = {
        "client_id": "x",
        "nothing": None,
        "text": 'ü "\n',
        "number": 2.5,
        "token_type": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.hunter2",
    }
    get_logger("libs.frequent").info("something_done", **fields)
    Frequent("libs.frequent", "something_done").info(**fields)
    model, line = log_text().splitlines()
    assert line == json.dumps({**json.loads(model), "timestamp": json.loads(line)["timestamp"]})
    assert "hunter2" not in line


def test_a_record_that_waits_is_written_with_its_requests_own(
    sample_app: Flask, log_text: Callable[[], str]
) -> None:
    first, second = Frequent("libs.frequent", "first", waits=True), Frequent("libs.frequent", "second")

    def in_a_request() -> None:
        let_lines_wait()
        first.info(number=1)
        assert log_text() == ""
        second.info()
        first.info(number=2)
        write_waiting()
        write_waiting()

    contextvars.copy_context().run(in_a_request)
    first.info(number=3)  # where no request is
    records = [json.loads(line) for line in log_text().splitlines()]
    assert [(record["event"], record.get("number")) for record in records] == [
        ("first", 1),
        ("second", None),
        ("first", 2),
        ("first", 3),
    ]


@pytest.mark.parametrize(
    ("path", "request_id"),
    [
        ("/x/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.hunter2", "12345678"),
        ("/x/token=hunter2", "12345678"),
        ("/x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.hunter2"),
    ],
)
def test_what_looks_like_a_secret_is_not_in_the_line_of_a_request(
    sample_app: Flask, log_text: Callable[[], str], path: str, request_id: str
) -> None:
    Browser(sample_app).get(path, headers={"X-Request-ID": request_id})
    assert '"event": "request"' in log_text()
    assert "hunter2" not in log_text()


def test_a_log_that_cannot_be_written_fails_no_request(
    sample_app: Flask, log_text: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left on device")

    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            monkeypatch.setattr(handler, "stream", Full())
    assert Browser(sample_app).get("/open").status_code == 200


def test_an_invented_method_becomes_no_label(sample_app: Flask) -> None:
    assert Browser(sample_app).open("/open", method="BREW").status_code == 405
    assert "BREW" not in Browser(sample_app).get("/metrics").text


def test_metrics_of_several_apps_merge_into_one_family() -> None:
    first, second = Metrics("account"), Metrics("oidc")
    first.login_attempts.inc()
    second.tokens_issued.labels(grant="authorization_code").inc()
    text = exposition([first.registry, second.registry]).decode()
    assert text.count("# TYPE id_auth_login_attempts_total counter") == 1
    assert "id_auth_login_attempts_total 1.0" in text
    assert 'id_oidc_token_issued_total{grant="authorization_code"} 1.0' in text
    assert 'id_auth_login_failure_reason_total{reason="bad_password"} 0.0' in text


def test_a_source_that_is_away_leaves_a_gap_and_nothing_else() -> None:
    def away() -> list[tuple[str, str, dict[str, str], float]]:
        raise ConnectionError

    world = World([away, lambda: [("id_events_pending", "text", {"service": "a"}, 3)]])
    assert 'id_events_pending{service="a"} 3.0' in exposition([], world).decode()


def test_secrets_never_reach_a_record() -> None:
    record = redact(
        {
            "password": "hunter2",
            "nested": {"refresh_token": "abc", "token_type": "Bearer"},
            "note": "went to https://a:b@host/?token=abc&x=1 with Bearer abcdefghijk",
            "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
            "kid": "k1",
        }
    )
    text = str(record)
    assert "hunter2" not in text
    assert "abc" not in text
    assert record["nested"]["token_type"] == "Bearer"
    assert record["kid"] == "k1"


@pytest.mark.parametrize(
    "text",
    [
        "GET /x?access_token=hunter2&y=1",
        "id_token_hint=hunter2",
        "login(password='hunter2')",
        '{"client_secret": "hunter2"}',
        "{'code_verifier': 'hunter2', 'x': 1}",
        "redis://:hunter2@10.0.0.1/0",
        "DETAIL:  Failing row contains (1, a@b.test, hunter2).",
        "DETAIL:  Key (token_hash)=(hunter2) already exists.",
    ],
)
def test_secrets_inside_a_text_are_found_by_their_look(text: str) -> None:
    assert "hunter2" not in redact(text)


def test_secrets_in_lists_and_bytes_are_found_and_plain_facts_stay() -> None:
    record = redact(
        {
            "recovery_codes": ["hunter2"],
            "user_code": "hunter2",
            "password": b"hunter2",
            "raw": b"token=hunter2",
            "status_code": "200",
            "error_code": "x",
            "tokens_ended": 3,
        }
    )
    assert "hunter2" not in str(record)
    assert (record["status_code"], record["error_code"], record["tokens_ended"]) == ("200", "x", 3)


def test_a_trace_of_another_librarys_logger_is_kept(sample_app: Flask, log_text: Callable[[], str]) -> None:
    try:
        raise ValueError("the reason")
    except ValueError as error:
        told = (type(error), error, error.__traceback__)
    logging.getLogger("some.library").error("it failed", exc_info=told)
    assert "ValueError: the reason" in log_text()


def test_a_row_that_postgresql_refuses_is_not_printed(sample_app: Flask, log_text: Callable[[], str]) -> None:
    marker = f"private-{time.time_ns()}"
    with sample_app.app_context(), pytest.raises(sa.exc.IntegrityError) as caught:
        sample.db.session.execute(sa.insert(sample.Note).values(id=None, text=marker))
    assert marker in str(caught.value), "PostgreSQL quotes the row"
    logging.getLogger("any").error("it failed", exc_info=caught.value)
    assert "IntegrityError" in log_text()
    assert marker not in log_text()


def test_who_asks_as_the_probe_falls_idle_is_not_slept_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last caller comes between the probe's last look at the clock and its sleep."""
    probe = Probe({"cache": lambda: Component("cache")})

    class Clock(float):
        def __rsub__(self, now: float) -> float:
            # The probe has just decided that nobody asks any more.
            probe._last_asked = now
            probe._asked.set()
            return 1e9

    assert probe.components()[0].status == "healthy"
    asked = probe._result[0]
    probe._last_asked = Clock()
    deadline = time.monotonic() + 5
    while probe._result[0] == asked and time.monotonic() < deadline:
        time.sleep(0.02)
    assert probe._result[0] > asked


def test_moments_are_not_added_up() -> None:
    first, second = Metrics("account"), Metrics("oidc")
    line = next(
        line
        for line in exposition([first.registry, second.registry]).decode().splitlines()
        if line.startswith("id_auth_login_attempts_created ")
    )
    assert float(line.split()[1]) <= time.time()


def test_the_audit_says_who_did_what_without_secrets(sample_app: Flask) -> None:
    with sample_app.app_context():
        number = sample.write_note(text=f"audited {time.time_ns()}")
        entry = parts_of(sample_app).audit.entries(target=f"note:{number}")[0]
    assert entry.action == "note.written"
    assert entry.after["token"] == "[redacted]"


@pytest.fixture
def console(sample_settings: SampleSettings, log_text: Callable[[], str]) -> Iterator[Callable[[], str]]:
    """What a person reads who has asked for LOG_FORMAT=console."""
    stream = io.StringIO()
    configure_logs(dataclasses.replace(sample_settings, LOG_FORMAT="console"), service="notification")
    [handler] = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield stream.getvalue
    configure_logs(sample_settings, service="notification")


def test_for_people_records_are_lines_in_words_and_as_free_of_secrets(
    sample_app: Flask, console: Callable[[], str]
) -> None:
    Browser(sample_app).get("/nowhere?token=heron-7", headers={"X-Request-ID": "an-id-of-some-length"})
    Browser(sample_app).get("/crash?token=heron-7")
    get_logger("notification.delivery").info("mail_sent", password="heron-7", recipient_count=2)
    logging.getLogger("some.library").warning("its words, token=%s", "heron-7")
    try:
        raise ValueError("password=heron-7")
    except ValueError:
        logging.getLogger("some.library").exception("it failed")
    said = console()
    assert "heron-7" not in said
    request = next(line for line in said.splitlines() if "an-id-of-some-length" in line)
    assert not request.startswith("{")
    for word in ("request", "method=GET", "path=/nowhere", "status=404", "service=notification"):
        assert word in request
    assert "mail_sent" in said and "recipient_count=2" in said
    assert "ValueError: password=[redacted]" in said
    assert "RuntimeError: hunter2 password=[redacted]" in said, "a text that looks like no secret stays"
