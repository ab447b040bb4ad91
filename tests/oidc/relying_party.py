"""A relying party written for these tests: it sends what it is told to, right or wrong."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from flask import Flask
from werkzeug.test import Client, TestResponse

from tests.pages import ORIGIN, Browser

REDIRECT_URI = "https://rp.test/callback"
SCOPE = "openid profile email"


@dataclass
class RelyingParty:
    """A registered client and what it does over HTTP."""

    app: Flask
    client_id: str
    secret: str | None = field(repr=False)
    auth_method: str = "client_secret_basic"
    redirect_uri: str = REDIRECT_URI
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def parameters(self, **changes: Any) -> dict[str, Any]:
        """A right authorization request; None leaves a parameter out."""
        values = {
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "scope": SCOPE,
            "state": "a state",
            "nonce": "a-nonce",
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in values.items() if value is not None}

    def send(self, browser: Browser, **changes: Any) -> TestResponse:
        """Send the browser to the authorization endpoint; stops at its first answer."""
        return browser.get("/oauth2/authorize?" + urlencode(self.parameters(**changes), doseq=True))

    def ask(self, browser: Browser, **changes: Any) -> TestResponse:
        """The same, going on as far as our own redirects lead within the issuer."""
        page = self.send(browser, **changes)
        while page.status_code == 303 and browser.location.startswith("/oauth2/"):
            page = browser.get(browser.location)
        return page

    def answer(self, browser: Browser, **changes: Any) -> dict[str, str]:
        """What arrives at the redirect URI, after the person allowed it where they were asked."""
        page = self.ask(browser, **changes)
        if page.status_code == 200 and 'id="allow"' in page.text:
            browser.fill(button="allow")
        assert browser.status == 303, browser.text[:3000]
        assert browser.location.startswith(self.redirect_uri.split("?")[0]), browser.location
        return dict(parse_qsl(urlsplit(browser.location).query))

    def code(self, browser: Browser, **changes: Any) -> str:
        return self.answer(browser, **changes)["code"]

    def post(self, path: str, values: dict[str, Any], **options: Any) -> TestResponse:
        """Send a form with the client's own credentials, unless `headers` or `credentials=None` say otherwise."""
        headers, values = dict(options.pop("headers", {})), dict(values)
        if options.pop("credentials", True):
            if self.auth_method == "client_secret_basic":
                headers.setdefault("Authorization", basic(self.client_id, self.secret or ""))
            else:
                values.setdefault("client_id", self.client_id)
            if self.auth_method == "client_secret_post":
                values.setdefault("client_secret", self.secret)
        return http(self.app).post(path, base_url=ORIGIN, data=values, headers=headers, **options)

    def redeem(self, code: str, **changes: Any) -> TestResponse:
        values = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
            **changes,
        }
        return self.post(
            "/oauth2/token", {name: value for name, value in values.items() if value is not None}
        )

    def refresh(self, token: str, **changes: Any) -> TestResponse:
        return self.post("/oauth2/token", {"grant_type": "refresh_token", "refresh_token": token, **changes})

    def tokens(self, browser: Browser, **changes: Any) -> dict[str, Any]:
        """The token response for a signed-in person."""
        response = self.redeem(self.code(browser, **changes))
        assert response.status_code == 200, response.text
        return response.json

    def userinfo(self, access_token: str) -> TestResponse:
        return http(self.app).get(
            "/oauth2/userinfo", base_url=ORIGIN, headers={"Authorization": f"Bearer {access_token}"}
        )

    def introspect(self, token: str) -> dict[str, Any]:
        return self.post("/oauth2/introspect", {"token": token}).json


def http(app: Flask) -> Client:
    """A caller without cookies."""
    return Client(app, TestResponse, use_cookies=False)


def challenge_of(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def error_of(response: TestResponse) -> tuple[int, str]:
    """Status and error code of an OAuth answer."""
    return response.status_code, response.json["error"]
