"""Every series that rules, alerts, dashboard and runbook speak of is shown by the running code, with those labels."""

import json
import re
from collections.abc import Callable, Iterator

import pytest
import yaml
from flask import Flask

from gateway.routes import SERVICES
from libs.guard.secrets import rotation
from libs.observe.metrics import TASK_OUTCOMES, WORLD
from services.oidc.flows.keys import ensure_keys
from tests.monitoring.expositions import everything, of_web, read
from tests.monitoring.promql import grouped_by, selected
from tests.monitoring.test_rules import FOLDER, RUNBOOK, load, program, run

Shown = dict[str, dict[str, set[str]]]
"""By the name of a series its labels, and of each the values."""

FIXED = {
    "id_auth_login_attempts_total": set(),
    "id_auth_login_failure_total": set(),
    "id_auth_login_failure_reason_total": {"reason"},
    "id_oidc_token_issued_total": {"grant"},
    "id_oidc_token_failed_total": {"grant", "error"},
    "id_oidc_unknown_client_total": set(),
    "id_rate_limit_triggered_total": {"scope"},
    "id_http_request_duration_seconds_bucket": {"service", "method", "route", "status", "le"},
    "id_events_pending": {"service"},
    "id_events_oldest_seconds": {"service"},
    "id_events_parked": {"service"},
    "id_sealed_rows_left": {"service"},
    "id_sealed_rows_unopened": {"service"},
    "id_queue_depth": {"queue"},
    "id_email_sent_total": {"result"},
    "id_breaker_state": {"name"},
    "id_db_pool_connections": {"service", "state"},
    "id_cleanup_last_success_seconds": {"job"},
    "id_applications": {"state"},
}
"""The names that others rely on, with exactly these labels."""
OF_TARGETS = {"job", "component", "instance", "pod"}
"""The labels that the scrape configuration adds to every series."""
MOST_SERIES_PER_NAME = 400


@pytest.fixture(scope="module")
def shown(make_app: Callable[[str], Flask]) -> Shown:
    with make_app("oidc").app_context():
        ensure_keys()  # as whoever sets a suite up
        rotation.run()  # and as its worker does every quarter of an hour
    found: Shown = {}
    for series in everything([make_app(service) for service in SERVICES]):
        labels = found.setdefault(series.name, {})
        for label, value in series.labels:
            labels.setdefault(label, set()).add(value)
    return found


def recorded() -> dict[str, str]:
    return {rule["record"]: rule["expr"] for group in load("rules.yml")["groups"] for rule in group["rules"]}


