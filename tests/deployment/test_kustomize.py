"""Overlays as kubectl assembles them: nothing is left out, renamed or of another release."""

import functools
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.routes import SERVICES
from tests.deployment.manifests import K8S, OUR_IMAGE, OVERLAYS, PODS, ROOT, containers, read, template_of

RELEASE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
DEPLOYABLE = [folder for folder in OVERLAYS if folder.name != "settings"]
WITHOUT_A_NAMESPACE = {"Namespace"}
BY_HAND = ("jobs.yaml", "restore.yaml", "restored.yaml")
"""What no overlay assembles, so that each names the release itself."""


def name_of(folder: Path) -> str:
    return str(folder.relative_to(K8S / "overlays"))


def reached(folder: Path) -> set[tuple[str, str]]:
    """Kind and name of whatever a kustomization reaches."""
    [content] = read(folder / "kustomization.yaml")
    found = {
        (document["kind"], document["metadata"]["name"])
        for resource in content.get("resources", [])
        for document in read(folder / resource)
    }
    return found.union(*(reached((folder / base).resolve()) for base in content.get("bases", [])))


@functools.cache
def assembled(folder: Path) -> list[dict[str, Any]]:
    program = os.environ.get("KUBECTL") or shutil.which("kubectl")
    if not program:
        pytest.skip("not run: kubectl is missing (apt-get install kubernetes-client)")
    done = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def test_the_suite_and_each_service_of_it_can_be_deployed() -> None:
    wanted = {
        str(Path(environment, part))
        for environment in ("production", "staging")
        for part in ("", "gateway", *SERVICES)
    }
    assert {name_of(folder) for folder in DEPLOYABLE} == wanted


@pytest.mark.parametrize("folder", DEPLOYABLE, ids=name_of)
def test_an_overlay_holds_what_it_names_in_the_namespace_and_release(folder: Path) -> None:
    documents = assembled(folder)
    assert {(found["kind"], found["metadata"]["name"]) for found in documents} == reached(folder)
    for document in documents:
        if document["kind"] not in WITHOUT_A_NAMESPACE:
            assert document["metadata"]["namespace"] == "updspace-id", document["metadata"]["name"]
        if document["kind"] in PODS:
            for container in containers(template_of(document)["spec"]):
                if OUR_IMAGE.fullmatch(container["image"]):
                    assert container["image"].endswith(f":{RELEASE}"), container["image"]


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_jobs_that_are_applied_by_hand_are_of_the_release_that_the_overlay_names(environment: str) -> None:
    """Also by whoever has set another one: the runbook says in which files."""
    [overlay] = read(K8S / "overlays" / environment / "kustomization.yaml")
    of_overlay = {f"{image['name']}:{image['newTag']}" for image in overlay["images"]}
    [*_, backup] = read(K8S / "base/backup/backup.yaml")
    servers = {found["image"] for found in containers(template_of(backup)["spec"])} - set(images_of(overlay))
    for name in BY_HAND:
        used = {found["image"] for job in read(K8S / name) for found in containers(template_of(job)["spec"])}
        assert used <= of_overlay | servers, name
        assert used & of_overlay, name


def images_of(overlay: dict[str, Any]) -> list[str]:
    return [image["name"] for image in overlay["images"]]


@pytest.mark.parametrize("environment", ["production", "staging"])
@pytest.mark.parametrize("part", ["gateway", *SERVICES])
def test_one_service_is_deployed_as_it_is_with_the_others(environment: str, part: str) -> None:
    together = {
        (one["kind"], one["metadata"]["name"]): one for one in assembled(K8S / "overlays" / environment)
    }
    for document in assembled(K8S / "overlays" / environment / part):
        assert document == together[document["kind"], document["metadata"]["name"]]
