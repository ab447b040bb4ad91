"""Both front doors as programs: nginx from the template, and gunicorn with the all-in-one's composition."""

import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway import routes
from gateway.binaries import version_of_nginx
from gateway.servers import die_with_parent, free_port

ROOT = Path(__file__).resolve().parents[2]
NGINX = os.environ.get("NGINX_PROGRAM") or shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
DOORS = ("nginx", "all_in_one")


@dataclass
class Answer:
    """What came back for one request."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw_headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def seen(self) -> dict[str, Any]:
        """The request as the echo behind the door saw it."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Door:
    """A front door that listens on 127.0.0.1."""

    name: str
    port: int
    log: Path
    host: str = "localhost"
    tls: ssl.SSLContext | None = None

    @property
    def origin(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        """A connection of its own; over TLS where the door speaks it."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return self.tls.wrap_socket(connection, server_hostname=self.host) if self.tls else connection

    def ask(
        self,
        target: str,
        *,
        method: str = "GET",
        host: str | None = None,
        headers: Mapping[str, str] | list[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Answer:
        """Send one request, target and headers exactly as given."""
        lines = [f"{method} {target} HTTP/1.1"]
        if host != "":
            lines.append(f"Host: {host or f'{self.host}:{self.port}'}")
        lines += [
            f"{name}: {value}"
            for name, value in (dict(headers).items() if not isinstance(headers, list) else headers)
        ]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        lines += ["Connection: close", "", ""]
        return self.send("\r\n".join(lines).encode("latin-1") + body)

    def send(self, request: bytes) -> Answer:
        """Send these bytes and read until the door closes the connection."""
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            return parse(read_all(connection))


def read_all(connection: socket.socket) -> bytes:
    """What comes until the connection closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        while part := connection.recv(65536):
            received += part
    return received


def parse(received: bytes) -> Answer:
    """One answer, whole; status 0 where nothing came."""
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *rest = head.decode("latin-1").split("\r\n")
    raw = [tuple(line.split(": ", 1)) for line in rest]
    headers = {name.lower(): value for name, value in raw}
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunk(body)
    return Answer(int(status_line.split()[1]) if status_line else 0, headers, body, raw)


def _unchunk(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return whole


@contextlib.contextmanager
def running(
    command: list[str], environ: Mapping[str, str], port: int, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process until the block ends; ready when its port takes connections."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environ},
            cwd=ROOT,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent(9),
        )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert process.poll() is None, f"{command[0]} ended: {log.read_text()}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def gunicorn(app: str, port: int) -> list[str]:
    program = str(Path(sys.executable).with_name("gunicorn"))
    return [program, "--config", f"{ROOT}/gunicorn.conf.py", "--bind", f"127.0.0.1:{port}", app]


@contextlib.contextmanager
def nginx(environ: Mapping[str, str], *, keeps_by_itself: bool = False) -> Iterator[Path]:
    """nginx from the template; the path of its log. Skips by name where the machine has none.

    From 1.29.7 on it keeps connections to every upstream that says nothing else: an older one can be made to.
    """
    if not NGINX:
        assert not os.environ.get("REQUIRE_EVERYTHING"), "nginx is missing: apt-get install nginx"
        pytest.skip("not run: nginx is missing (apt-get install nginx)")
    with tempfile.TemporaryDirectory(prefix="id-door-") as name:
        folder = Path(name)
        # nginx gives up root, and its workers keep their buffers in there.
        folder.chmod(0o711)
        configuration, log = folder / "nginx.conf", folder / "nginx.log"
        own = {"NGINX_FOLDER": name, "NGINX_WORKERS": "1", "NGINX_VERSION": version_of_nginx(NGINX)}
        text = routes.render_nginx({**environ, **own})
        if keeps_by_itself:
            text = re.sub(r"(_anew \{\n)", r"\1    keepalive 32;\n", text)
        configuration.write_text(text)
        command = [NGINX, "-p", name, "-e", "stderr", "-c", str(configuration), "-g", "daemon off;"]
        with running(command, {}, int(environ["HTTP_PORT"]), log):
            yield log


@contextlib.contextmanager
def door_before_echoes(name: str, settings: Mapping[str, str], folder: Path, port: int = 0) -> Iterator[Door]:
    """The front door of this name before echoes of all owners."""
    port = port or free_port()
    environ = {**settings, "PUBLIC_URL": f"http://localhost:{port}", "WEB_THREADS": "4"}
    with contextlib.ExitStack() as stack:
        if name == "all_in_one":
            log = folder / "door.log"
            stack.enter_context(running(gunicorn("tests.gateway.echoes:door()", port), environ, port, log))
        else:
            for owner in routes.UPSTREAM_PORTS:
                upstream_port = free_port()
                variable = "FRONT" if owner == "gateway" else owner.upper()
                command = gunicorn("tests.gateway.echoes:upstream()", upstream_port)
                owner_log = folder / f"{owner}.log"
                stack.enter_context(
                    running(command, {**environ, "ECHO_OWNER": owner}, upstream_port, owner_log)
                )
                environ[f"{variable}_UPSTREAM"] = f"127.0.0.1:{upstream_port}"
            log = stack.enter_context(nginx({**environ, "HTTP_PORT": str(port)}))
        yield Door(name, port, log)
