"""Parts of the suite away for a while: prompt answers meanwhile, nothing lost, nothing twice, no restart."""

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import pytest
import redis

from gateway.routes import SERVICES
from gateway.suite import Suite
from tests.pages import HTTPBrowser
from tests.running import ROOT, wait_until
from tests.suite.people import People


def test_redis_away_during_sign_up_loses_nothing(
    people: People, suite: Suite, whole_again: Callable[[], None]
):
    email, browser = people.new_email(), people.browser()
    browser.get("/apply")
    assert suite.data.redis
    suite.data.redis.stop()
    began = time.monotonic()
    answer = people.apply(browser, email)
    assert time.monotonic() - began < 3.5
    assert answer.status_code in (200, 303, 503)
    if answer.status_code == 503:
        assert answer.headers["Retry-After"]
    report = browser.get("/health").json()
    wait_until(lambda: _component(browser, "cache")["status"] != "healthy", 5)
    assert report["status"] in ("healthy", "degraded")
    suite.data.redis.start()
    if answer.status_code == 503:
        assert people.apply(people.browser(), email).status_code == 303
    people.wait_for_mail(email)
    time.sleep(6)  # a sweep of the outbox and one of notification go by
    assert len(people.mail(email)) == 1


def test_redis_full_during_sign_up_slows_nobody_and_the_mail_leaves_once_there_is_room(
    people: People, suite: Suite, whole_again: Callable[[], None]
):
    assert suite.data.redis
    client = redis.Redis.from_url(suite.data.redis.url())
    email, browser = people.new_email(), people.browser()
    browser.get("/apply")
    client.config_set("maxmemory", 1)
    try:
        began = time.monotonic()
        assert people.apply(browser, email).status_code == 303
        assert time.monotonic() - began < 2
        time.sleep(3)
        assert people.mail(email) == []
    finally:
        client.config_set("maxmemory", 0)
    people.wait_for_mail(email)
    time.sleep(6)  # a sweep of the outbox and one of notification go by
    assert len(people.mail(email)) == 1
    assert sum(record["event"] == "broker_away" for record in people.log("onboarding")) <= 3, "not per row"


def test_redis_hung_during_sign_up_slows_nobody_for_long(
    people: People, suite: Suite, whole_again: Callable[[], None]
):
    assert suite.data.redis
    assert suite.data.redis.process
    email, browser = people.new_email(), people.browser()
    browser.get("/apply")
    suite.data.redis.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        answer = people.apply(browser, email)
        assert time.monotonic() - began < 3.5
        assert answer.status_code in (303, 503)
        if answer.status_code == 503:
            assert answer.headers["Retry-After"]
        time.sleep(2)
    finally:
        suite.data.redis.process.send_signal(signal.SIGCONT)
    if answer.status_code == 503:
        wait_until(lambda: people.apply(people.browser(), email).status_code == 303)
    people.wait_for_mail(email)
    time.sleep(6)
    assert len(people.mail(email)) == 1


def test_a_second_beat_writes_to_nobody_twice(
    people: People, suite: Suite, tmp_path: Path, whole_again: Callable[[], None]
):
    """Every sweep comes twice on the way of one person."""
    celery = [
        str(Path(sys.executable).with_name("celery")),
        "--app",
        "gateway.schedule",
        "beat",
        "--pidfile=",
    ]
    with (tmp_path / "beat.jsonl").open("wb") as log:
        second = subprocess.Popen(
            [*celery, "--schedule", str(tmp_path / "schedule")],
            cwd=ROOT,
            env=suite.environ,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: list(tmp_path.glob("schedule*")))
        email, browser = people.new_email(), people.browser()
        people.apply(browser, email)
        people.confirm(browser, email)
        people.approve(email)
        people.enrol(browser, email)
        time.sleep(6)  # the sweeps of both go by
        assert second.poll() is None
        subjects = [mail["subject"] for mail in people.mail(email)]
        assert len(subjects) == len(set(subjects)) == 3
    finally:
        second.terminate()
        second.wait(20)


