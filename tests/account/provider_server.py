"""A small provider of identities on loopback: GitHub, Discord and an OpenID issuer in one; it fails as it is told."""

import base64
import contextlib
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import requests
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT_ID = "our-client-at-the-provider"
CLIENT_SECRET = "marked-client-secret-4711"


@dataclass
class Account:
    """Somebody's account at the provider."""

    number: int
    name: str = "octocat"
    email: str = "octo@elsewhere.test"
    is_verified: bool = True


@dataclass
class ProviderServer:
    """What the provider does is what these fields say at the moment."""

    account: Account = field(default_factory=lambda: Account(secrets.randbelow(10**9) + 1))
    """Who is signed in at the provider."""
    denies: bool = False
    """Whether that person says no."""
    failure: str | None = None
    """A status, or hang, drop, garbage, redirect, deep, huge: for everything but the authorization page."""
    retry_after: str | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    """What the ID token says otherwise."""
    id_token_alg: str = "RS256"
    answer_iss: str | None = "own"
    """`iss` of the authorization response: the issuer's own, another, or none."""
    hides_addresses: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    requests: list[str] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    """Codes and tokens that were given out: none of them may ever be seen again."""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"}))
    jwks: list[dict[str, Any]] | None = None
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _tokens: dict[str, Account] = field(default_factory=dict)
    may_go_on: threading.Event = field(default_factory=threading.Event)

    def begin_anew(self) -> None:
        """Forget what a test told it; address and key stay."""
        fresh = ProviderServer(url=self.url, key=self.key)
        self.__dict__.update(fresh.__dict__)

    def visit(self, authorization_url: str) -> str:
        """Be the browser at the provider; returns where it is sent back to."""
        answer = requests.get(authorization_url, allow_redirects=False, timeout=5)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    # -- what is answered --------------------------------------------------------------------------------------

    def authorize(self, query: dict[str, str]) -> str:
        assert query["response_type"] == "code" and query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256" and len(query["code_challenge"]) == 43
        back = {"state": query["state"]}
        if self.denies:
            back |= {"error": "access_denied", "error_description": "<b>no</b>"}
        else:
            code = f"code-{secrets.token_urlsafe(16)}"
            self.issued.append(code)
            self._codes[code] = query
            back["code"] = code
        if self.answer_iss is not None:
            back["iss"] = self.url if self.answer_iss == "own" else self.answer_iss
        return f"{query['redirect_uri']}?{urlencode(back)}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any]:
        if authorization.startswith("Basic "):
            user, _, word = base64.b64decode(authorization[6:]).decode().partition(":")
            form |= {"client_id": user, "client_secret": word}
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return {"error": "invalid_client"}
        asked = self._codes.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "").encode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).decode().rstrip("=")
        if (
            asked is None
            or challenge != asked["code_challenge"]
            or form.get("redirect_uri") != asked["redirect_uri"]
        ):
            return {"error": "bad_verification_code"}
        token = f"token-{secrets.token_urlsafe(16)}"
        self.issued.append(token)
        self._tokens[token] = self.account
        answer = {"access_token": token, "token_type": "bearer", "expires_in": 3600}
        if "openid" in asked["scope"].split():
            answer["id_token"] = self._id_token(asked)
            self.issued.append(answer["id_token"])
        return answer

    def _id_token(self, asked: dict[str, str]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": f"sub-{self.account.number}",
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            "preferred_username": self.account.name,
            "email": self.account.email,
            "email_verified": self.account.is_verified,
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.id_token_alg, "kid": self.key.kid}
        if self.id_token_alg == "none":
            parts = [json.dumps(part).encode() for part in (header, claims)]
            return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."
        if self.id_token_alg == "HS256":  # keyed with what everybody knows
            shared = OctKey.import_key(self.key.as_pem(private=False))
            return jwt.encode(header, claims, shared, algorithms=["HS256"])
        return jwt.encode(header, claims, self.key)

    def api(self, path: str, token: str) -> Any:
        account = self._tokens.get(token.removeprefix("Bearer "))
        if account is None:
            return None
        if path == "/user":
            return {"id": account.number, "login": account.name, "email": "anything@elsewhere.test"}
        if path == "/users/@me":
            return {
                "id": str(account.number),
                "username": account.name,
                "email": account.email,
                "verified": account.is_verified,
            }
        if path == "/user/emails" and not self.hides_addresses:
            return [
                {"email": "second@elsewhere.test", "verified": False, "primary": False},
                {"email": account.email, "verified": account.is_verified, "primary": True},
            ]
        return None

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }

    def keys(self) -> dict[str, Any]:
        return {"keys": self.jwks if self.jwks is not None else [self.key.as_dict(private=False)]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: ProviderServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.provider.requests.append(f"GET {parts.path}")
        if parts.path == "/authorize":
            self._send(302, b"", Location=self.provider.authorize(dict(parse_qsl(parts.query))))
        elif self._fails():
            return
        elif parts.path == "/.well-known/openid-configuration":
            self._json(self.provider.discovery())
        elif parts.path == "/jwks":
            self._json(self.provider.keys())
        else:
            answer = self.provider.api(parts.path.removeprefix("/api"), self.headers.get("Authorization", ""))
            self._json(
                answer if answer is not None else {"message": "no"}, 200 if answer is not None else 403
            )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        self.provider.requests.append(f"POST {self.path}")
        if self._fails():
            return
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self._json(self.provider.token(form, self.headers.get("Authorization", "")))

    def _fails(self) -> bool:
        failure, headers = self.provider.failure, {}
        if failure is None:
            return False
        if self.provider.retry_after is not None:
            headers["Retry-After"] = self.provider.retry_after
        if failure == "hang":
            self.provider.may_go_on.wait(10)
            self.close_connection = True
        elif failure == "drop":
            self.close_connection = True
        elif failure == "garbage":
            self._send(200, b"<html>welcome</html>")
        elif failure == "redirect":
            self._send(302, b"", Location="/elsewhere")
        elif failure == "deep":
            self._send(200, b"[" * 100_000)
        elif failure == "huge":
            self._send(200, b'"' + b"x" * 1_000_000 + b'"')
        else:
            self._send(int(failure), b'{"error":"server_error"}', **headers)
        return True

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return None


@contextlib.contextmanager
def provider_server() -> Iterator[ProviderServer]:
    provider = ProviderServer()
    handler = type("Handler", (_Handler,), {"provider": provider})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    provider.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield provider
    provider.may_go_on.set()
    server.shutdown()
    server.server_close()
