"""Rules, alerts and their routes, as Prometheus and Alertmanager read them."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.suite import SERVICES, Ports
from tests.monitoring.cases import ABSENT, CASES, SLOWLY, STARTING, idle
from tests.programs import find_program
from tests.running import ROOT

FOLDER = ROOT / "k8s" / "monitoring"
RUNBOOK = ROOT / "docs" / "runbook.md"
TEAMS = {"on-call", "security", "database"}


def program(variable: str, package: str) -> str:
    """promtool or amtool, where dev.py has found or unpacked it."""
    found = find_program(variable)
    if not found:
        assert not os.environ.get("REQUIRE_EVERYTHING"), (
            f"{variable.lower()} is missing: apt-get install {package}"
        )
        pytest.skip(f"not run: {variable.lower()} is missing (apt-get install {package})")
    return found


@pytest.fixture(scope="module")
def promtool() -> str:
    return program("PROMTOOL", "prometheus")


@pytest.fixture(scope="module")
def amtool() -> str:
    return program("AMTOOL", "prometheus-alertmanager")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in load("alerts.yml")["groups"] for rule in group["rules"]}


# -- what the tools say ----------------------------------------------------------------------------------------


def test_prometheus_takes_the_rules(promtool: str) -> None:
    run(promtool, "check", "rules", "--lint-fatal", "rules.yml", "alerts.yml")


def test_prometheus_takes_the_configurations(promtool: str, tmp_path: Path) -> None:
    run(promtool, "check", "config", "suite.yml")
    config = load("prometheus.yml")
    for job in config["scrape_configs"]:
        # Debian builds its Prometheus without it; what it finds is tested below.
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["updspace-id"]}}]
        job["static_configs"] = [{"targets": ["127.0.0.1:1"]}]
    for name in config["rule_files"]:
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    run(promtool, "check", "config", tmp_path / "prometheus.yml")


def scenario(
    series: Mapping[str, str],
    steps: int,
    moments: Iterable[int],
    step: int = 1,
    firing: Mapping[int, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """A unit test: an idle suite but for these series; at each of the moments the one alert that fires, or none."""
    values = {**idle(steps + 1, step), **series}
    expected = {moment: (firing or {}).get(moment) for moment in moments}
    return {
        "interval": f"{step}m",
        "input_series": [
            {"series": name, "values": found} for name, found in values.items() if found != ABSENT
        ],
        "promql_expr_test": [
            {
                "expr": 'ALERTS{alertstate="firing"}',
                "eval_time": f"{moment * step}m",
                "exp_samples": [{"labels": _as_series(labels), "value": 1}] if labels else [],
            }
            for moment, labels in expected.items()
        ],
    }


def _as_series(labels: Mapping[str, str]) -> str:
    found = {"alertstate": "firing", **labels}
    return "ALERTS{" + ", ".join(f'{name}="{value}"' for name, value in found.items()) + "}"


def test_each_alert_fires_when_it_should_and_keeps_quiet_when_it_should_not(
    promtool: str, tmp_path: Path
) -> None:
    tests = {1: [scenario({}, 60, range(0, 60, 10)), scenario(STARTING, 20, range(20))], SLOWLY: []}
    for case in CASES:
        firing = {"alertname": case.alert, **alerts()[case.alert]["labels"], **case.labels}
        moments = (case.early, case.late)
        bad = scenario(case.bad, case.late, moments, case.step, {case.late: firing})
        tests[case.step] += [bad, scenario(case.good, case.late, moments, case.step)]
    names = ("rules.yml", "alerts.yml")
    for step, group in tests.items():
        content = {
            "rule_files": [str(FOLDER / name) for name in names],
            "evaluation_interval": f"{step}m",
            "group_eval_order": [group["name"] for name in names for group in load(name)["groups"]],
            "tests": group,
        }
        (tmp_path / f"{step}.yml").write_text(json.dumps(content))
    run(promtool, "test", "rules", *sorted(tmp_path.glob("*.yml")))


def test_no_alert_is_without_its_cases() -> None:
    assert {case.alert for case in CASES} == set(alerts())


def test_alertmanager_takes_the_example_and_sends_each_alert_to_its_team(amtool: str) -> None:
    run(amtool, "check-config", "alertmanager.yml")
    receivers = {"on-call": "on-call", "security": "security-team", "database": "database-admin"}
    seen: dict[tuple[str, str], str] = {}
    for rule in alerts().values():
        severity, team = rule["labels"]["severity"], rule["labels"]["team"]
        if (severity, team) not in seen:
            labels = (f"severity={severity}", f"team={team}")
            routed = run(amtool, "config", "routes", "test", "--config.file=alertmanager.yml", *labels)
            seen[severity, team] = routed.strip()
    for (severity, team), routed in seen.items():
        wanted = [receivers[team]] if severity != "critical" else ["on-call", receivers[team]]
        assert routed.split(",") == list(dict.fromkeys(wanted)), (severity, team)


# -- what people read ------------------------------------------------------------------------------------------


def anchors() -> list[str]:
    """Of the runbook's headings, as pages make them: lower case, hyphens, no punctuation."""
    text = re.sub(r"^```.*?^```", "", RUNBOOK.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("name", alerts())
def test_each_alert_says_whose_it_is_what_it_means_and_what_to_do(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["labels"]["team"] in TEAMS
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["description"].endswith(".")
    assert "for" in rule, "nobody is told of a moment"
    document, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert ROOT / document == RUNBOOK
    assert anchors().count(anchor) == 1, f"the runbook has no heading #{anchor}, or two of them"


def test_the_runbook_lists_each_alert_and_leads_to_the_same_section() -> None:
    rows = re.findall(
        r"^\| `(Id\w+)` \| (critical|warning) \|.+\(#([\w-]+)\) \|$", RUNBOOK.read_text(), re.MULTILINE
    )
    expected = {
        (name, rule["labels"]["severity"], rule["annotations"]["runbook_url"].partition("#")[2])
        for name, rule in alerts().items()
    }
    assert set(rows) == expected
    assert len(rows) == len(expected)


def test_the_example_has_the_runbooks_contacts_and_no_secret() -> None:
    text = (FOLDER / "alertmanager.yml").read_text()
    for contact in re.findall(r"^\| [\w ]+ \| (\S+@\S+) \|$", RUNBOOK.read_text(), re.MULTILINE):
        assert contact in text
    [on_call] = [one for one in load("alertmanager.yml")["receivers"] if one["name"] == "on-call"]
    assert [set(one) & {"routing_key", "service_key"} for one in on_call["pagerduty_configs"]] == [set()]
    assert "smtp_auth_password" not in load("alertmanager.yml")["global"]


# -- where it looks --------------------------------------------------------------------------------------------


def pods() -> list[dict[str, Any]]:
    files = (ROOT / "k8s" / "base").rglob("*.yaml")
    found = [one for file in files for one in yaml.safe_load_all(file.read_text()) if one]
    return [one["spec"]["template"] for one in found if one["kind"] == "Deployment"]


def test_every_port_with_metrics_is_scraped_once_in_the_cluster() -> None:
    """The relabelling's one condition, asked of each container port of each pod."""
    scraped = []
    for job in load("prometheus.yml")["scrape_configs"]:
        condition = job["relabel_configs"][0]
        assert condition["action"] == "keep"
        for pod in pods():
            labels = pod["metadata"]["labels"]
            ports = [
                port["containerPort"] for one in pod["spec"]["containers"] for port in one.get("ports", [])
            ]
            for port in ports:
                if re.fullmatch(condition["regex"], f"{labels['app']};{port}"):
                    scraped.append((job["job_name"], labels["component"], port))
    assert sorted(scraped) == sorted(targets_of_the_suite())


def targets_of_the_suite() -> list[tuple[str, str, int]]:
    ports = Ports()
    webs = [("id-web", name, ports.web(name)) for name in SERVICES] + [
        ("id-web", "gateway", ports.web("front"))
    ]
    workers = [("id-worker", f"{name}-worker", ports.worker(name)) for name in SERVICES]
    return [*webs, *workers, ("id-beat", "beat", ports.worker("beat"))]


def test_the_suite_on_one_machine_is_scraped_under_the_same_names() -> None:
    scraped = [
        (job["job_name"], group["labels"]["component"], int(target.removeprefix("127.0.0.1:")))
        for job in load("suite.yml")["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    assert sorted(scraped) == sorted(targets_of_the_suite())


def test_every_file_is_in_a_config_map_or_for_one_machine() -> None:
    made = [file for one in load("kustomization.yaml")["configMapGenerator"] for file in one["files"]]
    others = {"kustomization.yaml", "suite.yml"}
    assert sorted([*made, *others]) == sorted(file.name for file in FOLDER.iterdir())
