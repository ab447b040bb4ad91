"""Prometheus beside the running suite: it finds every process, and everything that the dashboard asks for."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.servers import free_port
from gateway.suite import SERVICES, Suite
from tests.monitoring.test_rules import FOLDER, program
from tests.running import wait_until
from tests.suite.people import People

pytestmark = pytest.mark.soak

WITHOUT_AN_EVENT = {
    "Share that succeeds",
    "Share that fails",
    "Tasks that fail",
    "Cleanups",
    "Last good backup",
    "Rows under earlier keys",
    "Rows that no key opens",
}
"""Panels that stay empty where no app asks for a token, no task fails, no cleanup was due, there is no backup, and
for a quarter of an hour nobody has looked at sealed rows."""


class Prometheus:
    """Debian's, on the suite's ports; it looks six times as often as in earnest."""

    def __init__(self, suite: Suite, folder: Path):
        config = (FOLDER / "suite.yml").read_text()
        config = re.sub(
            r"127\.0\.0\.1:(\d{4})\b", lambda found: f"127.0.0.1:{int(found[1]) + suite.ports.offset}", config
        )
        config = re.sub(r"_(interval|timeout): \d+s", r"_\1: 5s", config)
        (folder / "suite.yml").write_text(config)
        (folder / "rules.yml").write_text((FOLDER / "rules.yml").read_text().replace("30s", "5s"))
        shutil.copy(FOLDER / "alerts.yml", folder)
        self.origin = f"http://127.0.0.1:{free_port()}"
        self.log = (folder / "log").open("w")
        command = [program("PROMETHEUS", "prometheus"), f"--config.file={folder}/suite.yml"]
        command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address={self.origin[7:]}"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def ask(self, expression: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.origin}/api/v1/query", params={"query": expression}, timeout=60)
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self.origin}/-/ready", timeout=60).ok
        except requests.RequestException:
            return False

    def alerts(self) -> set[tuple[str, str]]:
        """Those that fire or are about to, with what they are about."""
        return {
            (one["metric"]["alertname"], one["metric"].get("service") or one["metric"].get("component", ""))
            for one in self.ask("ALERTS")
        }

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


@pytest.fixture
def prometheus(suite: Suite, tmp_path: Path) -> Iterator[Prometheus]:
    prometheus = Prometheus(suite, tmp_path)
    try:
        wait_until(prometheus.is_ready)
        yield prometheus
    finally:
        prometheus.stop()


def test_it_sees_all_of_the_suite_and_who_is_missing(
    suite: Suite, people: People, prometheus: Prometheus, whole_again: Callable[[], None]
) -> None:
    targets = len(SERVICES) * 2 + 2
    wait_until(lambda: len(prometheus.ask("up == 1")) == targets)

    def people_come() -> bool:
        people.browser().get("/login")
        return prometheus.ask("id_http_request_duration_p99_seconds") != []

    wait_until(people_come)
    wait_until(lambda: prometheus.ask('sum(id_tasks_done_total{outcome="success"}) > 20') != [])

    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        asked = [target["expr"].replace("$__rate_interval", "1m") for target in panel.get("targets", [])]
        found = [prometheus.ask(expression) for expression in asked]
        assert all(found) or panel["title"] in WITHOUT_AN_EVENT, panel["title"]
    components = {one["metric"]["component"] for one in prometheus.ask("id_health_component_status")}
    assert {"database", "cache", "oidc_keys", "email"} <= components
    jobs = {one["metric"]["job"] for one in prometheus.ask("id_cleanup_last_success_seconds")}
    assert {"account.clear_expired_sessions", "oidc.clear_expired"} <= jobs
    assert {name for name, _ in prometheus.alerts()} <= {"IdBackupMissing"}

    suite.stop_program("account-worker")
    wait_until(
        lambda: {("IdServiceDown", "account-worker"), ("IdWorkerSilent", "account")} <= prometheus.alerts(),
        120,
    )
    suite.stop_program("beat")
    wait_until(lambda: ("IdBeatSilent", "") in prometheus.alerts(), 120)
    whole_again()
    wait_until(lambda: {name for name, _ in prometheus.alerts()} <= {"IdBackupMissing"}, 120)
