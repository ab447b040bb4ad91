"""The suite as processes of its own behind nginx, over https, and people who use it."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest

from gateway.suite import Ports, Suite
from tests.collector import Collector
from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, bare_environ, wait_for_reviewer
from tests.suite.people import People


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the suite's traces go."""
    with Collector() as running:
        yield running


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Suite]:
    """PostgreSQL, Redis, nginx, and a web and a worker process per service; all of it traced."""
    if not (
        os.environ.get("NGINX_PROGRAM") or shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    ):
        assert not os.environ.get("REQUIRE_EVERYTHING"), "nginx is missing: apt-get install nginx"
        pytest.skip("not run: nginx is missing (apt-get install nginx)")
    ports = Ports.free()
    folder = tmp_path_factory.mktemp("suite")
    environ = bare_environ() | {
        # Where the suite will keep its certificate: the demo is a client of it, too.
        "OUTBOUND_ALLOWED_HOSTS": "localhost",
        "OUTBOUND_CA_BUNDLE": str(folder / "tls" / "certificate.pem"),
        "PUBLIC_URL": f"https://localhost:{ports.https}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "1000",
        "ADMIN_EMAIL": ADMIN_EMAIL,
        "ADMIN_PASSWORD": ADMIN_PASSWORD,
    }
    with Suite(folder, ports, environ) as running:
        yield running


@pytest.fixture(scope="session")
def people(suite: Suite) -> People:
    """Who uses the suite: applicants, members, the administrator."""
    people = People(suite)
    wait_for_reviewer(people.browser())
    return people


@pytest.fixture
def whole_again(suite: Suite) -> Iterator[Callable[[], None]]:
    """After a test that broke something: every program runs, Redis answers, and the suite is ready."""

    def restore() -> None:
        for server in (suite.data.redis, suite.data.postgres):
            if server and not server.is_running:
                server.start()
        for program, state in suite.programs().items():
            if state not in ("RUNNING", "STARTING"):
                suite.start_program(program)
        assert suite.wait_until_ready(60)

    yield restore
    restore()
