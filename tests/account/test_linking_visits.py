"""A visit to a provider: one browser makes it, once, within ten minutes."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from flask import Flask

from tests.account.conftest import Person, execute, is_signed_in, rows, side_by_side, sign_in
from tests.account.linking_steps import arrive, depart, end_access, failures, link, linked
from tests.account.provider_server import ProviderServer
from tests.pages import ORIGIN, Browser


def test_only_the_browser_that_began_can_come_back(
    app: Flask, linker: Browser, provider: ProviderServer
) -> None:
    """Neither a victim's browser that is led to an attacker's answer, nor one that began a visit of its own."""
    link(linker, provider)
    attacker, victim = Browser(app), Browser(app)
    back = provider.visit(depart(attacker))
    arrive(victim, back)
    assert victim.status == 409
    assert not is_signed_in(victim)
    depart(victim)
    arrive(victim, back)
    assert victim.status == 409
    assert not is_signed_in(victim)


def test_nobody_links_an_attackers_account_to_a_victim(
    app: Flask, linker: Browser, person: Person, make_person: Callable[..., Person], provider: ProviderServer
) -> None:
    attacker = sign_in(Browser(app), make_person())
    attacker.fill("/account/links", button="link-github")
    arrive(linker, provider.visit(attacker.location))
    assert linker.status == 409
    assert not linked(app, person)


def test_a_visit_ends_once(app: Flask, linker: Browser, provider: ProviderServer) -> None:
    link(linker, provider)
    browser = Browser(app)
    back = provider.visit(depart(browser))
    cookies = {name: browser.cookie(name) for name in ("id_browser",)}
    arrive(browser, back)
    assert browser.location == "/account"
    again = Browser(app)
    again.set_cookie("id_browser", cookies["id_browser"] or "")
    arrive(again, back)
    assert again.status == 409
    assert not is_signed_in(again)


def test_two_answers_side_by_side_sign_in_once(app: Flask, linker: Browser, provider: ProviderServer) -> None:
    link(linker, provider)
    browser = Browser(app)
    back = provider.visit(depart(browser))
    twins = [Browser(app) for _ in range(4)]
    for twin in twins:
        twin.set_cookie("id_browser", browser.cookie("id_browser") or "")
    side_by_side(*(lambda twin=twin: arrive(twin, back) for twin in twins))
    assert sorted(twin.status for twin in twins) == [303, 409, 409, 409]


def test_after_ten_minutes_it_is_too_late(app: Flask, linker: Browser, provider: ProviderServer) -> None:
    link(linker, provider)
    browser = Browser(app)
    back = provider.visit(depart(browser))
    execute(app, "UPDATE provider_visits SET expires_at = expires_at - interval '10 minutes'")
    arrive(browser, back)
    assert browser.status == 409
    assert "Please begin again" in browser.text
    assert failures(app)[0] == ("github", "expired")


def test_a_wrong_state_ends_nothing_well(app: Flask, linker: Browser, provider: ProviderServer) -> None:
    link(linker, provider)
    for change in ({"state": "wrong"}, {"state": ""}, {"state": None}):
        browser = Browser(app)
        back = urlsplit(provider.visit(depart(browser)))
        values = {k: v for k, v in {**dict(parse_qsl(back.query)), **change}.items() if v is not None}
        arrive(browser, f"{back.path}?{urlencode(values)}")
        assert browser.status == 409
        assert not is_signed_in(browser)


def test_an_answer_of_one_provider_is_none_at_another(
    app: Flask, linker: Browser, provider: ProviderServer
) -> None:
    link(linker, provider)
    browser = Browser(app)
    back = provider.visit(depart(browser, "discord"))
    arrive(browser, back.replace("/link/discord/", "/link/github/"))
    assert browser.status == 409


def test_a_link_needs_the_session_that_began_it(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    linker.fill("/account/links", button="link-github")
    back = provider.visit(linker.location)
    end_access(app, person)
    arrive(linker, back)
    assert linker.status == 409
    assert not linked(app, person)


def test_a_session_that_ends_while_the_provider_is_asked_links_nothing(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    linker.fill("/account/links", button="link-github")
    back = provider.visit(linker.location)
    asked = provider.api

    def api(path: str, token: str) -> Any:
        end_access(app, person)
        return asked(path, token)

    monkeypatch.setattr(provider, "api", api)
    arrive(linker, back)
    assert linker.status == 409
    assert not linked(app, person)


def test_the_visit_keeps_its_secrets_to_itself(
    app: Flask, browser: Browser, provider: ProviderServer
) -> None:
    query = parse_qs(urlsplit(depart(browser, "acme")).query)
    (row,) = rows(app, "SELECT * FROM provider_visits ORDER BY id DESC LIMIT 1")
    kept = json.dumps([str(value) for value in row])
    assert query["state"][0] not in kept and query["nonce"][0] not in kept
    assert query["redirect_uri"] == [f"{ORIGIN}/link/acme/callback"]
    assert len(query["state"][0]) >= 43 and len(query["nonce"][0]) >= 43
