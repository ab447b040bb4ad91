"""A relying party with keys of its own, and the site where it shows them: it signs what it is told to."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from werkzeug.test import TestResponse

from tests.oidc.relying_party import RelyingParty, http
from tests.pages import ORIGIN

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
KINDS: dict[str, Callable[[str], Any]] = {
    "RS256": lambda kid: RSAKey.generate_key(2048, {"kid": kid}),
    "PS256": lambda kid: RSAKey.generate_key(2048, {"kid": kid}),
    "ES256": lambda kid: ECKey.generate_key("P-256", {"kid": kid}),
    "EdDSA": lambda kid: OKPKey.generate_key("Ed25519", {"kid": kid}),
}


def make_key(alg: str = "ES256", kid: str = "k1") -> Any:
    return KINDS[alg](kid)


def public(*keys: Any) -> dict[str, Any]:
    """A JWKS of their public halves."""
    return {"keys": [key.as_dict(private=False) for key in keys]}


def segment(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def sign(claims: Any, key: Any, *, alg: str = "ES256", **header: Any) -> str:
    """A JWS, by hand: libraries refuse to make most of what is sent here. A header member of None is left out."""
    head = {"alg": alg, "kid": getattr(key, "kid", None), **header}
    head = {name: value for name, value in head.items() if value is not None}
    return sign_parts(segment(head), segment(claims), key, alg=alg)


def unsigned(claims: dict[str, Any], **header: Any) -> str:
    return f"{segment({'alg': 'none', **header})}.{segment(claims)}."


def sign_parts(head: str, body: str, key: Any, *, alg: str) -> str:
    if isinstance(key, bytes):
        signature = hmac.digest(key, f"{head}.{body}".encode(), "sha256")
    else:
        signature = JWSRegistry.algorithms[alg].sign(f"{head}.{body}".encode(), key)
    return f"{head}.{body}.{segment(signature)}"


@dataclass
class SigningParty(RelyingParty):
    """It proves itself by private_key_jwt where it is registered so, and signs request objects."""

    key: Any = field(default=None, repr=False)
    alg: str = "ES256"

    def assertion(self, *, key: Any = None, alg: str = "", header: Any = None, **changes: Any) -> str:
        """A right assertion; None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": ORIGIN,
            "iat": now,
            "exp": now + 60,
            "jti": secrets.token_urlsafe(16),
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return sign(claims, key or self.key, alg=alg or self.alg, **(header or {}))

    def request_object(self, *, key: Any = None, alg: str = "", header: Any = None, **changes: Any) -> str:
        """A right authorization request as a signed object; None leaves a parameter out."""
        claims = self.parameters(**{"iss": self.client_id, "aud": ORIGIN, **changes})
        return sign(claims, key or self.key, alg=alg or self.alg, **(header or {}))

    def post(self, path: str, values: dict[str, Any], **options: Any) -> TestResponse:
        if self.auth_method != "private_key_jwt" or not options.pop("credentials", True):
            return super().post(path, values, **options)
        assertion = options.pop("assertion", None) or self.assertion()
        form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion, **values}
        form = {name: value for name, value in form.items() if value is not None}
        return http(self.app).post(path, base_url=ORIGIN, data=form, **options)


class ClientSite:
    """A client's own web server on loopback: what it answers at a path, and what was asked of it."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        """By path: bytes, text, what becomes JSON, a status without a body, or a function that does something to the
        request."""
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version: ClassVar[str] = "HTTP/1.1"

            def do_GET(self) -> None:
                site.asked.append(self.path)
                answer = site.answers.get(self.path)
                if callable(answer):
                    answer = answer(self)
                if answer is None:
                    self.send_error(404)
                    return
                status, answer = (answer, b"") if isinstance(answer, int) else (200, answer)
                if isinstance(answer, str):
                    answer = answer.encode()
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def show(self, path: str, answer: Any) -> str:
        """Let it answer so at a path; returns the address."""
        self.answers[path] = answer
        return self.url(path)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def hash_of(text: str) -> str:
    """SHA-256 as the fragment of a request_uri has it (OpenID Connect Core §6.2)."""
    return segment(hashlib.sha256(text.encode()).digest())
