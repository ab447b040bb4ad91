"""The issuer, what it is compared with, and a table of what was measured."""

import base64
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
import sqlalchemy as sa
from flask import Flask

from gateway.servers import free_port
from libs.people import sessions
from libs.service import parts_of
from tests.bench import load
from tests.bench.load import Result, Work
from tests.bench.serving import ROOT, SERVER_CORE, Worker, everything_else_on_the_other_core
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import REDIRECT_URI, SCOPE, challenge_of
from tests.pages import ORIGIN, Browser

ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 5)
SECONDS = float(os.environ.get("BENCH_SECONDS") or 2)
CONNECTIONS = 16
PEOPLE = 8
TOKENS = 200
"""So many different ones are asked about, one after the other."""
CLIENT_SCOPE = "users:read"
"""What clients ask for by themselves."""
VERIFIER = secrets.token_urlsafe(48)
ALLOWANCES = ("AUTHORIZATION_REQUESTS_PER_ADDRESS", "TOKEN_REQUESTS_PER_ADDRESS", "TOKEN_REQUESTS_PER_CLIENT",
              "USERINFO_REQUESTS_PER_ADDRESS", "USERINFO_REQUESTS_PER_PERSON")  # fmt: skip
"""Counted as always; nobody who measures is refused."""


@dataclass
class Issuer:
    """A worker with a client of its own, and browsers on which people are signed in."""

    worker: Worker
    client_id: str
    secret: str
    cookies: list[str]

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.client_id}:{self.secret}".encode()).decode()

    def client_credentials(self, **form: str) -> bytes:
        form = {"grant_type": "client_credentials", "scope": CLIENT_SCOPE, **form}
        return load.post("/oauth2/token", form, Authorization=self.basic)

    def introspection(self) -> list[bytes]:
        """Of many tokens, as the APIs of many people ask."""
        return [
            load.post("/oauth2/introspect", {"token": token}, Authorization=self.basic)
            for token in self.access_tokens(TOKENS)
        ]

    def userinfo(self) -> list[bytes]:
        return [
            load.get("/oauth2/userinfo", Authorization=f"Bearer {token}")
            for token in self.access_tokens(TOKENS)
        ]

    def code_flow(self, cookie: str, kept: list[str] | None = None) -> Work:
        """What an app does to sign a person in who is signed in with us: the way to its redirect URI, and the token."""
        asked = {
            "client_id": self.client_id,
            "redirect_uri": REDIRECT_URI,
            "response_type": "code",
            "scope": SCOPE,
            "state": "a state",
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        }

        def converse() -> load.Conversation:
            location = "/oauth2/authorize?" + urlencode({**asked, "nonce": secrets.token_hex(8)})
            while not location.startswith(REDIRECT_URI):
                answer = yield load.get(location, Cookie=cookie)
                assert answer.status in (302, 303), answer
                location = answer.header("Location").removeprefix(ORIGIN)
            form = {
                "grant_type": "authorization_code",
                "code": parse_qs(urlsplit(location).query)["code"][0],
                "redirect_uri": REDIRECT_URI,
                "code_verifier": VERIFIER,
            }
            answer = yield load.post("/oauth2/token", form, Authorization=self.basic)
            assert answer.status == 200, answer
            assert b'"id_token"' in answer.body
            if kept is not None:
                kept.append(answer.body.partition(b'"access_token": "')[2].partition(b'"')[0].decode())

        return converse

    def access_tokens(self, count: int) -> list[str]:
        """So many tokens of the people who are signed in, for our client."""
        kept: list[str] = []
        while len(kept) < count:
            load.run(self.worker.port, [self.code_flow(cookie, kept) for cookie in self.cookies], seconds=0)
        return kept[:count]


@dataclass
class Bench:
    """What runs, and what came of it."""

    bare: Worker
    ours: Issuer
    plain: Issuer
    rows: list[str] = field(default_factory=list)

    def compare(
        self,
        candidates: Mapping[str, tuple[Worker, Sequence[Work]]],
        *,
        after_each: Callable[[], None] = lambda: None,
    ) -> dict[str, Result]:
        """The medians of rounds in turn, so that whatever else the machine does falls on all alike.

        `after_each` round something else may be measured while the workers rest.
        """
        found: dict[str, list[Result]] = {name: [] for name in candidates}
        cpu_us: dict[str, list[float]] = {name: [] for name in candidates}
        for number in range(ROUNDS + 1):
            for name, (worker, works) in candidates.items():
                cpu_s = worker.cpu_s()
                result = load.run(worker.port, works, seconds=SECONDS if number else 0.5)
                if number:  # the first only warms up
                    found[name].append(result)
                    cpu_us[name].append((worker.cpu_s() - cpu_s) / result.count * 1e6)
            after_each()
        medians = {
            name: Result(
                count=sum(result.count for result in results),
                rate=statistics.median(result.rate for result in results),
                p50_ms=statistics.median(result.p50_ms for result in results),
            )
            for name, results in found.items()
        }
        for name, result in medians.items():
            cpu = statistics.median(cpu_us[name])
            print(f"{name}: {result.rate:.0f}/s, p50 {result.p50_ms:.2f} ms, {cpu:.0f} us of the core each")
        return medians

    def sixteen(self, worker: Worker, *requests: bytes) -> tuple[Worker, Sequence[Work]]:
        """The same request over and over, or several in turn."""
        return worker, [load.repeated(*requests)] * CONNECTIONS

    @property
    def reference(self) -> tuple[Worker, Sequence[Work]]:
        """A constant view in our own app: all that every request of it goes through, and no work."""
        return self.sixteen(self.ours.worker, load.get("/constant"))

    def note(self, what: str, figure: float, unit: str, ratio: float, of: str, target: float) -> None:
        """A row of the table in README.md."""
        number = f"{figure:.1f}" if figure < 100 else f"{figure:.0f}"
        self.rows.append(f"| {what} | {number} {unit} | {ratio:.2f} of {of} | {target} |")


