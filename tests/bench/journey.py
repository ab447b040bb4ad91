"""What people and their apps ask of the suite in a while, as conversations of load.py through the front door."""

import base64
import html
import json
import re
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.bench import load
from tests.bench.load import Answer, Conversation, Steps, Work
from tests.oidc.relying_party import challenge_of

REDIRECT_URI = "https://app.test/callback"
PASSWORD = "five green turtles swim at night"
APPS, REFRESHES, QUESTIONS = 4, 10, 2
"""After one sign-in with a password: so many apps are reached, each token is refreshed so often, and after each of
these the app asks so often who it is."""
_CSRF = re.compile(rb'name="csrf_token" value="([^"]+)"')
_COOKIE = re.compile(rb"\r\nset-cookie: *([^=]+)=([^;\r]*)", re.IGNORECASE)


@dataclass
class Notes:
    """How long each kind of request took, in seconds, and what was answered otherwise than it should."""

    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class App:
    """A client of the issuer."""

    client_id: str
    secret: str

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.client_id}:{self.secret}".encode()).decode()


class Unexpected(Exception):
    """An answer that ends the journey."""


class Visit:
    """One person at one address, from the password to the last question of an app."""

    def __init__(self, *, origin: str, app: App, email: str, address: str, notes: Notes):
        self.origin, self.app, self.email, self.notes = origin, app, email, notes
        self.cookies: dict[str, str] = {}
        self.headers = {"X-Forwarded-For": address}

    def converse(self) -> Conversation:
        try:
            for number in range(APPS):
                tokens = yield from self._reach_app(is_signed_in=number > 0)
                for _ in range(REFRESHES):
                    tokens = yield from self._refresh(tokens["refresh_token"])
                    for _ in range(QUESTIONS):
                        yield from self._ask(tokens["access_token"])
        except Unexpected as error:
            self.notes.errors.append(str(error))

    def _reach_app(self, *, is_signed_in: bool) -> Steps[dict[str, str]]:
        verifier = secrets.token_urlsafe(48)
        asked = {
            "client_id": self.app.client_id,
            "redirect_uri": REDIRECT_URI,
            "response_type": "code",
            "scope": "openid profile email",
            "state": "a state",
            "nonce": secrets.token_hex(8),
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        location = "/oauth2/authorize?" + urlencode(asked)
        if not is_signed_in:
            location = yield from self._follow(location, until="/login")
            location = yield from self._sign_in(location)
        location = yield from self._follow(location, until=REDIRECT_URI)
        code = parse_qs(urlsplit(location).query)["code"][0]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": verifier,
        }
        return (yield from self._tokens("code", form))

    def _follow(self, location: str, *, until: str) -> Steps[str]:
        """Where the redirects lead at last."""
        while not location.startswith(until):
            answer = yield from self._send("authorize", load.get(location, **self._browser()), 302, 303)
            location = answer.header("Location").removeprefix(self.origin)
        return location

    def _sign_in(self, location: str) -> Steps[str]:
        page = yield from self._send("sign-in page", load.get(location, **self._browser()), 200)
        found = _CSRF.search(page.body)
        if found is None:
            raise Unexpected(f"no form at {location}")
        form = {"csrf_token": html.unescape(found[1].decode()), "email": self.email, "password": PASSWORD}
        request = load.post(location, form, **self._browser(), Origin=self.origin)
        answer = yield from self._send("password", request, 303)
        return answer.header("Location").removeprefix(self.origin)

    def _refresh(self, token: str) -> Steps[dict[str, str]]:
        return (yield from self._tokens("refresh", {"grant_type": "refresh_token", "refresh_token": token}))

    def _tokens(self, kind: str, form: dict[str, str]) -> Steps[dict[str, str]]:
        headers = {"Authorization": self.app.basic, **self.headers}
        answer = yield from self._send(kind, load.post("/oauth2/token", form, **headers), 200)
        tokens: dict[str, str] = json.loads(answer.body)
        return tokens

    def _ask(self, token: str) -> Steps[None]:
        headers = {"Authorization": f"Bearer {token}", **self.headers}
        yield from self._send("userinfo", load.get("/oauth2/userinfo", **headers), 200)

    def _browser(self) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {**self.headers, **({"Cookie": cookies} if cookies else {})}

    def _send(self, kind: str, request: bytes, *expected: int) -> Steps[Answer]:
        began = time.perf_counter()
        answer: Answer = yield request
        self.notes.took[kind].append(time.perf_counter() - began)
        if answer.status not in expected:
            raise Unexpected(f"{kind}: {answer.status} {answer.body[:300]!r}")
        for name, value in _COOKIE.findall(answer.head):
            self.cookies[name.decode().strip()] = value.decode()
        return answer


def visits(*, origin: str, app: App, people: list[str], number: int, notes: Notes) -> Work:
    """The work of one connection: one person after the other, each from an address of their own."""
    turn = 0

    def converse() -> Conversation:
        nonlocal turn
        email = people[(number + turn * 31) % len(people)]
        address = f"198.18.{number}.{turn % 254 + 1}"
        turn += 1
        return Visit(origin=origin, app=app, email=email, address=address, notes=notes).converse()

    return converse
