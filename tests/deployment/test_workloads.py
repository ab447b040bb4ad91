"""Every Deployment, Job and StatefulSet: locked down, watched, spread, scaled, and taken away in order."""

import re
from typing import Any

import pytest

from gateway.routes import SERVICES, UPSTREAM_PORTS
from libs.messaging.worker import LONGEST_TASK_S
from tests.deployment.manifests import (
    BY_QUEUE,
    ROOT,
    components,
    containers,
    named,
    read,
    template_of,
    workloads,
)

WORKLOADS = sorted(workloads())
SCALED = ["id-gateway", *(f"id-{service}{kind}" for service in SERVICES for kind in ("", "-worker"))]
WORKER_PORTS = {f"{service}-worker": 9001 + number for number, service in enumerate(SERVICES)} | {
    "beat": 9000
}


def pod_of(name: str) -> dict[str, Any]:
    pod: dict[str, Any] = template_of(workloads()[name])["spec"]
    return pod


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_pod_may_do_nothing_but_its_work(name: str) -> None:
    pod = pod_of(name)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pod):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, container["name"]
        assert context["readOnlyRootFilesystem"] is True, container["name"]
        assert context["capabilities"] == {"drop": ["ALL"]}, container["name"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_container_says_what_it_needs_and_takes_no_more(name: str) -> None:
    for container in containers(pod_of(name)):
        resources = container["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}, container["name"]
        # What runs once may take what processors are idle.
        may_take_more = {"cpu"} if workloads()[name]["kind"] in ("Job", "CronJob") else set()
        assert {"cpu", "memory"} - may_take_more <= set(resources["limits"]), container["name"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_what_a_container_writes_has_a_volume(name: str) -> None:
    pod = pod_of(name)
    claims = {
        claim["metadata"]["name"] for claim in workloads()[name]["spec"].get("volumeClaimTemplates", [])
    }
    volumes = {volume["name"] for volume in pod.get("volumes", [])} | claims
    mounted = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
    assert mounted == volumes


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_selectors_find_their_own_pods(kind: str) -> None:
    for name, workload in named(kind).items():
        labels = template_of(workload)["metadata"]["labels"]
        assert workload["spec"]["selector"]["matchLabels"] == labels, name
        assert workload["metadata"]["labels"] == labels, name
    component = {template_of(found)["metadata"]["labels"]["component"] for found in named(kind).values()}
    assert len(component) == len(named(kind)), "two of them would take each other's pods"


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_probes_ask_what_the_processes_answer(kind: str) -> None:
    for name, workload in named(kind).items():
        for container in template_of(workload)["spec"]["containers"]:
            ports = {port["name"] for port in container["ports"]}
            assert {"livenessProbe", "readinessProbe"} <= set(container), name
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = container.get(probe, {})
                # Liveness asks nothing but the process: what it stands on is readiness's matter.
                paths = {"/healthz"} if probe != "readinessProbe" else {"/healthz", "/readyz"}
                if "httpGet" in asked:
                    assert asked["httpGet"]["path"] in paths, name
                    assert asked["httpGet"]["port"] in ports, name
                elif "tcpSocket" in asked:
                    assert asked["tcpSocket"]["port"] in ports, name


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_takes_requests_when_it_can_serve(service: str) -> None:
    [container] = pod_of(f"id-{service}")["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert "startupProbe" in container


@pytest.mark.parametrize("service", SERVICES)
def test_a_worker_may_wait_longer_than_its_migrations_take(service: str) -> None:
    """Its port opens once they have run: a Job that is started twice is no reason to end it."""
    [container] = pod_of(f"id-{service}-worker")["containers"]
    probe, job = container["startupProbe"], named("Job")[f"id-{service}-migrate"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > 2 * job["spec"]["activeDeadlineSeconds"]


def test_ports_are_those_of_the_code() -> None:
    for service in SERVICES:
        [container] = pod_of(f"id-{service}")["containers"]
        assert container["ports"] == [{"name": "http", "containerPort": UPSTREAM_PORTS[service]}]
    nginx, front = pod_of("id-gateway")["containers"]
    assert nginx["ports"] == [{"name": "http", "containerPort": 8000}]
    assert front["ports"] == [{"name": "front", "containerPort": UPSTREAM_PORTS["gateway"]}]
    for component, port in WORKER_PORTS.items():
        [container] = pod_of(f"id-{component}")["containers"]
        variables = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert container["ports"] == [{"name": "metrics", "containerPort": port}]
        assert (variables["WORKER_PORT"], variables["WORKER_ADDRESS"]) == (str(port), "0.0.0.0")


def test_nginx_starts_no_more_processes_than_it_has_processors() -> None:
    """By itself it counts those of the machine, which its memory may not be enough for."""
    pod = pod_of("id-gateway")
    [renders], nginx = pod["initContainers"], pod["containers"][0]
    variables = {variable["name"]: variable["value"] for variable in renders["env"]}
    assert variables["NGINX_WORKERS"] == nginx["resources"]["limits"]["cpu"]


def test_services_lead_to_ports_that_exist() -> None:
    for name, service in named("Service").items():
        pod = components()[service["spec"]["selector"]["component"]]
        ports = {port["name"] for container in pod["containers"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            assert port.get("targetPort", port["name"]) in ports, name


def sleeps(container: dict[str, Any]) -> int:
    """Seconds before a container hears that it is to end."""
    command = " ".join(container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", []))
    found = re.search(r"sleep (\d+)", command)
    return int(found[1]) if found else 0


def test_requests_and_tasks_under_way_are_finished_before_a_pod_is_killed() -> None:
    gunicorn = int(
        re.search(r"^graceful_timeout = (\d+)", (ROOT / "gunicorn.conf.py").read_text(), re.M)[1]  # type: ignore[index]
    )
    template = (ROOT / "gateway/nginx.conf.template").read_text()
    nginx_timeout = int(re.search(r"^worker_shutdown_timeout (\d+)s;", template, re.M)[1])  # type: ignore[index]
    for service in SERVICES:
        pod = pod_of(f"id-{service}")
        assert sleeps(pod["containers"][0]) >= 5
        assert sleeps(pod["containers"][0]) + gunicorn < pod["terminationGracePeriodSeconds"]
        assert pod_of(f"id-{service}-worker")["terminationGracePeriodSeconds"] > LONGEST_TASK_S
    pod = pod_of("id-gateway")
    nginx, front = pod["containers"]
    assert 5 <= sleeps(nginx) < sleeps(front), "nginx stops taking requests before its app is gone"
    assert sleeps(front) + gunicorn < pod["terminationGracePeriodSeconds"]
    assert sleeps(nginx) + nginx_timeout < pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", SCALED)
def test_there_are_two_of_each_apart_from_each_other(name: str) -> None:
    scaler, deployment = named("HorizontalPodAutoscaler")[name], named("Deployment")[name]
    assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    assert "replicas" not in deployment["spec"], "a deployment would undo what the autoscaler has done"
    assert scaler["spec"]["minReplicas"] == 2
    limits = {
        metric["resource"]["name"]: metric["resource"]["target"]["averageUtilization"]
        for metric in scaler["spec"]["metrics"]
    }
    assert limits == {"cpu": 70, "memory": 80}
    for container in template_of(deployment)["spec"]["containers"]:
        # Otherwise 80 % of what is asked for would be less than 80 % of what there is.
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"], container["name"]
    labels = template_of(deployment)["metadata"]["labels"]
    spread = template_of(deployment)["spec"]["topologySpreadConstraints"]
    assert [rule["topologyKey"] for rule in spread] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    assert all(rule["labelSelector"]["matchLabels"] == labels for rule in spread)
    budget = named("PodDisruptionBudget")[name]["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}


def test_nothing_is_scaled_or_guarded_that_does_not_exist() -> None:
    assert set(named("HorizontalPodAutoscaler")) == set(named("PodDisruptionBudget")) == set(SCALED)


def test_there_is_one_beat_and_never_two() -> None:
    beat = named("Deployment")["id-beat"]["spec"]
    assert (beat["replicas"], beat["strategy"]) == (1, {"type": "Recreate"})


def test_workers_scale_by_a_queue_that_is_measured() -> None:
    for file in BY_QUEUE:
        [scaler] = read(file)
        usual = named("HorizontalPodAutoscaler")[scaler["metadata"]["name"]]
        ours = [metric for metric in scaler["spec"]["metrics"] if metric["type"] == "External"]
        load = [metric for metric in scaler["spec"]["metrics"] if metric["type"] != "External"]
        without = {**scaler, "spec": {**scaler["spec"], "metrics": load}}
        assert without == usual, "it differs from worker-by-load.yaml in more than the queue"
        service = file.parent.name
        queues = [metric["external"]["metric"]["selector"]["matchLabels"]["queue"] for metric in ours]
        assert queues == [service] + ["mail"] * (service == "notification")
        assert all(metric["external"]["metric"]["name"] == "id_queue_depth" for metric in ours)
