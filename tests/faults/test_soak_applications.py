"""A thousand people join while workers die and Redis restarts: nobody is lost, and nobody is written to twice."""

import itertools
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.suite import SERVICES, Ports, Suite
from tests.pages import HTTPBrowser
from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, ROOT, bare_environ, link_in, wait_until
from tests.sink import Received, Sink

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

PEOPLE = int(os.environ.get("SOAK_PEOPLE") or 1000)
ENROLLED = 50
REVIEWERS = 10
PASSWORD = "five green turtles swim at night"
KILLED_EVERY_S = 2.0
LONGEST_503_S = 3.5
"""A 503 is prompt."""
COMES_BACK_FOR_S = 60.0
"""How long somebody who is told to come back comes back."""
PATIENCE_S = 1200.0
"""For each step, on a machine that is busy with other things; two cores to itself need minutes for the whole."""


class Crowd:
    """Connections of many people to one front door, and what it answered them."""

    def __init__(self, origin: str):
        self.origin = origin
        self.adapter = requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=64)
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self._numbers = itertools.count()

    def browser(self) -> "Visitor":
        """Of somebody new, in a network of their own: of one network only so many may apply in a day."""
        number = next(self._numbers)
        return Visitor(self, f"{20 + number // 65536}.{number // 256 % 256}.{number % 256}.7")

    def note(self, answer: Any, seconds: float) -> None:
        self.statuses[answer.status_code] += 1
        if answer.status_code == 503:
            is_prompt = seconds < LONGEST_503_S and answer.headers.get("Retry-After", "").isdecimal()
            if is_prompt:
                return
        elif answer.status_code < 500:
            return
        self.wrong.append(
            f"{answer.status_code} after {seconds:.1f} s at {answer.request.url.partition('?')[0]}"
        )


class Visitor(HTTPBrowser):
    """A browser that repeats what was answered by a 503, as it is told."""

    def __init__(self, crowd: Crowd, address: str):
        super().__init__(crowd.origin)
        self.crowd = crowd
        self.http.trust_env = False
        self.http.mount("http://", crowd.adapter)
        self.http.headers["X-Forwarded-For"] = address

    def open(self, path: str, *, follow: bool = False, **options: Any) -> Any:
        deadline = time.monotonic() + COMES_BACK_FOR_S
        while True:
            began = time.monotonic()
            answer = super().open(path, **options)
            self.crowd.note(answer, time.monotonic() - began)
            if answer.status_code != 503 or time.monotonic() > deadline:
                break
            time.sleep(min(float(answer.headers["Retry-After"]), 2.0))
        if follow and answer.status_code in (301, 302, 303, 307) and self._is_ours(self.location):
            return self.open(self.location, follow=True)
        return answer


class Post:
    """What came for whom, by Message-ID; each mail is opened once."""

    def __init__(self, sink: Sink):
        self.sink = sink
        self._seen = 0
        self._lock = threading.Lock()
        self._arrived: dict[str, dict[str, Received]] = defaultdict(dict)
        self.copies: list[tuple[str, str, str]] = []
        """Address, subject and Message-ID of each delivery."""

    def to(self, address: str) -> list[Received]:
        """The different mails for an address, oldest first."""
        with self._lock:
            for mail in self.sink.mails[self._seen :]:
                self._seen += 1
                self._arrived[mail.recipients[0]].setdefault(mail.message_id, mail)
                self.copies.append((mail.recipients[0], str(mail.message["Subject"]), mail.message_id))
            return list(self._arrived[address].values())

    def link(self, address: str, path: str) -> str | None:
        """The address of this path in the newest mail that has one."""
        links = (link_in(mail.text) for mail in reversed(self.to(address)))
        return next((link for link in links if f"{path}?token=" in link), None)