@pytest.fixture(scope="package")
def bench(
    oidc_app: Flask, servers: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """Everything runs, each worker on the one core, the rest on the other."""
    folder = tmp_path_factory.mktemp("bench")
    plain_url = _new_database(servers["DATABASE"], f"bench_{os.getpid()}_{secrets.token_hex(3)}")
    environ = dict.fromkeys(ALLOWANCES, "100000000 per minute")
    environ |= {"PLAIN_DATABASE_URL": plain_url, "AUTHLIB_INSECURE_TRANSPORT": "1"}
    workers = [
        Worker(app, folder, environ)
        for app in (
            "tests.bench.bare:app",
            "tests.bench.issuer:create_app()",
            "tests.bench.plain_authlib:create_app()",
        )
    ]
    with everything_else_on_the_other_core(servers["DATABASE"], servers["REDIS"]):
        plain_client = _seed_plain(plain_url)
        try:
            bare, ours, plain = (worker.start() for worker in workers)
            bench = Bench(bare, _issuer(oidc_app, ours), _plain(plain, plain_client))
            print(f"\nThe load generator alone: {_ceiling():.0f}/s against a server that does nothing")
            yield bench
            print("", *bench.rows, sep="\n")
        finally:
            for worker in workers:
                worker.stop()
    _drop_database(servers["DATABASE"], plain_url)


def _issuer(app: Flask, worker: Worker) -> Issuer:
    from services.oidc.flows.clients import create_client

    with app.app_context():
        made = create_client(
            name="Bench",
            redirect_uris=[REDIRECT_URI],
            scopes=[*SCOPE.split(), CLIENT_SCOPE],
            grants=["authorization_code", "client_credentials"],
            is_first_party=True,
        )
    return Issuer(worker, made.client.client_id, made.secret or "", [_signed_in(app) for _ in range(PEOPLE)])


def _signed_in(app: Flask) -> str:
    browser = Browser(app)
    sign_in_copy(browser, app)
    name = sessions.cookie_name(parts_of(app).settings)
    return f"{name}={browser.cookie(name)}"


def _seed_plain(url: str) -> tuple[str, str]:
    """In a process of its own: a second Flask-SQLAlchemy needs no place in this one."""
    code = (
        "from tests.bench.plain_authlib import create_app, seed\n"
        f"with create_app().app_context(): print(*seed(redirect_uri={REDIRECT_URI!r}, people={PEOPLE}))"
    )
    environ = os.environ | {"PLAIN_DATABASE_URL": url}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    client_id, secret = done.stdout.split()
    return client_id, secret


def _plain(worker: Worker, client: tuple[str, str]) -> Issuer:
    cookies = []
    for number in range(1, PEOPLE + 1):
        answer = requests.get(f"http://127.0.0.1:{worker.port}/login/{number}", timeout=10)
        cookies.append(f"session={answer.cookies['session']}")
    return Issuer(worker, *client, cookies)


def _ceiling() -> float:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.nothing", str(port)],
        cwd=ROOT,
        preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
    )
    try:
        time.sleep(1)
        return load.run(port, [load.repeated(load.get("/constant"))] * CONNECTIONS, seconds=SECONDS).rate
    finally:
        process.kill()
        process.wait()


def _engine(url: str) -> sa.Engine:
    url = url.replace("postgresql://", "postgresql+psycopg2://", 1)
    return sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)


def _new_database(admin_url: str, name: str) -> str:
    engine: Any = _engine(admin_url)
    with engine.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    return str(engine.url.set(database=name).render_as_string(hide_password=False))


def _drop_database(admin_url: str, url: str) -> None:
    with _engine(admin_url).connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{urlsplit(url).path[1:]}" WITH (FORCE)'))
