"""The manifests of k8s/ as Python, and what the settings of the code are called."""

import dataclasses
import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gateway.settings import GatewaySettings
from libs.settings import ServiceSettings, Settings
from tests.conftest import SERVICES

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
EXTERNAL_SECRET = K8S / "external-secret.template.yaml"
"""Of a kind that is no part of Kubernetes, so that there is no schema to hold it against."""
TEMPLATES = {K8S / "secrets.template.yaml", K8S / "secrets-staging.template.yaml", EXTERNAL_SECRET}
"""What an operator fills in outside of the repository."""
BY_QUEUE = {K8S / f"base/{service}/worker-by-queue.yaml" for service in SERVICES}
"""What an operator names instead of worker-by-load.yaml where an adapter serves external metrics."""
MONITORING = K8S / "monitoring"
"""What Prometheus, Alertmanager and Grafana read; it has tests of its own."""
KUSTOMIZATIONS = sorted(
    file for file in K8S.rglob("kustomization.yaml") if not file.is_relative_to(MONITORING)
)
OVERLAYS = [file.parent for file in KUSTOMIZATIONS if file.is_relative_to(K8S / "overlays")]
MANIFESTS = sorted(
    file
    for file in K8S.rglob("*.yaml")
    if file.name != "kustomization.yaml" and file != EXTERNAL_SECRET and not file.is_relative_to(MONITORING)
)
PODS = ("Deployment", "StatefulSet", "Job", "CronJob")
OUR_IMAGE = re.compile(r"updspace-id-(\w+)(?::[\w.]+)?")


# Read once: nobody changes what these return.


@functools.cache
def read(file: Path) -> list[dict[str, Any]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return list(filter(None, yaml.load_all(file.read_text(), Loader=loader)))


def documents() -> Iterator[dict[str, Any]]:
    """Every manifest once; of two ways to scale a worker the usual one."""
    for file in MANIFESTS:
        if file not in BY_QUEUE:
            yield from read(file)


@functools.cache
def named(kind: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in documents() if found["kind"] == kind}


def template_of(workload: dict[str, Any]) -> dict[str, Any]:
    """The pod that a workload makes: its metadata and spec."""
    spec = workload["spec"]["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else workload["spec"]
    template: dict[str, Any] = spec["template"]
    return template


def workloads() -> dict[str, dict[str, Any]]:
    """What makes pods, by name."""
    return {name: workload for kind in PODS for name, workload in named(kind).items()}


def components() -> dict[str, dict[str, Any]]:
    """The pod spec of each component."""
    return {
        template["metadata"]["labels"]["component"]: template["spec"]
        for template in map(template_of, workloads().values())
    }


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def our_containers() -> list[tuple[str, str, dict[str, Any]]]:
    """Workload, service whose image it runs (or gateway), container."""
    return [
        (name, image[1], container)
        for name, workload in workloads().items()
        for container in containers(template_of(workload)["spec"])
        if (image := OUR_IMAGE.fullmatch(container["image"]))
    ]


def secrets_of(pod: dict[str, Any]) -> set[str]:
    """Names of the variables that come from a Secret."""
    variables = [variable for container in containers(pod) for variable in container.get("env", [])]
    return {variable["name"] for variable in variables if "valueFrom" in variable}


def settings_class(owner: str) -> type[Settings]:
    if owner == "gateway":
        return GatewaySettings
    module = importlib.import_module(f"services.{owner}.settings")
    return next(
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, ServiceSettings) and owner == found.SERVICE
    )


def setting_names(owner: str, *, secret_alone: bool = False) -> set[str]:
    """The variables that settings of a service (or gateway) are read from; secret are those that no repr shows."""
    kind = settings_class(owner)
    names = {field.name for field in dataclasses.fields(kind) if not (secret_alone and field.repr)} - {
        "DATABASE_URL"
    }
    return names | ({kind.database_variable()} if issubclass(kind, ServiceSettings) else set())


def secret_settings(owner: str) -> set[str]:
    """Without the secret of the demo, which exists in development alone and makes its own."""
    return setting_names(owner, secret_alone=True) - {"DEMO_CLIENT_SECRET"}


@functools.cache
def variables_read_beside_settings() -> set[str]:
    """Of the environment as the code names them: ports, processes, what nginx is rendered with, where backups go."""
    files = [ROOT / "gunicorn.conf.py"]
    files += [file for folder in ("libs", "services", "gateway") for file in (ROOT / folder).rglob("*.py")]
    pattern = re.compile(r"""(?:\.get\(|\[)\s*"([A-Z]+(?:_[A-Z0-9]+)+)"[\]),]""")
    # DATABASE_URL belongs to somebody else (libs/settings.py).
    return {name for file in files for name in pattern.findall(file.read_text())} - {"DATABASE_URL"}
