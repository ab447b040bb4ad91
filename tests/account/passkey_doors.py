"""Passkeys at account's doors, as the page's script uses them; and what account's tables say of them."""

import json
from dataclasses import dataclass
from typing import Any

from flask import Flask

from tests.account.authenticator import Authenticator, Passkey
from tests.account.conftest import Person, rows
from tests.pages import Browser, token_of


@dataclass
class Asked:
    """A question of ours, as the page's script holds it."""

    ticket: str
    options: dict[str, Any]


def ask(browser: Browser, page: str, path: str) -> Asked:
    """Open the page and ask as its script does."""
    browser.get(page)
    assert browser.status == 200, (browser.status, browser.location, browser.text)
    headers = {"Accept": "application/json", "X-CSRFToken": token_of(browser)}
    answer = browser.post(f"{path}/options", headers=headers)
    assert answer.status_code == 200, answer.text
    return Asked(answer.json["ticket"], answer.json["publicKey"])


def send(browser: Browser, page: str, path: str, asked: Asked, answer: Any, **fields: str) -> Browser:
    """Send the answer as the page's script does."""
    browser.get(page)
    written = answer if isinstance(answer, str) else json.dumps(answer)
    data = {"csrf_token": token_of(browser), "ticket": asked.ticket, "passkey": written, **fields}
    browser.post(path, data)
    return browser


ADD = ("/account/passkeys/add", "/account/passkeys/add")
SIGN_IN = ("/login?another=yes", "/login/passkey")
ENROL = ("/enrol", "/enrol/passkey")


def add_passkey(browser: Browser, authenticator: Authenticator | None = None, name: str = "Phone") -> Passkey:
    """Add a passkey to whoever is signed in at this browser."""
    asked = ask(browser, *ADD)
    passkey, answer = (authenticator or Authenticator()).make(asked.options)
    send(browser, *ADD, asked, answer, name=name)
    # Recovery codes come with the first one, of whoever has a password.
    assert "recovery-codes" in browser.text or browser.location == "/account/passkeys", browser.text
    return passkey


def sign_in_with(browser: Browser, passkey: Passkey, authenticator: Authenticator | None = None) -> Browser:
    asked = ask(browser, *SIGN_IN)
    answer = (authenticator or Authenticator()).answer(passkey, asked.options)
    return send(browser, *SIGN_IN, asked, answer)


def failures(app: Flask, person: Person) -> list[tuple[str, str]]:
    query = """SELECT failure_reason, method FROM login_events JOIN users ON users.id = user_id
        WHERE sub = :sub AND NOT success ORDER BY login_events.id"""
    return [tuple(row) for row in rows(app, query, sub=person.sub)]


def passkey_ids(app: Flask, person: Person) -> list[str]:
    query = "SELECT passkeys.id FROM passkeys JOIN users ON users.id = user_id WHERE sub = :sub ORDER BY 1"
    return [str(row.id) for row in rows(app, query, sub=person.sub)]


def token_of_page(browser: Browser, path: str) -> str:
    browser.get(path)
    return token_of(browser)