class Mischief:
    """Kills a worker every KILLED_EVERY_S, each in its turn, and restarts Redis when it is asked to."""

    def __init__(self, suite: Suite):
        self.suite = suite
        self.killed: Counter[str] = Counter()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Mischief":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        for service in itertools.cycle(SERVICES):
            if self._is_over.wait(KILLED_EVERY_S):
                return
            program = f"{service}-worker"
            if _is_at_work(self.suite.ports.worker(service)):
                self.suite.signal(program, signal.SIGKILL)
                self.killed[program] += 1

    def restart_redis(self, *, kills: bool) -> None:
        server = self.suite.data.redis
        assert server
        assert server.process
        if kills:
            server.process.kill()
            server.process.wait()
        else:
            server.stop()
        time.sleep(3)
        server.start()


def _is_at_work(port: int) -> bool:
    try:
        return bool(requests.get(f"http://127.0.0.1:{port}/healthz", timeout=1).ok)
    except requests.RequestException:
        return False


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def suite(tmp_path: Path, sink: Sink) -> Iterator[Suite]:
    """A suite whose front door stands behind another proxy, which says where people come from."""
    if not (
        os.environ.get("NGINX_PROGRAM") or shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    ):
        assert not os.environ.get("REQUIRE_EVERYTHING"), "nginx is missing: apt-get install nginx"
        pytest.skip("not run: nginx is missing (apt-get install nginx)")
    ports = Ports.free()
    environ = bare_environ() | {
        "PUBLIC_URL": f"http://localhost:{ports.http}",
        "TRUSTED_PROXY_HOPS": "2",
        "SMTP_URL": sink.url,
        "MAIL_FROM": "UpdSpace ID <id@updspace.test>",
        "ADMIN_EMAIL": ADMIN_EMAIL,
        "ADMIN_PASSWORD": ADMIN_PASSWORD,
        "ARGON2_MEMORY_KIB": "1024",
        "ARGON2_TIME_COST": "1",
    }
    with Suite(tmp_path / "suite", ports, environ) as running:
        yield running


def command(suite: Suite, service: str, *arguments: str, typed: str = "") -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", f"services.{service}", *arguments, "--json"],
        cwd=ROOT,
        env=suite.environ,
        input=typed,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def side_by_side(work: Callable[[Any], object], over: Iterable[Any], *, hands: int = 16) -> None:
    with ThreadPoolExecutor(hands) as pool:
        for done in [pool.submit(work, one) for one in over]:
            done.result()


def apply(crowd: Crowd, email: str) -> None:
    browser = crowd.browser()
    browser.fill("/apply", email=email, name="Ada Lovelace", why="To meet people who build things.")
    assert browser.status == 303, browser.text


def confirm(crowd: Crowd, post: Post, email: str) -> None:
    """Press the button behind the mailed link."""
    browser = crowd.browser()
    browser.fill(post.link(email, "/apply/confirm"), button="confirm", follow=True)
    assert browser.status == 200, browser.text


def as_mail_comes(post: Post, path: str, people: list[str], work: Callable[[str], object]) -> None:
    """Do it for each of them as soon as they have the link of this path."""
    waiting, deadline = set(people), time.monotonic() + PATIENCE_S
    while waiting:
        here = [email for email in waiting if post.link(email, path)]
        side_by_side(work, here)
        waiting -= set(here)
        assert time.monotonic() < deadline, f"{len(waiting)} people have no link to {path}"
        time.sleep(1)


def reviewer(suite: Suite, crowd: Crowd, number: int) -> Visitor:
    email = f"reviewer-{number}@people.test"
    command(
        suite, "account", "users", "create", email, "--role", "reviewer", "--verified", "--password-stdin",
        typed=PASSWORD,
    )  # fmt: skip
    browser = crowd.browser()
    browser.fill("/login", email=email, password=PASSWORD, follow=True)
    assert browser.cookie("id_session"), browser.text
    return browser


def review(browser: Visitor, is_over: threading.Event, done: "queue.Queue[str]") -> None:
    """Approve whoever stands in the queue with a proven address; of two reviewers at one, one is told."""
    while not is_over.is_set():
        browser.get("/admin/applications?state=confirmed", follow=True)
        assert browser.status == 200, f"{browser.status} {browser.url}"
        paths = list(dict.fromkeys(re.findall(r"/admin/applications/[0-9a-f-]{36}", browser.text)))
        if not paths:
            time.sleep(2)
            continue
        # Ten people who all began at the top would be in each other's way.
        start = hash(browser) % len(paths)
        for path in (paths[start:] + paths[:start])[:5]:
            browser.get(path, follow=True)
            if 'id="approve"' not in browser.text:
                continue  # somebody else was faster
            browser.fill(button="approve")
            assert browser.status in (303, 409), browser.text
            if browser.status == 303:
                done.put(path)