def expressions() -> Iterator[tuple[str, str]]:
    """Where an expression stands, and the expression."""
    yield from recorded().items()
    for group in load("alerts.yml")["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"].replace("$__rate_interval", "5m")
    blocks = re.findall(r"^```promql\n(.*?)^```", RUNBOOK.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    for line in "".join(blocks).splitlines():
        if line and not line.startswith("#"):
            yield "runbook", line


def dashboard() -> dict:  # type: ignore[type-arg]
    return json.loads((FOLDER / "dashboard.json").read_text())


def labels_of(name: str, shown: Shown) -> set[str]:
    """Those of a series of ours, or of a recorded one: what it is summed by, or what its parts have."""
    if name == "up":
        return set()
    if name not in recorded():
        assert name in shown, f"nothing shows {name}"
        return set(shown[name])
    expression = recorded()[name]
    if "by (" in expression:
        return grouped_by(expression) - {"le"}
    if "sum(" in expression:
        return set()
    return set().union(*(labels_of(one.name, shown) for one in selected(expression)))


def test_every_fixed_metric_is_shown_from_the_start_with_its_labels(shown: Shown) -> None:
    assert {name: set(shown[name]) for name in FIXED} == FIXED
    assert {"mail", *SERVICES} == shown["id_queue_depth"]["queue"]
    assert set(WORLD) <= set(shown)


def test_counters_start_at_zero_for_whatever_can_be_counted(
    make_app: Callable[[str], Flask], shown: Shown
) -> None:
    assert {"login", "old_password", "mail_code", "register", "oidc_token", "oidc_userinfo"} <= shown[
        "id_rate_limit_triggered_total"
    ]["scope"]
    assert {"oidc_authorize", "device", "mail_feedback"} <= shown["id_rate_limit_triggered_total"]["scope"]
    assert shown["id_tasks_done_total"]["outcome"] == set(TASK_OUTCOMES)
    assert shown["id_oidc_token_issued_total"]["grant"] >= {
        "authorization_code",
        "refresh_token",
        "device_code",
    }
    pools = {
        (dict(one.labels)["state"], one.value)
        for one in of_web(make_app("account"))
        if one.name == "id_db_pool_connections"
    }
    assert {state for state, _ in pools} == {"in_use", "idle"}


def test_no_label_grows_with_people_or_clients(shown: Shown) -> None:
    for name, labels in shown.items():
        assert not set(labels) & {"sub", "user", "email", "ip", "client_id", "client", "path"}, name
        for label, values in labels.items():
            assert len(values) < MOST_SERIES_PER_NAME, (name, label)
            assert not any("@" in value or re.search(r"[0-9a-f]{16}", value) for value in values), (
                name,
                label,
            )


def test_every_expression_names_what_the_code_shows(shown: Shown) -> None:
    """The series, the labels by which they are chosen and summed, and the values that are written out."""
    for where, expression in expressions():
        chosen = selected(expression)
        assert chosen, where
        known = set().union(*(labels_of(one.name, shown) for one in chosen))
        for one in chosen:
            allowed = labels_of(one.name, shown) | OF_TARGETS
            for label, _, _ in one.matchers:
                assert label in allowed, f"{where}: {one.name} has no label {label}"
            for label, value in one.values():
                if one.name in shown and label in shown[one.name]:
                    assert value in shown[one.name][label] or label == "status", (
                        f"{where}: no {label}={value}"
                    )
        unknown = grouped_by(expression) - known - OF_TARGETS
        assert not unknown, f"{where}: no series in it has the labels {unknown}"


def test_the_words_of_alerts_and_panels_use_labels_that_their_expressions_have(shown: Shown) -> None:
    texts = [
        (rule["alert"], rule["expr"], re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        for group in load("alerts.yml")["groups"]
        for rule in group["rules"]
    ]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            texts.append(
                (panel["title"], target["expr"], re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            )
    for where, expression, labels in texts:
        left = grouped_by(expression) or set().union(
            *(labels_of(one.name, shown) for one in selected(expression))
        )
        assert set(labels) <= left, f"{where} has no label {set(labels) - left}"


@pytest.mark.parametrize("name", ["prometheus.yml", "suite.yml"])
def test_labels_of_ours_survive_the_scrape(shown: Shown, name: str) -> None:
    ours = set().union(*shown.values())
    assert ours & OF_TARGETS == {"job", "component"}
    assert all(job["honor_labels"] for job in load(name)["scrape_configs"])


def test_prometheus_can_read_every_expression_of_dashboard_and_runbook(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rules = [{"record": f"r{number}", "expr": found} for number, (_, found) in enumerate(expressions())]
    (tmp_path / "all.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    run(program("PROMTOOL", "prometheus"), "check", "rules", tmp_path / "all.yml")


def test_the_dashboard_shows_what_an_operator_watches() -> None:
    board = dashboard()
    titles = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert titles == [
        "How it is",
        "Signing in",
        "Tokens",
        "Requests",
        "Queues, events, breakers",
        "Mail",
        "Databases",
        "Workers, beat, backups",
    ]
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len(set(numbers))
    places = [tuple(panel["gridPos"][side] for side in "xywh") for panel in board["panels"]]
    for first, (x, y, w, h) in enumerate(places):
        assert x + w <= 24
        for ax, ay, aw, ah in places[first + 1 :]:
            assert ax >= x + w or x >= ax + aw or ay >= y + h or y >= ay + ah, "two panels lie on one another"
    for panel in board["panels"]:
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["targets"]


def test_a_series_that_stands_twice_is_noticed() -> None:
    with pytest.raises(AssertionError, match="twice"):
        read("# TYPE a gauge\na 1\na 1\n")
