"""RP-initiated logout: who is asked, where it leads, and what account is told."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from flask import Flask

from libs.people import sessions
from libs.people.handover import open_ticket
from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import RelyingParty
from tests.pages import ORIGIN, Browser

GOODBYE = "https://rp.test/goodbye"
Make = Callable[..., RelyingParty]


@pytest.fixture
def client(make_client: Make) -> RelyingParty:
    return make_client(post_logout_redirect_uris=[GOODBYE])


def leave(browser: Browser, **parameters: Any) -> None:
    """Go to the logout endpoint and on to where it asks or hands over."""
    browser.get("/oauth2/logout", query_string=parameters)
    while browser.status == 303 and browser.location.startswith("/oauth2/"):
        browser.get(browser.location)


def handed_over(app: Flask, browser: Browser) -> dict[str, Any]:
    """What account reads from the ticket it was given."""
    assert browser.status == 303
    target = urlsplit(browser.location)
    assert target.path == "/logout", browser.location
    ticket = parse_qs(target.query)["ticket"][0]
    return open_ticket(parts_of(app).settings, ticket, purpose="logout", audience="account")


def come_back(app: Flask, browser: Browser) -> None:
    """Do account's part and return."""
    content = handed_over(app, browser)
    browser.client.delete_cookie(sessions.cookie_name(parts_of(app).settings), domain="localhost")
    browser.get(content["return_to"])


