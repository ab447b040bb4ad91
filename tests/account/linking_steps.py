"""Declaring the test's provider, a person's steps to it and back, and what came of them."""

import json
from dataclasses import replace
from typing import Any

from flask import Flask

from libs.guard.breakers import KEY, Breakers
from libs.messaging.events import MailRequested
from libs.service import parts_of
from services.account.flows.revoking import revoke_access
from services.account.providers import init_providers
from tests.account.conftest import Person, rows
from tests.account.provider_server import CLIENT_ID, CLIENT_SECRET, Account, ProviderServer
from tests.conftest import recorded
from tests.pages import Browser

NAMES = ("github", "discord", "acme")


def declare(app: Flask, server: ProviderServer, **changes: Any) -> None:
    url = server.url
    issuer = {
        "name": "acme",
        "label": "Acme",
        "discovery_url": f"{url}/.well-known/openid-configuration",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    values: dict[str, Any] = {
        "OUTBOUND_ALLOWED_HOSTS": ("127.0.0.1",),
        "GITHUB_CLIENT_ID": CLIENT_ID,
        "GITHUB_CLIENT_SECRET": CLIENT_SECRET,
        "GITHUB_AUTHORIZE_URL": f"{url}/authorize",
        "GITHUB_TOKEN_URL": f"{url}/token",
        "GITHUB_API_URL": f"{url}/api",
        "DISCORD_CLIENT_ID": CLIENT_ID,
        "DISCORD_CLIENT_SECRET": CLIENT_SECRET,
        "DISCORD_AUTHORIZE_URL": f"{url}/authorize",
        "DISCORD_TOKEN_URL": f"{url}/token",
        "DISCORD_API_URL": f"{url}/api",
        "OPENID_PROVIDERS": json.dumps([issuer]),
        **changes,
    }
    parts = parts_of(app)
    settings = replace(parts.settings, **values)
    settings.check()
    parts.breakers = Breakers(lambda: parts.redis)  # a process that was just started
    init_providers(app, settings, parts.breakers)
    parts.redis.delete(KEY)


def depart(browser: Browser, name: str = "github", path: str = "/login") -> str:
    """Press the provider's button on the sign-in page; where the browser is sent."""
    browser.fill(path, button=f"with-{name}")
    assert browser.status == 303, browser.text
    return browser.location


def arrive(browser: Browser, back: str) -> None:
    """Come back, and on to the page that says why not, where there is one."""
    browser.get(back)
    if browser.status == 303 and browser.location.startswith("/link/"):
        browser.get(browser.location)


def sign_in_with(
    browser: Browser, provider: ProviderServer, name: str = "github", path: str = "/login"
) -> None:
    arrive(browser, provider.visit(depart(browser, name, path)))


def link_two(browser: Browser, provider: ProviderServer) -> None:
    """One account at GitHub, another at Discord: they share an origin here, so they must differ in number."""
    link(browser, provider, "discord")
    provider.account = Account(provider.account.number + 1)
    link(browser, provider, "github")


def link(browser: Browser, provider: ProviderServer, name: str = "github") -> None:
    browser.fill("/account/links", button=f"link-{name}")
    assert browser.status == 303, browser.text
    arrive(browser, provider.visit(browser.location))


def failures(app: Flask) -> list[tuple[str, str]]:
    """Method and reason of the newest failed attempts, newest first."""
    query = "SELECT method, failure_reason FROM login_events WHERE NOT success ORDER BY id DESC LIMIT 5"
    return [tuple(row) for row in rows(app, query)]


def linked(app: Flask, person: Person) -> list[tuple[str, str, str]]:
    """Provider, issuer and subject of what a person has linked."""
    query = """SELECT provider, issuer, subject FROM linked_identities l JOIN users u ON u.id = l.user_id
               WHERE u.sub = :sub ORDER BY provider"""
    return [tuple(row) for row in rows(app, query, sub=person.sub)]


def mails_of(app: Flask, person: Person) -> list[MailRequested]:
    return [mail for mail in recorded(app, MailRequested) if mail.recipient == person.email]  # type: ignore[attr-defined]


def end_access(app: Flask, person: Person) -> None:
    with app.app_context():
        revoke_access(sub=person.sub, cause="sessions_revoked")
