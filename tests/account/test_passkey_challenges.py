"""Challenges of passkeys: for one use, one browser, ten minutes, and once."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from tests.account.authenticator import Authenticator, Passkey, text
from tests.account.conftest import (
    Person,
    is_signed_in,
    side_by_side,
    sign_in,
)
from tests.account.passkey_doors import (
    ADD,
    SIGN_IN,
    ask,
    failures,
    passkey_ids,
    send,
    sign_in_with,
    token_of_page,
)
from tests.pages import Browser


def test_a_challenge_is_answered_once(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser
) -> None:
    asked = ask(stranger, *SIGN_IN)
    answer = Authenticator().answer(passkey, asked.options)
    assert send(stranger, *SIGN_IN, asked, answer).location == "/account"
    assert send(stranger, *SIGN_IN, asked, answer).location == "/login"
    # Nor by a later answer of the same key.
    later = Authenticator().answer(passkey, asked.options)
    assert send(stranger, *SIGN_IN, asked, later).location == "/login"
    assert failures(app, person) == [("expired", "passkey")] * 2


def test_a_challenge_answered_twice_side_by_side_signs_in_once(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser
) -> None:
    asked = ask(stranger, *SIGN_IN)
    token = token_of_page(stranger, "/login")
    answers = [Authenticator().answer(passkey, asked.options) for _ in range(4)]

    def post(answer: dict[str, Any]) -> Callable[[], Any]:
        twin = Browser(app)
        twin.set_cookie("id_browser", stranger.cookie("id_browser") or "")
        data = {"csrf_token": token, "ticket": asked.ticket, "passkey": json.dumps(answer)}
        return lambda: twin.post("/login/passkey", data).headers["Location"]

    outcomes = side_by_side(*(post(answer) for answer in answers))
    assert sorted(outcomes) == ["/account", "/login", "/login", "/login"]


def test_an_expired_ticket_opens_nothing(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    from libs.people import handover

    monkeypatch.setattr(handover, "TICKET_LIFETIME", timedelta(seconds=-1))
    sign_in_with(stranger, passkey)
    assert "took too long" in stranger.get("/login").text
    assert not is_signed_in(stranger)


@pytest.mark.parametrize("ticket", ["", "x", "abc:def", "y" * 100_000])
def test_a_mangled_ticket_opens_nothing(passkey: Passkey, stranger: Browser, ticket: str) -> None:
    asked = ask(stranger, *SIGN_IN)
    answer = Authenticator().answer(passkey, asked.options)
    asked.ticket = ticket
    send(stranger, *SIGN_IN, asked, answer)
    assert stranger.location == "/login"
    assert not is_signed_in(stranger)


def test_a_ticket_of_another_browser_opens_nothing(app: Flask, passkey: Passkey, stranger: Browser) -> None:
    asked = ask(stranger, *SIGN_IN)
    answer = Authenticator().answer(passkey, asked.options)
    other = Browser(app)
    assert send(other, *SIGN_IN, asked, answer).location == "/login"
    assert not is_signed_in(other)
    assert send(stranger, *SIGN_IN, asked, answer).location == "/account"


def test_a_ticket_for_another_use_opens_nothing(
    browser: Browser, person: Person, passkey: Passkey, app: Flask
) -> None:
    to_add = ask(browser, *ADD)
    answer = Authenticator().answer(passkey, to_add.options)
    assert send(browser, *SIGN_IN, to_add, answer).location == "/login"
    to_sign_in = ask(browser, *SIGN_IN)
    _, made = Authenticator().make({**to_sign_in.options, "user": {"id": text(passkey.handle)}})
    assert send(browser, *ADD, to_sign_in, made).location == "/account/passkeys/add"
    assert len(passkey_ids(app, person)) == 1


def test_a_ticket_to_add_is_its_persons_alone(
    app: Flask, browser: Browser, person: Person, make_person: Callable[..., Person]
) -> None:
    sign_in(browser, person)
    asked = ask(browser, *ADD)
    _, answer = Authenticator().make(asked.options)
    other = make_person()
    sign_in(browser, other, path="/login?another=yes")
    assert send(browser, *ADD, asked, answer).location == "/account/passkeys/add"
    assert passkey_ids(app, person) == passkey_ids(app, other) == []


def test_without_a_csrf_token_nothing_is_asked_or_answered(stranger: Browser) -> None:
    stranger.get("/login")
    for path in ("/login/passkey", "/login/passkey/options"):
        assert stranger.post(path).status_code == 400