def test_with_a_hint_nobody_is_asked_and_the_app_gets_the_person_back(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    id_token = client.tokens(browser)["id_token"]
    leave(browser, id_token_hint=id_token, post_logout_redirect_uri=GOODBYE, state="x y&z")
    content = handed_over(app, browser)
    assert content["sid"] == person.sid
    assert content["client_id"] == client.client_id
    come_back(app, browser)
    assert browser.location.startswith(GOODBYE + "?")
    assert dict(parse_qsl(urlsplit(browser.location).query)) == {"state": "x y&z"}


def test_without_a_hint_there_is_a_question(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    leave(browser, client_id=client.client_id, post_logout_redirect_uri=GOODBYE)
    assert browser.status == 200
    assert 'id="sign-out"' in browser.text
    assert "form-action" not in browser.page.headers["Content-Security-Policy"]
    browser.fill(button="sign-out")
    assert handed_over(app, browser)["sid"] == person.sid
    come_back(app, browser)
    assert browser.location == GOODBYE


def test_the_question_is_asked_in_the_language_that_the_app_names(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    leave(browser, client_id=client.client_id, ui_locales="ru")
    assert 'lang="ru"' in browser.text


def test_with_nothing_at_all_the_last_word_is_ours(app: Flask, browser: Browser, person: Session) -> None:
    leave(browser)
    browser.fill(button="sign-out")
    come_back(app, browser)
    assert browser.status == 200
    assert "Signed out" in browser.text


def test_the_request_may_be_a_post_from_another_site(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    form = {"id_token_hint": client.tokens(browser)["id_token"], "post_logout_redirect_uri": GOODBYE}
    browser.post("/oauth2/logout", form, headers={"Origin": "https://rp.test"})
    browser.get(browser.location)
    assert handed_over(app, browser)["sid"] == person.sid


@pytest.mark.parametrize(
    "target", ["https://evil.test/", GOODBYE + "/", GOODBYE + "?a=b", "//evil.test", "javascript:1"]
)
def test_an_address_that_is_not_registered_is_not_followed_and_the_person_is_asked(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, target: str
) -> None:
    id_token = client.tokens(browser)["id_token"]
    two_accounts(app, browser, person)
    leave(browser, id_token_hint=id_token, post_logout_redirect_uri=target, state="s")
    assert person.claims["email"] in browser.text, "whom the hint names"
    browser.fill(button="sign-out")
    assert handed_over(app, browser)["sid"] == person.sid
    come_back(app, browser)
    assert browser.status == 200
    assert "Signed out" in browser.text


def test_a_hint_that_proves_nothing_leads_to_the_question_and_nowhere_else(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, make_client: Make
) -> None:
    tokens = client.tokens(browser)
    head, body, signature = tokens["id_token"].split(".")
    other = make_client(post_logout_redirect_uris=[GOODBYE])
    for wrong in (
        {"id_token_hint": f"{head}.{body}."},
        {"id_token_hint": f"{head}.{body}.{signature[:-6]}AAAAAA"},
        {"id_token_hint": tokens["access_token"]},
        {"id_token_hint": "nonsense", "client_id": client.client_id},
        {"id_token_hint": tokens["id_token"], "client_id": other.client_id},
        {"id_token_hint": [tokens["id_token"], tokens["id_token"]]},
    ):
        leave(browser, post_logout_redirect_uri=GOODBYE, **wrong)
        assert 'id="sign-out"' in browser.text, wrong
        browser.fill(button="sign-out")
        assert handed_over(app, browser)["return_to"] == "/oauth2/logout/done", wrong


def test_a_pairwise_hint_names_the_person_as_the_app_knows_them(
    app: Flask, browser: Browser, person: Session, make_client: Make
) -> None:
    client = make_client(post_logout_redirect_uris=[GOODBYE], subject_type="pairwise")
    id_token = client.tokens(browser)["id_token"]
    leave(browser, id_token_hint=id_token, post_logout_redirect_uri=GOODBYE)
    assert handed_over(app, browser)["sid"] == person.sid
    browser.set_cookie(sessions.cookie_name(parts_of(app).settings), sessions.make_secret())
    leave(browser, id_token_hint=id_token)
    assert handed_over(app, browser)["sid"] is None, "account knows no session by that number"


def two_accounts(app: Flask, browser: Browser, first: Session) -> Session:
    """Somebody else signs in beside them, and is the current one."""
    name = sessions.cookie_name(parts_of(app).settings)
    before = browser.cookie(name)
    second = sign_in_copy(browser, app)
    browser.set_cookie(name, f"{browser.cookie(name)}.{before}")
    return second


def test_of_several_accounts_the_one_that_the_hint_names_is_signed_out(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    id_token = client.tokens(browser)["id_token"]
    current = two_accounts(app, browser, person)
    leave(browser, id_token_hint=id_token)
    assert handed_over(app, browser)["sid"] == person.sid
    leave(browser)
    assert current.claims["email"] in browser.text
    browser.fill(button="sign-out")
    assert handed_over(app, browser)["sid"] == current.sid


def test_a_logout_hint_chooses_whom_the_question_is_about(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    two_accounts(app, browser, person)
    for hint in (person.claims["email"], person.sub, person.sid):
        leave(browser, client_id=client.client_id, logout_hint=hint)
        assert person.claims["email"] in browser.text
        browser.fill(button="sign-out")
        assert handed_over(app, browser)["sid"] == person.sid


def test_the_answer_is_about_the_account_that_the_page_named(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    leave(browser, client_id=client.client_id)
    two_accounts(app, browser, person)
    browser.fill(button="sign-out")
    assert handed_over(app, browser)["sid"] == person.sid


def test_a_named_session_whose_copy_is_missing_is_accounts_to_find(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    id_token = client.tokens(browser)["id_token"]
    browser.set_cookie(sessions.cookie_name(parts_of(app).settings), sessions.make_secret())
    leave(browser, id_token_hint=id_token)
    content = handed_over(app, browser)
    assert (content["sid"], content["is_hint"]) == (person.sid, True)


def test_the_language_goes_along_to_the_last_word(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    leave(browser, id_token_hint=client.tokens(browser)["id_token"], ui_locales="ru")
    assert browser.query()["ui_locales"] == "ru"
    come_back(app, browser)
    assert 'lang="ru"' in browser.text


def test_a_hint_about_somebody_else_asks(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    id_token = client.tokens(browser)["id_token"]
    other = Browser(app)
    sign_in_copy(other, app)
    leave(other, id_token_hint=id_token)
    assert 'id="sign-out"' in other.text


def test_an_expired_hint_still_names_the_person(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.oidc.protocol import tokens

    real = tokens.time.time
    with monkeypatch.context() as patch:
        patch.setattr(tokens.time, "time", lambda: real() - 86_400)
        id_token = client.tokens(browser)["id_token"]
    leave(browser, id_token_hint=id_token)
    assert handed_over(app, browser)["sid"] == person.sid


def test_nobody_signed_in_is_signed_out(browser: Browser, client: RelyingParty) -> None:
    leave(browser, client_id=client.client_id, post_logout_redirect_uri=GOODBYE)
    assert browser.location == GOODBYE
    leave(browser)
    assert "Signed out" in browser.text


def test_a_cookie_without_copy_is_accounts_to_decide(
    app: Flask, browser: Browser, client: RelyingParty
) -> None:
    browser.set_cookie(sessions.cookie_name(parts_of(app).settings), sessions.make_secret())
    leave(browser, client_id=client.client_id, post_logout_redirect_uri=GOODBYE)
    assert handed_over(app, browser)["sid"] is None


def test_a_ticket_that_is_not_ours_leads_to_accounts_own_page(browser: Browser, person: Session) -> None:
    for ticket in ("", "x", "a:b"):
        browser.get("/oauth2/logout/question", query_string={"ticket": ticket})
        assert browser.location == "/logout"
        browser.get("/oauth2/logout/done", query_string={"ticket": ticket})
        assert browser.location == "/logout", "who is still signed in has not signed out"


def test_a_ticket_for_one_page_opens_no_other(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    browser.get("/oauth2/logout", query_string={"client_id": client.client_id})
    ticket = browser.query()["ticket"]
    browser.get("/oauth2/logout/done", query_string={"ticket": ticket})
    assert browser.location == "/logout"


def test_the_question_needs_its_token(browser: Browser, person: Session) -> None:
    leave(browser)
    page = browser.post(browser.url, {}, headers={"Origin": ORIGIN})
    assert page.status_code == 400
