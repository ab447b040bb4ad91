"""What manifests and compose file start exists in the code, and what they set is read there."""

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from celery.bin.celery import celery as celery_commands
from flask import Flask

from gateway.routes import SERVICES, UPSTREAM_PORTS
from tests.deployment.manifests import (
    EXTERNAL_SECRET,
    K8S,
    OUR_IMAGE,
    ROOT,
    named,
    our_containers,
    read,
    secret_settings,
    secrets_of,
    setting_names,
    template_of,
    variables_read_beside_settings,
    workloads,
)

COMPOSE: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OVERLAYS = ("production", "staging")
IN_COMPOSE = [
    (name, image[1], service)
    for name, service in COMPOSE.items()
    if (image := OUR_IMAGE.fullmatch(service.get("image", "")))
]
STARTED = [
    *(pytest.param(owner, found["command"], id=f"k8s {name}") for name, owner, found in our_containers()),
    *(pytest.param(owner, found["command"], id=f"compose {name}") for name, owner, found in IN_COMPOSE),
]


def config_map(overlay: str) -> dict[str, str]:
    [found] = read(K8S / f"overlays/{overlay}/settings/settings.yaml")
    data: dict[str, str] = found["data"]
    return data


def defines(module: str, name: str) -> bool:
    """Whether a module has a name at its top, without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, f"there is no {module}"
    with open(spec.origin) as file:
        tree = ast.parse(file.read())
    names = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    names |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return name in names or "__getattr__" in names


FROM_THE_PLAN = re.compile(r'\s*(export )?[A-Z_]+(="\$\(cat /plan/\w+\)")?\s*')
"""A variable that a shell reads from a file of a pod's first step."""


def commands_in(command: list[str]) -> list[list[str]]:
    """The commands of a shell's script; otherwise the one that there is."""
    if command[:2] != ["sh", "-c"]:
        return [command]
    parts = [shlex.split(part) for part in re.split(r"&&|;", command[2]) if not FROM_THE_PLAN.fullmatch(part)]
    return [part[1:] if part[0] == "exec" else part for part in parts]


def module_started(owner: str, command: list[str], make_app: Callable[[str], Flask]) -> str:
    """The module that a command begins with, once it is known that the rest of it exists, too."""
    program, *arguments = command
    if program == "gunicorn":
        options = dict(zip(arguments[:-1:2], arguments[1:-1:2], strict=True))
        assert options == {"--config": "gunicorn.conf.py", "--bind": f"0.0.0.0:{UPSTREAM_PORTS[owner]}"}
        module, _, factory = arguments[-1].partition(":")
        assert factory == "create_app()"
        assert defines(module, "create_app")
        return module
    if program == "celery":
        option, module, name, *rest = arguments
        assert option == "--app"
        assert defines(module, "app")
        known = {flag for parameter in celery_commands.commands[name].params for flag in parameter.opts}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known
        return module
    if program == "flask":
        option, module, *rest = arguments
        assert option == "--app"
        found: Any = make_app(owner).cli
        for word in rest:
            if hasattr(found, "commands"):
                found = found.commands[word]
        assert not hasattr(found, "commands"), "a command is missing behind its group"
        return module
    assert (program, arguments[0]) == ("python", "-m")
    module = arguments[1]
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"there is no {module}"
    assert defines(f"{module}.__main__" if spec.submodule_search_locations else module, "main")
    return module


@pytest.mark.parametrize(("owner", "command"), STARTED)
def test_every_command_exists_in_the_image_that_it_runs_in(
    owner: str, command: list[str], make_app: Callable[[str], Flask]
) -> None:
    package = "gateway" if owner == "gateway" else f"services.{owner}"
    for one in commands_in(command):
        module = module_started(owner, one, make_app)
        assert module == package or module.startswith(f"{package}."), (
            f"the image of {owner} holds no {module}"
        )


