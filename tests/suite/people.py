"""People who use a running suite through its front door, and the operator at its commands."""

import json
import re
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.suite import Suite
from tests.pages import HTTPBrowser
from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, ROOT, link_in, wait_for_link, wait_until

PASSWORD = "five green turtles swim at night"


@dataclass
class Member:
    """Somebody with an account, and the browser they are signed in on."""

    email: str
    name: str
    browser: HTTPBrowser


class People:
    """Everybody acts over https through nginx, as a browser without script does."""

    def __init__(self, suite: Suite):
        self.suite = suite
        self.origin = suite.environ["PUBLIC_URL"]
        self.certificate = str(suite.certificate)

    def browser(self) -> HTTPBrowser:
        browser = HTTPBrowser(self.origin, verify=self.certificate)
        # A certificate bundle or proxy that the environment names would win over the suite's own certificate.
        browser.http.trust_env = False
        return browser

    def new_email(self, name: str = "ada") -> str:
        return f"{name}-{uuid.uuid4().hex[:8]}@people.test"

    def administrator(self) -> HTTPBrowser:
        browser = self.browser()
        browser.fill("/login", email=ADMIN_EMAIL, password=ADMIN_PASSWORD, follow=True)
        assert browser.cookie("__Host-id_session"), browser.text
        return browser

    # One person's way in.

    def apply(self, browser: HTTPBrowser, email: str, *, name: str = "Ada Lovelace") -> Any:
        return browser.fill("/apply", email=email, name=name, why="I build things, and like people.")

    def confirm(self, browser: HTTPBrowser, email: str) -> None:
        browser.fill(link_in(self.wait_for_mail(email)[0]["text"]), button="confirm", follow=True)
        assert browser.status == 200, browser.text

    def approve(self, email: str) -> None:
        browser = self.administrator()
        browser.get(f"/admin/applications?q={email}")
        found = re.search(r"/admin/applications/[0-9a-f-]{36}", browser.text)
        assert found, browser.text
        browser.fill(found[0], button="approve", follow=True)
        assert browser.status == 200, browser.text

    def enrol(self, browser: HTTPBrowser, email: str) -> None:
        browser.fill(wait_for_link(lambda: self.mail(email), "/activate"), button="activate", follow=True)
        browser.fill(password=PASSWORD, follow=True)
        assert browser.status == 200, browser.text

    def member(self, *, name: str = "Ada Lovelace") -> Member:
        """Somebody who went the whole way just now."""
        email, browser = self.new_email(), self.browser()
        self.apply(browser, email, name=name)
        self.confirm(browser, email)
        self.approve(email)
        self.enrol(browser, email)
        return Member(email, name, browser)

    # What a developer and an operator do.

    def client(self, *more: str) -> dict[str, Any]:
        """A new client of the issuer: its id, its secret, its settings."""
        uris = ["--redirect-uri", "https://app.test/callback"]
        uris += ["--post-logout-redirect-uri", "https://app.test/bye"]
        made = self.command("oidc", "clients", "create", "--name", "App", *uris, *more, "--json")
        client: dict[str, Any] = json.loads(made.stdout)
        return client

    def command(self, service: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", f"services.{service}", *arguments],
            cwd=ROOT,
            env=self.suite.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def mail(self, to: str) -> list[dict[str, Any]]:
        """What the mailbox holds for somebody, newest first."""
        answer = self.browser().get("/dev/mailbox", headers={"Accept": "application/json"})
        return [mail for mail in answer.json() if to in mail["to"]]

    def wait_for_mail(self, to: str, count: int = 1) -> list[dict[str, Any]]:
        wait_until(lambda: len(self.mail(to)) >= count)
        return self.mail(to)

    def log(self, program: str) -> list[dict[str, Any]]:
        """The records that a program of the suite has logged."""
        lines = Path(self.suite.data.log(f"{program}.jsonl")).read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]