def open_enrolment(crowd: Crowd, post: Post, email: str) -> Visitor:
    browser = crowd.browser()
    browser.fill(post.link(email, "/activate"), button="activate", follow=True)
    assert (browser.status, browser.url) == (200, f"{crowd.origin}/enrol"), browser.text
    browser.find_form(None, {"password": PASSWORD})
    return browser


def test_a_thousand_people_join_while_workers_are_killed_and_redis_restarts(suite: Suite, sink: Sink) -> None:
    crowd, post = Crowd(suite.environ["PUBLIC_URL"]), Post(sink)
    people = [f"person-{number}@people.test" for number in range(PEOPLE)]
    reviewers = [reviewer(suite, crowd, number) for number in range(REVIEWERS)]
    is_over, approved = threading.Event(), queue.Queue[str]()
    began = time.monotonic()

    def progress(what: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {what}; {dict(crowd.statuses)}", flush=True)

    with Mischief(suite) as mischief, ThreadPoolExecutor(REVIEWERS + 2) as desk:
        reviewing = [desk.submit(review, browser, is_over, approved) for browser in reviewers]
        applying = desk.submit(side_by_side, lambda email: apply(crowd, email), people, hands=8)
        confirming = desk.submit(
            as_mail_comes, post, "/apply/confirm", people, lambda email: confirm(crowd, post, email)
        )
        try:
            wait_until(lambda: len(sink.mails) > PEOPLE // 4 or confirming.done(), PATIENCE_S)
            mischief.restart_redis(kills=False)
            progress("Redis was stopped and is back")
            wait_until(lambda: len(sink.mails) > PEOPLE or confirming.done(), PATIENCE_S)
            mischief.restart_redis(kills=True)
            progress("Redis was killed and is back")
            applying.result()
            progress("all have applied")
            confirming.result()
            progress("all have confirmed")
            wait_until(lambda: approved.qsize() >= PEOPLE or any(one.done() for one in reviewing), PATIENCE_S)
        finally:
            is_over.set()
        for one in reviewing:
            one.result()
    progress(f"all are approved; killed: {dict(mischief.killed)}")

    as_mail_comes(post, "/activate", people, lambda email: open_enrolment(crowd, post, email))
    progress("all have their links, and every link opens")
    side_by_side(lambda email: enrol(crowd, post, email), people[:: max(PEOPLE // ENROLLED, 1)], hands=8)
    progress("fifty have enrolled")

    assert not crowd.wrong, Counter(crowd.wrong)
    assert sum(mischief.killed.values()) > 20
    assert approved.qsize() == PEOPLE, "of two reviewers at one application one wins"
    by_subject: dict[tuple[str, str], set[str]] = defaultdict(set)
    for address, subject, message_id in post.copies:
        by_subject[address, subject].add(message_id)
    assert all(len(ids) == 1 for ids in by_subject.values()), "a second mail may only be the same one again"
    nothing_is_left(suite)


def enrol(crowd: Crowd, post: Post, email: str) -> None:
    browser = open_enrolment(crowd, post, email)
    browser.fill(password=PASSWORD, follow=True)
    assert browser.status == 200, browser.text
    assert email in browser.get("/account", follow=True).text


def nothing_is_left(suite: Suite) -> None:
    """Nothing parked, nothing failed; what was on its way arrives."""

    def waits() -> list[Any]:
        return [row for service in SERVICES for row in command(suite, service, "events", "list", "--pending")]

    wait_until(lambda: not waits(), PATIENCE_S)
    for service in SERVICES:
        assert command(suite, service, "events", "list", "--parked") == []
    assert command(suite, "notification", "messages", "list", "--failed") == []
