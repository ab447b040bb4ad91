"""/account/apps: what a person gave which app, and taking it back."""

import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from flask import Flask

from libs.people.sessions import Session
from libs.service import parts_of
from tests.account.conftest import side_by_side
from tests.conftest import run_command, sign_in_copy
from tests.oidc.relying_party import RelyingParty, error_of
from tests.pages import Browser, token_of

OFFLINE = "openid profile email phone offline_access"


def rows(app: Flask, text: str, **values: Any) -> list[Any]:
    with app.app_context(), parts_of(app).db.engine.connect() as connection:
        return list(connection.execute(sa.text(text), values))


def test_whoever_is_not_signed_in_is_asked_to(app: Flask, browser: Browser) -> None:
    browser.get("/account/apps")
    assert (browser.status, browser.location) == (303, "/login?continue=%2Faccount%2Fapps")


def test_without_apps_the_page_says_so(browser: Browser, person: Session) -> None:
    assert "No app has access" in browser.get("/account/apps").text


def test_an_app_is_listed_with_what_it_may_see_in_words(
    browser: Browser, person: Session, make_client: Callable[..., RelyingParty]
) -> None:
    client = make_client(name="<b>Calendar</b>")
    client.tokens(browser, scope=OFFLINE)
    text = browser.get("/account/apps").text
    assert "&lt;b&gt;Calendar&lt;/b&gt;" in text
    for words in ("your e-mail address", "your phone number", "after you sign out", "It last signed you in"):
        assert words in text
    assert "postal address" not in text
    assert browser.page.headers["Cache-Control"] == "no-store"


def test_our_own_apps_and_other_peoples_are_told_apart(
    app: Flask, browser: Browser, person: Session, make_client: Callable[..., RelyingParty]
) -> None:
    make_client(name="Ours indeed", is_first_party=True).tokens(browser)
    elsewhere = Browser(app)
    sign_in_copy(elsewhere, app)
    make_client(name="Of somebody else").tokens(elsewhere)
    text = browser.get("/account/apps").text
    assert "Ours indeed" in text
    assert ">ours<" in text
    assert "Of somebody else" not in text


def test_withdrawn_access_is_refused_everywhere_and_asked_for_anew(
    app: Flask, browser: Browser, person: Session, make_client: Callable[..., RelyingParty]
) -> None:
    client, other = make_client(name="Calendar"), make_client(name="Diary")
    tokens, bound, others = (
        client.tokens(browser, scope=OFFLINE),
        client.tokens(browser),
        other.tokens(browser),
    )
    assert client.userinfo(tokens["access_token"]).status_code == 200
    browser.fill("/account/apps", button=f"withdraw-{client.client_id}", follow=True)
    assert "Calendar has no access to your account any more." in browser.text
    assert f"withdraw-{client.client_id}" not in browser.text
    for given in (tokens, bound):
        assert error_of(client.refresh(given["refresh_token"])) == (400, "invalid_grant")
        assert client.userinfo(given["access_token"]).status_code == 401
        assert client.introspect(given["access_token"]) == {"active": False}
    # That client's alone, and no sign-in session.
    assert other.userinfo(others["access_token"]).status_code == 200
    assert other.refresh(others["refresh_token"]).status_code == 200
    assert 'id="allow"' in client.ask(browser).text
    causes = rows(app, "SELECT DISTINCT end_cause FROM grants WHERE client_id = :id", id=client.client_id)
    assert causes == [("consent_withdrawn",)]
    audit = run_command(app, "audit", "list", "--target", f"client:{client.client_id}").output
    assert "consent.withdrawn" in audit
    assert f"user:{person.sub}" in audit


def test_a_code_on_its_way_dies_with_the_consent(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    code = client.code(browser)
    browser.fill("/account/apps", button=f"withdraw-{client.client_id}")
    assert error_of(client.redeem(code)) == (400, "invalid_grant")


def test_one_person_withdraws_nothing_of_another(
    app: Flask, browser: Browser, person: Session, make_client: Callable[..., RelyingParty]
) -> None:
    theirs, mine = make_client(), make_client()
    tokens = theirs.tokens(browser)
    stranger = Browser(app)
    sign_in_copy(stranger, app)
    mine.tokens(stranger)
    stranger.get("/account/apps")
    token = token_of(stranger)
    for client_id in (theirs.client_id, str(uuid.uuid4()), "", "\x00"):
        answer = stranger.post("/account/apps", {"csrf_token": token, "withdraw": client_id})
        assert answer.status_code in (400, 404), client_id
    assert theirs.userinfo(tokens["access_token"]).status_code == 200


def test_withdrawing_twice_side_by_side_happens_once(
    app: Flask, person: Session, browser: Browser, client: RelyingParty
) -> None:
    from services.oidc.flows.apps import UnknownApp, withdraw

    client.tokens(browser, scope=OFFLINE)

    def once() -> Any:
        with app.app_context():
            return withdraw(sub=person.sub, client_id=client.client_id)

    results = side_by_side(once, once, once)
    assert sorted(type(result).__name__ for result in results) == ["UnknownApp", "UnknownApp", "str"]
    assert UnknownApp.status == 404


def test_a_form_of_another_site_withdraws_nothing(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    tokens = client.tokens(browser)
    browser.get("/account/apps")
    data = {"withdraw": client.client_id}
    assert browser.post("/account/apps", data).status_code == 400
    browser.get("/account/apps")
    data["csrf_token"] = token_of(browser)
    refused = browser.post("/account/apps", data, headers={"Origin": "https://elsewhere.test"})
    assert refused.status_code == 403
    assert client.userinfo(tokens["access_token"]).status_code == 200
