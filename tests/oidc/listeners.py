"""Relying parties that listen on loopback for logout tokens, and fail as they are told."""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from flask import Flask
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.oidc.relying_party import http

EVENT = "http://schemas.openid.net/event/backchannel-logout"


@dataclass
class Listeners:
    """One server for many relying parties: `/NAME` is the address of one."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    """By name: a status, (status, headers, body), or drop, hang, huge. Without one: 200."""
    tokens: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    forms: list[dict[str, Any]] = field(default_factory=list)
    at_once: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    most_at_once: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    may_go_on: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    pause_s: float = 0.0

    def address(self, name: str) -> str:
        return f"{self.url}/{name}"

    def wait_for(self, name: str, count: int, *, within_s: float = 10) -> None:
        deadline = time.monotonic() + within_s
        while len(self.tokens[name]) < count:
            assert time.monotonic() < deadline, f"{name} was told {len(self.tokens[name])} times"
            time.sleep(0.01)


def read(app: Flask, token: str, *, aud: str) -> dict[str, Any]:
    """What a relying party makes of a logout token: verified by our published keys (Back-Channel Logout §2.6)."""
    published = KeySet.import_key_set(http(app).get("/.well-known/jwks.json").json)
    read = jwt.decode(token, published, algorithms=["RS256", "ES256"])
    assert read.header["typ"] == "logout+jwt"
    claims = read.claims
    now = time.time()
    jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": app.extensions["updspace_id"].settings.PUBLIC_URL},
        aud={"essential": True, "value": aud},
        iat={"essential": True},
        exp={"essential": True},
        jti={"essential": True},
    ).validate(claims)
    assert now - 60 < claims["iat"] <= now + 1
    assert claims["exp"] - claims["iat"] <= 120
    assert claims["events"] == {EVENT: {}}
    assert claims.get("sub") or claims.get("sid")
    assert "nonce" not in claims
    return claims


@contextlib.contextmanager
def listening() -> Iterator[Listeners]:
    listeners = Listeners()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            _answer(listeners, self)

        def do_GET(self) -> None:
            listeners.tokens["redirected"].append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    listeners.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield listeners
    listeners.may_go_on.set()
    server.shutdown()
    server.server_close()


def _answer(listeners: Listeners, request: BaseHTTPRequestHandler) -> None:
    name = request.path.lstrip("/")
    body = request.rfile.read(int(request.headers["Content-Length"]))
    form = {key: values[0] for key, values in parse_qs(body.decode(), strict_parsing=True).items()}
    with listeners.lock:
        listeners.forms.append({"type": request.headers["Content-Type"], **form})
        listeners.tokens[name].append(form["logout_token"])
        listeners.at_once[name] += 1
        listeners.most_at_once[name] = max(listeners.most_at_once[name], listeners.at_once[name])
    time.sleep(listeners.pause_s)
    how = listeners.answers.get(name, 200)
    status, headers, content = how if isinstance(how, tuple) else (how, {}, b"")
    with listeners.lock:
        listeners.at_once[name] -= 1
    if status == "hang":
        listeners.may_go_on.wait(30)
    if status in ("hang", "drop"):
        request.close_connection = True
        return
    if status == "huge":
        status, content = 200, b"x" * 100_000
    request.send_response(status)
    for key, value in {"Content-Length": str(len(content)), **headers}.items():
        request.send_header(key, value)
    request.end_headers()
    request.wfile.write(content)
