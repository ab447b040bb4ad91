"""The suite in containers on one machine: every process is locked down, watched, limited and waited for."""

import re
from typing import Any

import pytest
import yaml

from gateway.routes import SERVICES, UPSTREAM_PORTS
from libs.messaging.worker import LONGEST_TASK_S
from tests.deployment.manifests import ROOT
from tests.deployment.test_workloads import WORKER_PORTS

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES_OF_COMPOSE: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {*(f"migrate-{service}" for service in SERVICES), "render-nginx"}
STARTS_AS_ROOT = {"postgres"}
"""Its image gives up its rights by itself, once it owns its folder."""
PORTS = {"front": UPSTREAM_PORTS["gateway"], "beat": WORKER_PORTS["beat"]}
PORTS |= {service: UPSTREAM_PORTS[service] for service in SERVICES}
PORTS |= {worker: port for worker, port in WORKER_PORTS.items() if worker != "beat"}


@pytest.mark.parametrize("name", sorted(SERVICES_OF_COMPOSE))
def test_a_container_may_do_nothing_but_its_work(name: str) -> None:
    container = SERVICES_OF_COMPOSE[name]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert set(container["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    if name not in STARTS_AS_ROOT:
        assert container["read_only"] is True
        assert container["cap_drop"] == ["ALL"]
        # Our own image says so itself (Dockerfile).
        assert container["image"].startswith("updspace-id-") or int(container["user"]) > 0


@pytest.mark.parametrize("name", sorted(set(SERVICES_OF_COMPOSE) - ONCE))
def test_every_process_is_asked_whether_it_works(name: str) -> None:
    container = SERVICES_OF_COMPOSE[name]
    asked = " ".join(container["healthcheck"]["test"])
    assert container["restart"] == "unless-stopped"
    if name in PORTS:
        assert f"'http://127.0.0.1:{PORTS[name]}/healthz'" in asked


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_waits_for_its_migrations(service: str) -> None:
    for name in (service, f"{service}-worker"):
        waits_for = SERVICES_OF_COMPOSE[name]["depends_on"]
        assert waits_for == {f"migrate-{service}": {"condition": "service_completed_successfully"}}
    migration = SERVICES_OF_COMPOSE[f"migrate-{service}"]
    assert migration["restart"] == "no"
    assert migration["depends_on"]["postgres"] == {"condition": "service_healthy"}


def test_nginx_starts_no_more_processes_than_it_has_processors() -> None:
    limits = SERVICES_OF_COMPOSE["nginx"]["deploy"]["resources"]["limits"]
    assert SERVICES_OF_COMPOSE["render-nginx"]["environment"]["NGINX_WORKERS"] == limits["cpus"]


def test_what_is_kept_is_kept_in_named_volumes() -> None:
    for name, container in SERVICES_OF_COMPOSE.items():
        for volume in container.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"], name
    assert {"postgres", "redis"} <= set(COMPOSE["volumes"])


def test_containers_are_given_the_time_to_finish() -> None:
    gunicorn = int(
        re.search(r"^graceful_timeout = (\d+)", (ROOT / "gunicorn.conf.py").read_text(), re.M)[1]  # type: ignore[index]
    )
    for service in SERVICES:
        assert int(SERVICES_OF_COMPOSE[service]["stop_grace_period"].removesuffix("s")) > gunicorn
        worker = SERVICES_OF_COMPOSE[f"{service}-worker"]
        assert int(worker["stop_grace_period"].removesuffix("s")) > LONGEST_TASK_S
    assert SERVICES_OF_COMPOSE["nginx"]["stop_signal"] == "SIGQUIT"


def test_only_loopback_is_published() -> None:
    published = [port for found in SERVICES_OF_COMPOSE.values() for port in found.get("ports", [])]
    assert published == ["127.0.0.1:8025:8025", "127.0.0.1:8000:8000"]


def test_no_password_is_on_a_command_line() -> None:
    """What is started directly; a shell reads the variable itself and writes it into a file in memory."""
    for name, container in SERVICES_OF_COMPOSE.items():
        words = [*container.get("command", []), *container.get("healthcheck", {}).get("test", [])]
        assert not any("PASSWORD}" in word for word in words), name
        assert not any(re.search(r"(requirepass|-a)\s+\"?\$\$", word) for word in words), name
