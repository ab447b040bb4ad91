"""Refusals: staff find the exact reason of a refused request by its number, on a page and by command."""

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.observe.logs import set_correlation_id
from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import run_command, sign_in_copy
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty, http
from tests.pages import ORIGIN, Browser


@pytest.fixture(autouse=True)
def _full_allowance(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever other tests have used up or closed."""
    from services.oidc.flows import refusals

    monkeypatch.setattr(refusals, "allowance", refusals.Allowance())
    yield


@pytest.fixture
def support(app: Flask) -> Browser:
    browser = Browser(app)
    sign_in_copy(browser, app, roles=["support"])
    return browser


def remember(app: Flask, **more: Any) -> str:
    """Remember a refusal, as an endpoint does; returns the request's id."""
    from services.oidc.flows.refusals import remember as flow

    with app.app_context():
        request_id = set_correlation_id(f"test-{uuid.uuid4().hex}")
        flow(**{"endpoint": "authorize", "error": "invalid_request", **more})
    return request_id


def explained(app: Flask, request_id: str) -> list[dict[str, Any]]:
    result = run_command(app, "clients", "explain", request_id, "--json")
    return json.loads(result.output) if result.exit_code == 0 else []


def number_on(browser: Browser) -> str:
    """The number of the request on a page with an error."""
    found = re.search(r"<code>([0-9a-f]{32})</code>", browser.text)
    assert found, browser.text
    return found[1]


def test_whoever_sees_the_error_page_gives_staff_its_number(
    app: Flask, browser: Browser, support: Browser, client: RelyingParty
) -> None:
    client.send(browser, redirect_uri="https://rp.test/callbock")
    number = number_on(browser)
    assert "at character" not in browser.text, "the exact reason is for staff"
    support.fill("/admin/clients", button="explain", request_id=number)
    assert "redirect_uri differs from the registered one at character 22" in support.text
    assert f"https://rp.test/callbock\n{REDIRECT_URI}\n{' ' * 21}^" in support.text
    assert f"/admin/clients/{client.client_id}" in support.text
    result = run_command(app, "clients", "explain", number)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    sent, registered, caret = lines[4:7]
    assert (sent[14:], registered[14:]) == ("https://rp.test/callbock", REDIRECT_URI)
    assert sent[caret.index("^")] != registered[caret.index("^")]
    assert "every character counts" in result.output


def test_an_error_that_was_sent_to_the_client_is_found_too(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    answer = client.send(browser, scope="openid root")
    [found] = explained(app, answer.headers["X-Request-ID"])
    assert (found["client_id"], found["endpoint"]) == (client.client_id, "authorize")
    assert found["error"] == "invalid_scope"
    assert "root" in found["detail"]


def test_the_token_endpoint_says_its_number_in_a_header(app: Flask, client: RelyingParty) -> None:
    answer = http(app).post(
        "/oauth2/token",
        base_url=ORIGIN,
        data={"grant_type": "authorization_code", "code": "no-such-code", "client_id": client.client_id},
        headers={"X-Request-ID": (number := uuid.uuid4().hex)},
    )
    assert answer.headers["X-Request-ID"] == number
    [found] = explained(app, number)
    assert (found["endpoint"], found["error"]) == ("token", "invalid_client")
    assert found["client_id"] == client.client_id
    assert "verify-secret" in found["advice"]


def test_what_was_never_refused_is_a_sentence(app: Flask, support: Browser) -> None:
    for number in ("nothing-here", "x", "a' OR 1=1 --", "n" * 5000):
        result = run_command(app, "clients", "explain", number)
        assert result.exit_code == 1
        assert "Nothing is on record under this id" in result.output
    for number in ("nothing-here", "%00", "%ff", "x" * 3000):
        support.get(f"/admin/clients/refusals?request_id={number}")
        assert support.status == 200
        assert 'id="nothing"' in support.text


def test_texts_are_cut_and_redacted_and_stay_one_line(app: Flask, support: Browser) -> None:
    detail = "<b>no</b>\n\x00 " + "client_secret=s3cr3t-s3cr3t " + "Bearer abcdefghijklmnop " + "x" * 5000
    number = remember(app, error="e" * 500, description="d" * 5000, detail=detail, client_id="\ud800odd")
    [found] = explained(app, number)
    assert len(found["error"]) == 100
    assert len(found["description"]) == 500
    assert len(found["detail"]) == 1000
    assert "s3cr3t" not in found["detail"]
    assert "abcdefghijklmnop" not in found["detail"]
    assert found["detail"].isprintable()
    support.get(f"/admin/clients/refusals?request_id={number}")
    assert "&lt;b&gt;no" in support.text


def test_a_transaction_neither_loses_it_nor_is_lost_by_it(app: Flask) -> None:
    """It is written after the commit; what is rolled back was no refusal but a failure of ours."""
    from services.oidc.extensions import db
    from services.oidc.flows.refusals import remember as flow

    with app.app_context():
        kept = set_correlation_id(uuid.uuid4().hex)
        with db.transaction() as session:
            flow(endpoint="token", error="invalid_grant")
            session.execute(sa.text("SELECT 1"))
        lost = set_correlation_id(uuid.uuid4().hex)
        with pytest.raises(ZeroDivisionError), db.transaction():
            flow(endpoint="token", error="invalid_grant")
            raise ZeroDivisionError
        beside = set_correlation_id(uuid.uuid4().hex)
        db.session.execute(sa.text("SELECT 1"))  # a read that nobody ended
        flow(endpoint="token", error="invalid_grant")
        assert not db.session().in_transaction(), "no second connection while a first is held"
    assert [len(explained(app, number)) for number in (kept, lost, beside)] == [1, 0, 1]


def test_a_database_that_is_away_costs_one_try_and_no_answer(
    app: Flask,
    browser: Browser,
    client: RelyingParty,
    monkeypatch: pytest.MonkeyPatch,
    log_text: Callable[[], str],
) -> None:
    from services.oidc.flows import refusals

    tries: list[int] = []

    class Broken:
        def execution_options(self, **options: Any) -> Any:
            tries.append(1)
            raise sa.exc.OperationalError("INSERT", {}, Exception("away"))

    client.send(browser)  # the client is known from now on
    monkeypatch.setattr(
        refusals, "db", type("Away", (), {"session": parts_of(app).db.session, "engine": Broken()})()
    )
    for _ in range(3):
        assert client.send(browser, redirect_uri="https://rp.test/odd").status_code == 400
    assert len(tries) == 1, "then nothing is tried for a while"
    assert "refusal_not_kept" in log_text()


def test_a_flood_fills_no_table(app: Flask, log_text: Callable[[], str]) -> None:
    from services.oidc.flows import refusals
    from services.oidc.models import Refusal

    endpoint = f"flood-{uuid.uuid4().hex}"
    barrier = threading.Barrier(4)

    def pour() -> None:
        barrier.wait()
        for _ in range(50):
            remember(app, endpoint=endpoint)

    threads = [threading.Thread(target=pour) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with app.app_context():
        count = parts_of(app).db.session.scalar(
            sa.select(sa.func.count()).select_from(Refusal).where(Refusal.endpoint == endpoint)
        )
    assert refusals.KEPT_AT_ONCE <= count < 200
    assert "refusals_not_kept" in log_text()


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        ("login_required", "", "prompt=none"),
        ("invalid_grant", "The verifier is wrong", "code_verifier"),
        ("invalid_grant", "used", "A code works once"),
        ("invalid_target", "", "Register the resource"),
        ("unsupported_response_type", "", "the reason names it"),
        ("request_not_supported", "", "the reason names it"),
        ("server_error", "", "The failure is ours"),
        ("odd", "", None),
    ],
)
def test_there_is_advice_for_each_kind(app: Flask, error: str, reason: str, words: str | None) -> None:
    [found] = explained(app, remember(app, error=error, detail=reason))
    assert words is None if found["advice"] is None else str(words) in found["advice"]


def test_every_advice_can_be_reached(app: Flask) -> None:
    """None is hidden behind one before it, and each pattern can be read."""
    from services.oidc.flows.refusals.advice import KINDS

    for kind in KINDS:
        re.compile(kind.error)
        re.compile(kind.reason)
    plain = [kind.error for kind in KINDS if not kind.reason]
    assert len(plain) == len(set(plain))
