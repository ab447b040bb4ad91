"""The Jobs after which databases are other ones: their steps, and who is told what."""

from pathlib import Path
from typing import Any

import pytest

from gateway.backup.__main__ import main
from gateway.backup.manifest import ORDER
from tests.conftest import SERVICES
from tests.deployment.manifests import containers, named, template_of

JOBS = ("id-restore", "id-restored")


def steps(job: str) -> dict[str, dict[str, Any]]:
    return {found["name"]: found for found in containers(template_of(named("Job")[job])["spec"])}


def test_databases_change_places_only_once_every_service_has_made_its_own_fit() -> None:
    assert list(steps("id-restore")) == ["plan", "fresh", "compare", *ORDER, "swap"]
    [last] = template_of(named("Job")["id-restore"])["spec"]["containers"]
    assert last["name"] == "swap"
    assert [name for name, step in steps("id-restore").items() if "swap" in str(step["command"])] == ["swap"]


def test_before_anything_is_lost_and_before_databases_change_places_nobody_may_be_connected() -> None:
    """A suite that somebody has started meanwhile would lose its Redis; a nightly backup would hold a database."""
    fresh, swap = (steps("id-restore")[name]["command"][-1].split(" && ") for name in ("fresh", "swap"))
    assert [line.split("restore.sh ")[1].split()[0] for line in fresh] == ["quiet", "fresh", "settled"]
    assert [line.split("restore.sh ")[1].split()[0] for line in swap] == ["settled", "swap"]


def test_present_ones_are_made_fit_by_the_very_steps_that_fit_restored_ones() -> None:
    assert list(steps("id-restored")) == ["plan", "quiet", *ORDER]
    for service in ORDER:
        assert steps("id-restored")[service] == steps("id-restore")[service]


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_told_where_its_own_database_is_and_no_other(job: str, service: str) -> None:
    step = steps(job)[service]
    assert not [one["name"] for one in step["env"] if one["name"].endswith("_DATABASE_URL")]
    mounted = [mount for mount in step["volumeMounts"] if mount["name"] == "plan"]
    assert [mount["subPath"] for mount in mounted] == [f"{service}_url", "made_at"]
    for mount in mounted:
        assert mount["mountPath"] == f"/plan/{mount['subPath']}"
        assert mount["readOnly"] is True
    script = step["command"][-1]
    variable = f"{service.upper()}_DATABASE_URL"
    assert script.startswith(f'{variable}="$(cat /plan/{service}_url)" && export {variable} && flask ')
    assert "&& exec flask" in script
    assert "||" not in script
    assert ";" not in script


@pytest.mark.parametrize("job", JOBS)
def test_a_step_that_failed_is_not_begun_again_by_itself(job: str) -> None:
    spec = named("Job")[job]["spec"]
    assert (spec["backoffLimit"], template_of(named("Job")[job])["spec"]["restartPolicy"]) == (0, "Never")


def test_the_first_step_writes_what_the_others_are_given(
    tmp_path: Path, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    *_, step, folder, placeholder = steps("id-restored")["plan"]["command"]
    assert (step, folder, placeholder) == ("plan-restored", "/plan", "MADE_AT")
    assert main([step, str(tmp_path), placeholder]) == 1
    assert "2026-01-16T02:23:00 (UTC), not 'MADE_AT'" in capsys.readouterr().err
    assert main([step, str(tmp_path), "2026-01-16T02:23:00"]) == 0
    assert (tmp_path / "made_at").read_text() == "2026-01-16T02:23:00.000000+00:00"
    for service in SERVICES:
        assert (tmp_path / f"{service}_url").read_text() == environment[f"{service.upper()}_DATABASE_URL"]
    assert {"restore.sh", "pg_service.conf", "databases"} <= {file.name for file in tmp_path.iterdir()}
