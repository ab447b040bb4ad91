"""The whole suite behind nginx while people sign in, apps fetch and refresh tokens, and ask who somebody is."""

import json
import os
import secrets
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.suite import Ports, Suite
from tests.bench import load
from tests.bench.conftest import ALLOWANCES
from tests.bench.journey import APPS, PASSWORD, QUESTIONS, REDIRECT_URI, REFRESHES, App, Notes, visits
from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, ROOT, bare_environ, descendants

SECONDS = float(os.environ.get("LOAD_SECONDS") or 60)
CONNECTIONS = int(os.environ.get("LOAD_CONNECTIONS") or 16)
PEOPLE = 200
MOST_GROWTH_MB = 8.0

MAKE_PEOPLE = """
import sys
from services.account import create_app
from services.account.extensions import db
from services.account.flows.passwords import passwords
from services.account.flows.users import create_user

app = create_app()
with app.app_context():
    hashed = passwords().hash(sys.argv[1])
    for email in sys.argv[2:]:
        create_user(email=email, name="Ada Lovelace", is_email_verified=True, hashed_password=hashed)
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """As on Kubernetes: what stands before nginx says from which address somebody comes."""
    ports = Ports.free()
    environ = bare_environ() | dict.fromkeys(ALLOWANCES, "100000000 per minute")
    environ |= {
        "PUBLIC_URL": f"http://localhost:{ports.http}",
        "TRUSTED_PROXY_HOPS": "2",
        "ADMIN_EMAIL": ADMIN_EMAIL,
        "ADMIN_PASSWORD": ADMIN_PASSWORD,
    }
    with Suite(tmp_path_factory.mktemp("load"), ports, environ) as running:
        yield running


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_people_and_apps_at_once(suite: Suite) -> None:
    people = [f"ada-{secrets.token_hex(6)}@people.test" for _ in range(PEOPLE)]
    _python(suite, MAKE_PEOPLE, PASSWORD, *people)
    app = _client(suite)

    def run(seconds: float) -> tuple[Notes, float]:
        notes = Notes()
        works = [
            visits(origin=suite.environ["PUBLIC_URL"], app=app, people=people, number=number, notes=notes)
            for number in range(CONNECTIONS)
        ]
        result = load.run(suite.ports.http, works, seconds=seconds)
        return notes, result.lasted_s

    run(SECONDS / 4)  # what grows at first: pools, caches, connections
    before = _memory(suite)
    notes, lasted_s = run(SECONDS)
    after = _memory(suite)
    _report(notes, lasted_s)
    for program, mb in after.items():
        print(f"{program:22} {mb:6.1f} MB PSS ({mb - before[program]:+.1f})")
    assert notes.errors == []
    assert max(after[program] - before[program] for program in after) <= MOST_GROWTH_MB


def _report(notes: Notes, lasted_s: float) -> None:
    count = sum(len(took) for took in notes.took.values())
    print(
        f"\n{CONNECTIONS} connections, {lasted_s:.0f} s; after a sign-in {APPS} apps, in each {REFRESHES} refreshes"
        f" with {QUESTIONS} questions each: {count / lasted_s:.0f} requests a second, {len(notes.errors)} errors"
    )
    everything = [moment for took in notes.took.values() for moment in took]
    for kind, took in [*notes.took.items(), ("all", everything)]:
        cuts = statistics.quantiles([moment * 1000 for moment in took], n=100)
        print(
            f"{kind:13} {len(took) / lasted_s:7.1f}/s   p50 {cuts[49]:7.1f}   p95 {cuts[94]:7.1f}"
            f"   p99 {cuts[98]:7.1f} ms"
        )


def _memory(suite: Suite) -> dict[str, float]:
    """PSS of each program with everything below it, MB."""
    found = {}
    for program in suite.programs():
        pids = [suite.pid(program), *descendants(suite.pid(program))]
        rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
        found[program] = sum(int(text.split("\nPss:")[1].split()[0]) for text in rollups) / 1024
    return found


def _client(suite: Suite) -> App:
    command = ["flask", "--app", "services.oidc", "clients", "create", "--name", "Load", "--redirect-uri"]
    command += [
        REDIRECT_URI,
        "--grant",
        "authorization_code",
        "--grant",
        "refresh_token",
        "--first-party",
        "--json",
    ]
    made = json.loads(_run(suite, [sys.executable, "-m", *command]))
    return App(made["client_id"], made["client_secret"])


def _python(suite: Suite, program: str, *arguments: str) -> None:
    _run(suite, [sys.executable, "-c", program, *arguments])


def _run(suite: Suite, command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, env=suite.environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
