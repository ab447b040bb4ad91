"""Breakers of providers, as people, operators and dashboards meet them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from libs.guard.breakers import KEY
from libs.observe.worker_health import exposition
from libs.service import parts_of
from tests.account.conftest import Person, is_signed_in, rows, sign_in
from tests.account.linking_steps import declare, depart, failures, link, sign_in_with
from tests.account.provider_server import ProviderServer
from tests.conftest import run_command
from tests.pages import Browser

AWAY = "GitHub does not answer at the moment"


@pytest.fixture
def member(app: Flask, browser: Browser, person: Person, provider: ProviderServer) -> Browser:
    """Somebody who has linked an account at the provider."""
    link(sign_in(browser, person), provider)
    return browser


def fail(
    app: Flask, provider: ProviderServer, times: int = 5, name: str = "github", failure: str = "500"
) -> None:
    for _ in range(times):
        browser = Browser(app)
        back = provider.visit(depart(browser, name))
        provider.failure = failure
        browser.get(back)
        provider.failure = None
        assert browser.status == 303


def circuit(app: Flask, name: str = "github_oauth") -> dict[str, Any]:
    client: Any = parts_of(app).redis
    row: dict[str, Any] = json.loads(client.hget(KEY, name) or '{"state": "closed", "failures": 0}')
    return row


def let_time_pass(app: Flask, seconds: float) -> None:
    client: Any = parts_of(app).redis
    row = circuit(app)
    row["retry_at"] -= seconds
    client.hset(KEY, "github_oauth", json.dumps(row, sort_keys=True))


@pytest.mark.parametrize("failure", ["500", "503", "drop", "429"])
def test_five_failures_in_a_row_open_it(app: Flask, provider: ProviderServer, failure: str) -> None:
    fail(app, provider, 4, failure=failure)
    assert circuit(app)["state"] == "closed"
    fail(app, provider, 1, failure=failure)
    assert circuit(app)["state"] == "open"


def test_five_that_hang_open_it(app: Flask, provider: ProviderServer) -> None:
    declare(app, provider, PROVIDER_TIMEOUT_MS=100)
    fail(app, provider, failure="hang")
    assert circuit(app)["state"] == "open"


def test_connections_that_are_refused_open_it(app: Flask, provider: ProviderServer) -> None:
    backs = []
    for _ in range(5):
        browser = Browser(app)
        backs.append((browser, provider.visit(depart(browser))))
    declare(app, provider, GITHUB_TOKEN_URL="http://127.0.0.1:1/token")
    for browser, back in backs:
        browser.get(back)
    assert circuit(app)["state"] == "open"


@pytest.mark.parametrize("failure", ["400", "401", "403", "404", "garbage", "redirect", "huge"])
def test_an_answer_opens_nothing_whatever_it_says(app: Flask, provider: ProviderServer, failure: str) -> None:
    fail(app, provider, 6, failure=failure)
    assert circuit(app) == {"state": "closed", "failures": 0}


def test_one_persons_bad_codes_open_nothing_and_an_answer_ends_the_row(
    app: Flask, provider: ProviderServer
) -> None:
    fail(app, provider, 4)
    browser = Browser(app)
    back = provider.visit(depart(browser))
    browser.get(back.replace("code=", "code=x"))
    assert failures(app)[0] == ("github", "provider_error")
    assert circuit(app)["failures"] == 0
    fail(app, provider, 4)
    assert circuit(app)["state"] == "closed"


def test_to_begin_a_visit_says_nothing_about_the_provider(app: Flask, provider: ProviderServer) -> None:
    """Nobody has been asked yet: the row of failures goes on."""
    fail(app, provider, 4, name="acme")
    depart(Browser(app), "acme")
    fail(app, provider, 1, name="acme")
    assert circuit(app, "acme_oauth")["state"] == "open"


def test_it_stays_open_as_long_as_the_provider_asked(app: Flask, provider: ProviderServer) -> None:
    provider.retry_after = "600"
    fail(app, provider, failure="429")
    let_time_pass(app, 550)
    browser = Browser(app)
    assert AWAY in browser.get("/login").text
    let_time_pass(app, 60)
    assert AWAY not in browser.get("/login").text


@pytest.mark.parametrize(
    "wish", ["soon", "9" * 400, "Wed, 21 Oct 99999999999999999999 07:28:00 GMT", "-1", "²"]
)
def test_a_wait_that_cannot_be_read_is_no_wish(app: Flask, provider: ProviderServer, wish: str) -> None:
    provider.retry_after = wish
    fail(app, provider, failure="503")
    assert AWAY in Browser(app).get("/login").text


def test_with_it_open_nobody_is_sent_there_and_nothing_is_asked(
    app: Flask, member: Browser, provider: ProviderServer
) -> None:
    waiting = Browser(app)
    back = provider.visit(depart(waiting))
    early = Browser(app)
    early.get("/login")
    form, _ = early.find_form("with-github", {})
    fail(app, provider)
    provider.requests.clear()
    waiting.get(back)
    assert waiting.location.startswith("/login")
    early.post(form.action, dict(form.fields))
    assert early.location == "/login?continue=%2Faccount"
    assert AWAY in early.get(early.location).text
    assert not provider.requests
    assert failures(app)[0] == ("github", "provider_error")


def test_the_page_says_so_and_the_other_ways_work(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    fail(app, provider)
    browser = Browser(app)
    text = browser.get("/login").text
    assert 'id="with-github" disabled' in text
    assert AWAY in text and "The other ways to sign in work as always" in text
    assert 'id="with-discord" disabled' not in text
    sign_in_with(browser, provider, "discord")
    assert is_signed_in(browser)  # the same account, by the other provider's door
    assert is_signed_in(sign_in(Browser(app), person))
    assert "unlink-github" in browser.get("/account/links").text


def test_after_a_minute_one_sign_in_closes_it(app: Flask, member: Browser, provider: ProviderServer) -> None:
    fail(app, provider)
    let_time_pass(app, 61)
    browser = Browser(app)
    assert "disabled" not in browser.get("/login").text
    sign_in_with(browser, provider)
    assert is_signed_in(browser)
    assert circuit(app)["state"] == "closed"


def test_health_is_degraded_and_names_the_breaker(app: Flask, provider: ProviderServer) -> None:
    check = parts_of(app).probe.checks["providers"]  # not the probe itself, which would go on running
    assert (check().name, check().status, check().details) == ("providers", "healthy", {})
    fail(app, provider)
    assert (check().name, check().status, check().details) == (
        "providers",
        "degraded",
        {"github_oauth": "open"},
    )


def test_the_worker_shows_the_states(app: Flask, provider: ProviderServer) -> None:
    from libs.observe.metrics import World

    gauges = parts_of(app).gauges

    def text() -> str:
        def read() -> Any:
            with app.app_context():
                return list(gauges())  # type: ignore[misc]

        return exposition([], World([read])).decode()

    assert 'id_breaker_state{name="github_oauth"} 0.0' in text()
    fail(app, provider)
    assert 'id_breaker_state{name="github_oauth"} 2.0' in text()
    assert 'id_breaker_state{name="discord_oauth"} 0.0' in text()


def test_the_commands_list_and_reset_it(app: Flask, member: Browser, provider: ProviderServer) -> None:
    fail(app, provider)
    listed = run_command(app, "breakers", "list").output
    assert "github_oauth | open" in listed.replace("  ", " ")
    assert "discord_oauth" in listed
    done = run_command(app, "breakers", "reset", "github_oauth")
    assert (done.exit_code, done.output) == (0, "github_oauth is closed; it was open.\n")
    (entry,) = rows(app, "SELECT action, target FROM audit_entries ORDER BY id DESC LIMIT 1")
    assert tuple(entry) == ("breaker.reset", "breaker:github_oauth")
    browser = Browser(app)
    sign_in_with(browser, provider)
    assert is_signed_in(browser)


def test_with_redis_away_people_sign_in_with_a_provider_all_the_same(
    app: Flask, member: Browser, provider: ProviderServer, redis_away: Callable[[], None]
) -> None:
    browser = Browser(app)
    assert 'id="with-github"' in browser.get("/login").text
    sign_in_with(browser, provider)
    assert browser.location == "/account"
    assert is_signed_in(browser)
    fail(app, provider)
    assert 'id="with-github" disabled' in browser.get("/login?another=yes").text
    assert parts_of(app).probe.checks["providers"]().details == {"github_oauth": "open"}
    answer = run_command(app, "breakers", "reset", "github_oauth")
    assert answer.exit_code == 1 and "Redis did not answer" in answer.output
    redis_away()
    assert 'id="with-github" disabled' not in browser.get("/login?another=yes").text
