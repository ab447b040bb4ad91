"""What people do while two releases run: they join, sign in to an app, use it, and take its access back."""

import base64
import hashlib
import itertools
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

from tests.pages import HTTPBrowser
from tests.releases.pods import Balancer
from tests.running import link_in, wait_until

PASSWORD = "five green turtles swim at night"
NEXT_PASSWORD = "six blue herons stand in the rain"
CALLBACK = "https://app.test/callback"
SCOPE = "openid profile email offline_access"
CLIENT = ("--name", "App", "--redirect-uri", CALLBACK, "--scope", SCOPE, "--json")
"""The arguments of `clients create` for the app of the journey."""
_numbers = itertools.count(1)


@dataclass
class Journey:
    """One person's; every request goes through the balancer, each to another pod than the one before."""

    balancer: Balancer
    origin: str
    client: dict[str, str]
    email: str = field(default_factory=lambda: f"ada-{next(_numbers)}@people.test")

    def go(self) -> None:
        """The whole of it. Raises Breaks where a server is to blame, AssertionError where anything else went wrong."""
        self.join()
        browser = self.browser()
        tokens = self.sign_in_to_the_app(browser)
        assert self.userinfo(tokens)["email"] == self.email
        tokens = self.refresh(tokens)
        assert self.userinfo(tokens)["name"] == "Ada Lovelace"
        self.change_password(tokens)

    def join(self) -> None:
        browser = self.browser()
        browser.fill("/apply", email=self.email, name="Ada Lovelace", why="I build things, and like people.")
        wait_until(self.mail)
        browser.fill(link_in(self.mail()[0]["text"]), button="confirm", follow=True)
        browser.fill(button="activate", follow=True)
        browser.fill(password=PASSWORD, follow=True)
        assert browser.status == 200, browser.text

    def sign_in_to_the_app(self, browser: HTTPBrowser) -> dict[str, Any]:
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "client_id": self.client["client_id"],
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": SCOPE,
            "prompt": "consent",
            "state": "a state",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        browser.get("/oauth2/authorize?" + urlencode(asked), follow=True)
        browser.fill(email=self.email, password=PASSWORD, follow=True)
        browser.fill(button="allow", follow=True)
        assert browser.location.startswith(CALLBACK), browser.text
        code = parse_qs(urlsplit(browser.location).query)["code"][0]
        return self.exchange(
            grant_type="authorization_code", code=code, redirect_uri=CALLBACK, code_verifier=verifier
        )

    def exchange(self, **asked: str) -> dict[str, Any]:
        answer = self.ask_for_token(**asked)
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    def ask_for_token(self, **asked: str) -> requests.Response:
        basic = (self.client["client_id"], self.client["client_secret"])
        return self._app().post(f"{self.origin}/oauth2/token", asked, auth=basic, timeout=30)

    def refresh(self, tokens: dict[str, Any]) -> dict[str, Any]:
        return self.exchange(grant_type="refresh_token", refresh_token=tokens["refresh_token"])

    def userinfo(self, tokens: dict[str, Any]) -> dict[str, Any]:
        answer = self._ask_userinfo(tokens)
        assert answer.status_code == 200, answer.text
        claims: dict[str, Any] = answer.json()
        return claims

    def _ask_userinfo(self, tokens: dict[str, Any]) -> requests.Response:
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        return self._app().get(f"{self.origin}/oauth2/userinfo", headers=bearer, timeout=30)

    def change_password(self, tokens: dict[str, Any]) -> None:
        """With another browser than the app's: the app's access ends, by an event from account to the issuer."""
        browser = self.browser()
        browser.fill("/login", email=self.email, password=PASSWORD)
        assert browser.status == 303, browser.text
        browser.fill("/account/password", old_password=PASSWORD, new_password=NEXT_PASSWORD)
        assert browser.status == 303, browser.text
        wait_until(lambda: self._ask_userinfo(tokens).status_code == 401)
        answer = self.ask_for_token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        assert answer.json()["error"] == "invalid_grant", answer.text

    def browser(self) -> HTTPBrowser:
        browser = HTTPBrowser(self.origin)
        self._balanced(browser.http)
        return browser

    def mail(self) -> list[dict[str, Any]]:
        """What the mailbox holds for this person, newest first."""
        answer = self.browser().get("/dev/mailbox", headers={"Accept": "application/json"})
        return [mail for mail in answer.json() if self.email in mail["to"]]

    def _app(self) -> requests.Session:
        return self._balanced(requests.Session())

    def _balanced(self, session: requests.Session) -> requests.Session:
        session.trust_env = False
        session.mount("http://", self.balancer)
        return session
