"""Tables of the runbook that the code could contradict: what runs by the clock, and the connection budget."""

import re

import pytest
import yaml

from gateway.routes import SERVICES
from gateway.schedule import SCHEDULE
from libs.messaging.worker import CONCURRENCY
from libs.settings import ServiceSettings
from tests.deployment.manifests import K8S, components, named, read
from tests.runbook.document import DOCUMENT
from tests.running import ROOT

SUPERUSERS = 3
OURS = 20
"""Connections kept free: PostgreSQL's own reserve, and what migrations, commands and backups open."""


def table_under(heading: str) -> list[list[str]]:
    """The rows below the header of the last table under a heading."""
    text = re.search(rf"^#+ {heading}$(.*?)(?=^#|\Z)", DOCUMENT.read_text(), re.M | re.S)
    assert text, heading
    rows = [line.strip("| ").split(" | ") for line in text[1].splitlines() if line.startswith("|")]
    return rows[2:]


# -- what runs by the clock --------------------------------------------------------------------------------------


def in_words(when: str | int) -> str:
    if isinstance(when, int):
        return f"every {when} s"
    minute, hour, *days = when.split()
    assert days == ["*", "*", "*"], when
    if minute == "*":
        return "every minute"
    if minute.startswith("*/"):
        return f"every {minute[2:]} min"
    return f"hourly at :{minute:0>2}" if hour == "*" else f"daily at {hour:0>2}:{minute:0>2}"


def rows_of_schedule() -> list[str]:
    """One row a task; those that every service has are one row together."""
    rows: dict[str, str] = {}
    for entry in SCHEDULE:
        service, _, name = entry.task.partition(".")
        everybody = {found.task for found in SCHEDULE if found.task.endswith(f".{name}")}
        task = f"SERVICE.{name}" if len(everybody) == len(SERVICES) else entry.task
        assert entry.queue == service
        rows[task] = f"| `{task}` | {in_words(entry.when)} | {entry.why} |"
    return list(rows.values())


def test_every_scheduled_task_is_in_the_runbook_with_its_time_and_why() -> None:
    wanted = rows_of_schedule()
    printed = [f"| {' | '.join(row)} |" for row in table_under("Appendix: what runs by the clock")]
    assert printed == wanted, "The table has to be:\n" + "\n".join(wanted)


# -- the connection budget ---------------------------------------------------------------------------------------


def default(name: str) -> int:
    return int(
        next(field.default for field in ServiceSettings.__dataclass_fields__.values() if field.name == name)
    )  # type: ignore[arg-type]


def web_processes() -> int:
    found = re.search(r'"WEB_CONCURRENCY"\) or (\d+)', (ROOT / "gunicorn.conf.py").read_text())
    assert found
    return int(found[1])


def processes(pods: int) -> int:
    """With a database connection: of web pods and of workers, in all services."""
    return len(SERVICES) * pods * (web_processes() + 1)


def connections_at_most(pods: int) -> int:
    return processes(pods) * (default("DB_POOL_SIZE") + default("DB_MAX_OVERFLOW"))


def max_connections(pods: int) -> int:
    """During a rollout there is a pod more of each Deployment."""
    return connections_at_most(pods + 1) + SUPERUSERS + OURS


def test_the_connection_budget_is_what_the_defaults_make_it() -> None:
    rows = [[int(cell) for cell in row] for row in table_under("Connection budget")]
    assert rows == [
        [pods, processes(pods) * default("DB_POOL_SIZE"), connections_at_most(pods), max_connections(pods)]
        for pods in (2, 6, 10)
    ]


def test_the_budgets_sentences_name_the_defaults() -> None:
    text = " ".join(DOCUMENT.read_text().split())
    for name in ("DB_POOL_SIZE", "DB_MAX_OVERFLOW"):
        assert f"`{name}` ({default(name)})" in text
    assert f"`WEB_CONCURRENCY` ({web_processes()})" in text
    assert f"one process that runs {CONCURRENCY} tasks side by side" in text
    assert f"{SUPERUSERS} connections for superusers and {OURS} for" in text
    # Beside its tasks a worker relays events, shows its life, answers a scrape and looks after itself.
    assert default("DB_POOL_SIZE") + default("DB_MAX_OVERFLOW") >= CONCURRENCY + 4


@pytest.mark.parametrize("overlay", ["production", "staging"])
def test_no_overlay_changes_what_the_budget_counts_with(overlay: str) -> None:
    [settings] = read(K8S / f"overlays/{overlay}/settings/settings.yaml")
    assert not {"DB_POOL_SIZE", "DB_MAX_OVERFLOW", "WEB_CONCURRENCY"} & set(settings["data"])


def test_a_rollout_adds_one_pod_and_autoscalers_stop_where_the_text_says() -> None:
    for name, scaler in named("HorizontalPodAutoscaler").items():
        assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 6), name
        rolling = named("Deployment")[name]["spec"]["strategy"]["rollingUpdate"]
        assert rolling == {"maxUnavailable": 0, "maxSurge": 1}, name


def test_our_own_postgresql_has_room_for_what_the_autoscalers_make() -> None:
    [postgres] = components()["postgres"]["containers"]
    [most] = [int(word.partition("=")[2]) for word in postgres["args"] if word.startswith("max_connections=")]
    assert most >= max_connections(6)
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["postgres"]
    [most] = [
        int(word.partition("=")[2]) for word in compose["command"] if word.startswith("max_connections=")
    ]
    assert most >= connections_at_most(1) + SUPERUSERS + OURS