def test_killing_redis_under_ten_signed_in_browsers_signs_none_of_them_out(
    people: People, suite: Suite, whole_again: Callable[[], None]
):
    """Killed by -9 while they click, and its data gone: pages go on or say 503, and nobody signs in again."""
    browsers = [people.administrator() for _ in range(10)]
    cookies = [browser.cookie("__Host-id_session") for browser in browsers]
    answers: list[int] = []
    is_over = threading.Event()

    def click(browser: HTTPBrowser) -> None:
        pages = itertools.cycle(("/account", "/account/sessions", "/admin/applications"))
        while not is_over.is_set():
            answers.append(browser.get(next(pages), follow=True).status_code)
            assert "/login?" not in browser.url, "sent to sign in"

    server = suite.data.redis
    assert server
    assert server.process
    with ThreadPoolExecutor(len(browsers)) as pool:
        clicking = [pool.submit(click, browser) for browser in browsers]
        wait_until(lambda: len(answers) > 20)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        seen = len(answers)
        wait_until(lambda: len(answers) > seen + 20)
        for file in (
            path for path in server.folder.rglob("*") if path.is_file() and "appendonly" in str(path)
        ):
            file.unlink()
        server.start()
        seen = len(answers)
        wait_until(lambda: len(answers) > seen + 40)
        is_over.set()
        for one in clicking:
            one.result()
    assert set(answers) <= {200, 503}
    for browser, cookie in zip(browsers, cookies, strict=True):
        assert browser.get("/admin/applications", follow=True).status_code == 200
        assert browser.url.endswith("/admin/applications")
        assert browser.cookie("__Host-id_session") == cookie


@pytest.mark.parametrize("service", ["onboarding", "oidc"])
def test_one_service_away_is_a_prompt_503_and_the_others_serve(
    people: People, suite: Suite, whole_again: Callable[[], None], service: str
):
    browser = people.browser()
    path = {"onboarding": "/apply", "oidc": "/.well-known/openid-configuration"}[service]
    assert browser.get(path).status_code == 200
    suite.stop_program(service)
    began = time.monotonic()
    page = browser.get(path)
    assert time.monotonic() - began < 3
    assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
    assert "short interruption" in page.text
    problem = browser.get("/api/v1/clients" if service == "oidc" else "/api/v1/applications")
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert people.administrator().get("/account").status_code == 200

    expected = "unhealthy" if service == "oidc" else "degraded"
    wait_until(lambda: browser.get("/health").json()["status"] == expected, 5)
    report = browser.page.json() if browser.page is not None else {}
    assert browser.status == (503 if service == "oidc" else 200)
    rows = {row["name"]: row for row in report["services"]}
    assert rows[service]["status"] == expected
    assert rows[service]["details"]["reason"]
    assert browser.get("/readyz").json()["failing"] == (["oidc"] if service == "oidc" else [])

    suite.start_program(service)
    wait_until(lambda: browser.get(path).status_code == 200, 15)


def test_what_is_closed_to_the_world_answers_on_its_own_port(people: People, suite: Suite):
    browser = people.browser()
    assert browser.get("/metrics").status_code == 404
    for service in (*SERVICES, "front"):
        with urlopen(f"http://127.0.0.1:{suite.ports.web(service)}/metrics", timeout=5) as answer:
            assert b"id_" in answer.read()
    for worker in ("beat", *SERVICES):
        with urlopen(f"http://127.0.0.1:{suite.ports.worker(worker)}/healthz", timeout=5) as answer:
            assert answer.read() == b'{"status":"alive"}'


def test_health_names_no_host_library_user_or_error(people: People):
    browser = people.browser()
    wait_until(lambda: browser.get("/health").json()["status"] == "healthy", 20)
    for word in ("127.0.0.1", "localhost", "postgres", "redis", "Error", "gunicorn", "flask"):
        assert word not in browser.text


def _component(browser: HTTPBrowser, name: str) -> dict[str, str]:
    report = browser.get("/health").json()
    return next(row for row in report["components"] if row["name"] == name)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_postgresql_away_for_a_minute_while_everything_starts(
    people: People, suite: Suite, whole_again: Callable[[], None]
):
    """Every process starts, says that it is not ready, and serves once it is there: nobody starts them again."""
    member, server = people.member(), suite.data.postgres
    assert server
    server.stop()
    programs = [name for name in suite.programs() if name != "nginx"]
    for name in programs:
        suite.stop_program(name)
    for name in programs:
        suite.start_program(name)
    pids = {name: suite.pid(name) for name in programs}
    browser, ended = people.browser(), time.monotonic() + 60
    while time.monotonic() < ended:
        for path, status in (("/healthz", 200), ("/readyz", 503), ("/robots.txt", 200)):
            assert browser.get(path).status_code == status, path
        page = browser.get("/login")
        assert page.status_code == 200 or (page.status_code == 503 and page.headers["Retry-After"])
        time.sleep(2)
    server.start()
    wait_until(lambda: browser.get("/health").json()["status"] == "healthy", 60)
    assert {name: suite.pid(name) for name in programs} == pids
    assert member.browser.get("/account", follow=True).status_code == 200
    assert people.member().browser.get("/account").status_code == 200