@pytest.mark.parametrize(
    ("owner", "variables"),
    [
        *(
            pytest.param(
                owner, {one["name"] for one in found.get("env", [])}, id=f"k8s {name} {found['name']}"
            )
            for name, owner, found in our_containers()
        ),
        *(
            pytest.param(owner, set(found["environment"]), id=f"compose {name}")
            for name, owner, found in IN_COMPOSE
        ),
    ],
)
def test_every_variable_is_read_by_who_gets_it(owner: str, variables: set[str]) -> None:
    known = setting_names(owner) | variables_read_beside_settings()
    if owner == "gateway":
        # The backup, which runs in its image, is told where all databases are.
        known |= {f"{service.upper()}_DATABASE_URL" for service in SERVICES}
    assert variables <= known


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_common_setting_is_read_by_somebody(overlay: str) -> None:
    everybody = set().union(*map(setting_names, ("gateway", *SERVICES))) | variables_read_beside_settings()
    secret = set().union(*map(secret_settings, ("gateway", *SERVICES)))
    assert set(config_map(overlay)) <= everybody - secret
    assert config_map(overlay)["ID_ENV"] == overlay


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_gateway_is_told_where_the_services_are(overlay: str) -> None:
    settings = config_map(overlay)
    for service in SERVICES:
        name, port = settings[f"{service.upper()}_UPSTREAM"].split(":")
        assert [found["port"] for found in named("Service")[name]["spec"]["ports"]] == [int(port)]
        assert named("Service")[name]["spec"]["selector"]["component"] == service


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nginx_is_rendered_from_what_its_pod_is_given(overlay: str) -> None:
    """By the very command, without any secret, where a pod lets it write."""
    pod = template_of(workloads()["id-gateway"])["spec"]
    [container] = pod["initContainers"]
    assert not any("valueFrom" in variable for variable in container["env"])
    environ = config_map(overlay) | {one["name"]: one["value"] for one in container["env"]}
    command = [sys.executable, *container["command"][1:-2]]
    done = subprocess.run(
        command, cwd=ROOT, env=environ | {"PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "listen *:8000;" in done.stdout
    for service in SERVICES:
        assert f"server {environ[f'{service.upper()}_UPSTREAM']} " in done.stdout
    assert f"server 127.0.0.1:{UPSTREAM_PORTS['gateway']} " in done.stdout
    assert f"server_name {environ['PUBLIC_URL'].removeprefix('https://')};" in done.stdout


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_ingress_sends_everything_to_the_gateway(overlay: str) -> None:
    [ingress] = read(K8S / f"overlays/{overlay}/ingress.yaml")
    host = config_map(overlay)["PUBLIC_URL"].removeprefix("https://")
    [rule] = ingress["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert (rule["host"], path["path"], path["pathType"]) == (host, "/", "Prefix")
    assert ingress["spec"]["tls"][0]["hosts"] == [host]
    backend = path["backend"]["service"]
    ports = {port["name"] for port in named("Service")[backend["name"]]["spec"]["ports"]}
    assert backend["name"] == "id-gateway"
    assert backend["port"]["name"] in ports
    template = (ROOT / "gateway/nginx.conf.template").read_text()
    [buffer] = re.findall(r"^ *proxy_buffer_size (\w+);", template, re.M)
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-buffer-size"] == buffer
    # It and the gateway append to X-Forwarded-For.
    assert config_map(overlay)["TRUSTED_PROXY_HOPS"] == "2"


def test_the_secret_has_an_entry_for_every_secret_setting_and_no_other() -> None:
    wanted = set().union(*map(secret_settings, ("gateway", *SERVICES)))
    assert set(named("Secret")["id-service-secrets"]["stringData"]) == wanted


def test_the_vaults_template_names_the_same_entries() -> None:
    [external] = read(EXTERNAL_SECRET)
    secret = named("Secret")["id-service-secrets"]
    assert external["spec"]["target"]["name"] == external["metadata"]["name"] == secret["metadata"]["name"]
    assert external["metadata"]["namespace"] == secret["metadata"]["namespace"]
    rows = external["spec"]["data"]
    assert [row["secretKey"] for row in rows] == list(secret["stringData"])
    assert all(row["remoteRef"]["property"] == row["secretKey"] for row in rows)


@pytest.mark.parametrize("name", ["id-gateway", "id-beat"])
def test_gateway_and_beat_take_the_common_secrets_alone(name: str) -> None:
    assert secrets_of(template_of(workloads()[name])["spec"]) == secret_settings("gateway")


def test_every_secret_that_a_pod_takes_is_in_a_template() -> None:
    secrets = named("Secret")
    for name, workload in workloads().items():
        text = json.dumps(template_of(workload))
        for container in json.loads(text)["spec"]["containers"]:
            for variable in container.get("env", []):
                taken = variable.get("valueFrom", {}).get("secretKeyRef")
                if taken:
                    assert taken["key"] in secrets[taken["name"]]["stringData"], name
                    assert variable["name"] == taken["key"], name
