"""Who may speak to whom on Kubernetes: all that is needed, and nothing beyond."""

from typing import Any

import pytest

from gateway.routes import SERVICES, UPSTREAM_PORTS
from services.notification.settings import DEFAULT_PORTS
from tests.deployment.manifests import components, named
from tests.deployment.test_workloads import WORKER_PORTS

POLICIES = named("NetworkPolicy")
PODS = sorted(components())
WITH_DATABASE = {f"{service}{kind}" for service in SERVICES for kind in ("", "-worker", "-migrate")}
WITH_REDIS = {f"{service}{kind}" for service in SERVICES for kind in ("", "-worker")} | {"gateway", "beat"}
BACKUP = {"backup", "restore"}
"""What saves the databases and brings them back."""
FETCHING = {"account", "oidc", "oidc-worker"}
"""Who goes to addresses outside (libs/guard/outbound.py)."""


def selects(selector: dict[str, Any] | None, component: str) -> bool:
    if selector is None:
        return False
    labels = {"app": "id-service", "component": component}
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] in ("In", "NotIn")
        if (labels.get(rule["key"]) in rule["values"]) != (rule["operator"] == "In"):
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def rules(component: str, direction: str) -> list[dict[str, Any]]:
    """What policies allow a component in one direction; with one that selects it, all else is refused."""
    mine = [
        policy["spec"] for policy in POLICIES.values() if selects(policy["spec"]["podSelector"], component)
    ]
    assert any(direction.capitalize() in spec["policyTypes"] for spec in mine), f"{component} is wide open"
    return [rule for spec in mine for rule in spec.get(direction, [])]


def ports_of(rule: dict[str, Any]) -> set[int]:
    assert rule["ports"], "every rule names its ports"
    return {entry["port"] for entry in rule["ports"]}


def may_reach(source: str, target: str, port: int) -> bool:
    def allows(component: str, direction: str, other: str) -> bool:
        side = {"ingress": "from", "egress": "to"}[direction]
        return any(
            port in ports_of(rule)
            and (side not in rule or any(selects(peer.get("podSelector"), other) for peer in rule[side]))
            for rule in rules(component, direction)
        )

    return allows(source, "egress", target) and allows(target, "ingress", source)


def reached_by(target: str, port: int) -> set[str]:
    return {source for source in PODS if source != target and may_reach(source, target, port)}


@pytest.mark.parametrize("component", PODS)
def test_every_pod_has_a_policy_for_both_directions(component: str) -> None:
    for direction in ("ingress", "egress"):
        for rule in rules(component, direction):
            assert ports_of(rule)
    own = [name for name, policy in POLICIES.items() if name.removeprefix("id-") == component]
    assert own, "what this one needs stands in no policy"


def test_no_policy_is_for_nobody() -> None:
    for name, policy in POLICIES.items():
        assert any(selects(policy["spec"]["podSelector"], component) for component in [*PODS, *BACKUP]), name


@pytest.mark.parametrize("service", SERVICES)
def test_services_are_reached_by_the_gateway_alone(service: str) -> None:
    assert reached_by(service, UPSTREAM_PORTS[service]) == {"gateway"}


def test_stores_are_reached_by_who_has_something_there() -> None:
    assert reached_by("postgres", 5432) - BACKUP == WITH_DATABASE
    assert reached_by("redis", 6379) - BACKUP == WITH_REDIS


def test_nobody_else_is_reached_by_pods_of_ours() -> None:
    for component, port in [*WORKER_PORTS.items(), ("gateway", 8000), ("gateway", UPSTREAM_PORTS["gateway"])]:
        assert not reached_by(component, port), component


def namespaces(component: str, direction: str) -> dict[int, set[str]]:
    """Namespaces of others by the port that is open between them and us."""
    found: dict[int, set[str]] = {}
    for rule in rules(component, direction):
        for peer in rule.get("from" if direction == "ingress" else "to", []):
            if "namespaceSelector" in peer:
                name = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
                for port in ports_of(rule):
                    found.setdefault(port, set()).add(name)
    return found


def test_people_come_by_the_ingress_and_prometheus_sees_every_process() -> None:
    assert namespaces("gateway", "ingress") == {8000: {"ingress-nginx"}, 8005: {"monitoring"}}
    for service in SERVICES:
        assert namespaces(service, "ingress") == {UPSTREAM_PORTS[service]: {"monitoring"}}
    for component, port in WORKER_PORTS.items():
        assert namespaces(component, "ingress") == {port: {"monitoring"}}


def outside(component: str) -> set[int]:
    """Ports at public addresses that a component may go to."""
    return {
        port
        for rule in rules(component, "egress")
        if "to" not in rule
        or any(peer.get("ipBlock", {}).get("cidr") in ("0.0.0.0/0", "::/0") for peer in rule["to"])
        for port in ports_of(rule)
    }


@pytest.mark.parametrize("component", PODS)
def test_few_speak_to_the_world_outside(component: str) -> None:
    wanted = {443} if component in FETCHING else set()
    if component in ("notification", "notification-worker"):
        wanted = set(DEFAULT_PORTS.values())
    assert outside(component) == wanted


@pytest.mark.parametrize("component", sorted(FETCHING))
def test_who_fetches_reaches_no_private_address_by_it(component: str) -> None:
    [rule] = [rule for rule in rules(component, "egress") if ports_of(rule) == {443}]
    spared = {block for peer in rule["to"] for block in peer["ipBlock"]["except"]}
    assert {
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    } <= spared


@pytest.mark.parametrize("component", sorted(WITH_DATABASE | WITH_REDIS))
def test_names_are_looked_up(component: str) -> None:
    assert namespaces(component, "egress").get(53) == {"kube-system"}


@pytest.mark.parametrize("component", sorted(WITH_REDIS))
def test_traces_find_their_collector(component: str) -> None:
    assert namespaces(component, "egress").get(4318) == {"monitoring"}
