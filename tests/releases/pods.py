"""The processes of a release on stores that it shares with another, and the balancer that sends requests to both."""

import base64
import itertools
import json
import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter

from gateway.routes import owner_of
from gateway.servers import die_with_parent, free_port
from tests.conftest import SERVICES
from tests.releases.history import Tree
from tests.running import bare_environ, wait_until

START_TIMEOUT_S = 120


class Breaks(AssertionError):
    """A release that does not get along with the schema, or with the release beside it."""


class Pods:
    """A web and a worker process for each service, and beat, from the code of one release."""

    def __init__(self, tree: Tree, environ: Mapping[str, str], folder: Path):
        self.tree, self.environ, self.folder = tree, dict(environ), folder
        self.ports: dict[str, int] = {}
        """Where web processes and workers answer, by their names."""
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir()

    def run(self, *names: str) -> None:
        """Start those of these that do not run yet, and wait until they serve: `account`, `account-worker`, `beat`."""
        self.start(*names)
        self.wait_until_ready(*names)

    def start(self, *names: str) -> None:
        for name in names:
            if name in self._running:
                continue
            port, service = free_port(), name.removesuffix("-worker")
            if name == "beat":
                celery = ["celery", "--app", "gateway.schedule", "beat", "--pidfile="]
                celery += ["--schedule", str(self.folder / "schedule")]
                self._start(name, port, celery, WORKER_PORT=str(port))
            elif name == service:
                gunicorn = ["gunicorn", "--config", "gunicorn.conf.py", "--bind", f"127.0.0.1:{port}"]
                self._start(name, port, [*gunicorn, f"services.{service}:create_app()"])
            else:
                celery = ["celery", "--app", f"services.{service}.worker", "worker"]
                celery += ["--hostname", f"{service}@{self.folder.name}"]
                self._start(name, port, celery, WORKER_PORT=str(port))

    def wait_until_ready(self, *names: str) -> None:
        """Wait until each of these says that it can serve, as their probes do."""
        for name in names:
            wait_until(lambda name=name: self.is_ready(name), START_TIMEOUT_S)  # type: ignore[misc]

    def stop(self, *names: str) -> None:
        """End them as Kubernetes does."""
        for name in names:
            self._running[name].send_signal(signal.SIGTERM)
        codes = {name: self._running.pop(name).wait(90) for name in names}
        assert not any(codes.values()), f"of {self.tree.name}, by exit code: {codes}"

    def stop_all(self) -> None:
        self.stop(*self._running)

    def is_ready(self, name: str) -> bool:
        process = self._running.get(name)
        if process is not None:
            assert process.poll() is None, f"{name} of {self.tree.name} ended; see {self.log(name)}"
        return self.ask(name, "/readyz" if name in SERVICES else "/healthz") == 200

    def ask(self, name: str, path: str) -> int:
        """The status of an answer; 0 where nobody answers."""
        if name not in self._running:
            return 0
        try:
            return requests.get(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=10).status_code
        except requests.RequestException:
            return 0

    def command(self, service: str, *arguments: str) -> str:
        """A command of this release, as an operator types it in one of its pods; returns what it says."""
        process = self.start_command(service, *arguments)
        said, complained = process.communicate(timeout=120)
        assert process.returncode == 0, said + complained
        return said

    def start_command(self, service: str, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self.tree.python, "-m", "flask", "--app", f"services.{service}", *arguments],
            cwd=self.tree.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def migrate(self, *services: str) -> None:
        """What the Jobs of this release do."""
        errors: list[AssertionError] = []

        def run(service: str) -> None:
            try:
                self.command(service, "db", "upgrade")
            except AssertionError as error:
                errors.append(error)

        jobs = [threading.Thread(target=run, args=(service,)) for service in services or SERVICES]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        if errors:
            raise errors[0]

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def records(self) -> Iterator[dict[str, Any]]:
        """What its processes have logged."""
        for file in sorted(self.folder.glob("*.jsonl")):
            for line in file.read_text(errors="replace").splitlines():
                if line.startswith("{"):
                    yield json.loads(line)

    def complaints(self) -> list[dict[str, Any]]:
        """What failed in them: errors, and tasks that did not come to their end."""
        return [
            record
            for record in self.records()
            if record.get("level") in ("error", "critical") or record.get("state") in ("FAILURE", "RETRY")
        ]

    def _start(self, name: str, port: int, arguments: list[str], **more: str) -> None:
        self.ports[name] = port
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [self.tree.python, "-m", *arguments],
                cwd=self.tree.folder,
                env={**self.environ, **more},
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )


class Balancer(HTTPAdapter):
    """Takes each request to the next pod of its path's service that says it is ready, as a Service of Kubernetes does.

    An answer that blames the server is the end: Breaks.
    """

    def __init__(self, *releases: Pods):
        super().__init__()
        self._turns = {}
        for service in SERVICES:
            ready = [pods for pods in releases if pods.is_ready(service)]
            assert ready, f"nobody serves {service}"
            self._turns[service] = itertools.cycle(ready)
        self.served: set[tuple[str, str]] = set()
        """Which release answered for which service."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        asked = urlsplit(str(request.url))
        service = owner_of(unquote(asked.path), is_development=True)
        if service not in self._turns:
            raise AssertionError(f"{asked.path} is none of a service's pages")
        pods = next(self._turns[service])
        inner = request.copy()
        inner.headers["Host"] = asked.netloc
        inner.url = asked._replace(netloc=f"127.0.0.1:{pods.ports[service]}").geturl()
        answer = super().send(inner, *arguments, **options)
        answer.url, answer.request = str(request.url), request
        self.served.add((service, pods.tree.name))
        if answer.status_code >= 500:
            raise Breaks(
                f"{request.method} {asked.path} was answered {answer.status_code} by {service} of {pods.tree.name};"
                f" see {pods.log(service)}"
            )
        return answer


def settings_of_both(folder: Path, redis_url: str, databases: Mapping[str, str]) -> dict[str, str]:
    """Development, on an address where nobody but the balancer answers."""

    def ring(kid: str) -> str:
        return f"{kid}:{base64.b64encode(os.urandom(32)).decode()}"

    environ = {name: value for name, value in bare_environ().items() if name != "DATA_DIR"}
    return environ | {
        "ID_ENV": "development",
        "PUBLIC_URL": f"http://localhost:{free_port()}",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DATA_ENCRYPTION_KEYS": ring("data1"),
        "EVENT_ENCRYPTION_KEYS": ring("event1"),
        "REDIS_URL": redis_url,
        "MAIL_FROM": "UpdSpace ID <id@updspace.test>",
        "ARGON2_MEMORY_KIB": "8",
        "ARGON2_TIME_COST": "1",
        "HOME": str(folder),
        **{f"{service.upper()}_DATABASE_URL": url for service, url in databases.items()},
    }
