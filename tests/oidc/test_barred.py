"""An app for people with certain roles: who lacks them hears why from us, and the app hears access_denied."""

from collections.abc import Callable

from flask import Flask

from libs.people.sessions import Session
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import RelyingParty
from tests.oidc.test_prompts import refused
from tests.pages import ORIGIN, Browser

Make = Callable[..., RelyingParty]


def test_the_person_reads_why_and_the_way_back_tells_the_app(
    browser: Browser, person: Session, make_client: Make
) -> None:
    client = make_client(name="Review <desk>", allowed_roles=["reviewer"], is_first_party=True)
    page = client.ask(browser)
    assert page.status_code == 403
    assert 'id="error"' in page.text
    assert "Review &lt;desk&gt;" in page.text
    assert person.claims["email"] in page.text
    assert 'id="another" href="/login/choose?continue=%2Foauth2%2Fauthorize%2F' in page.text
    assert "form-action" not in page.headers["Content-Security-Policy"]
    browser.fill(button="back")
    answer = browser.query()
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", "a state", ORIGIN)


def test_nothing_that_is_posted_there_allows_anything(
    browser: Browser, person: Session, make_client: Make
) -> None:
    make_client(allowed_roles=["reviewer"]).ask(browser)
    browser.fill(button="back", answer="allow", sub=person.sub)
    assert browser.query()["error"] == "access_denied"


def test_without_a_page_the_app_is_told_at_once(browser: Browser, person: Session, make_client: Make) -> None:
    make_client(allowed_roles=["reviewer"]).ask(browser, prompt="none")
    assert refused(browser) == "access_denied"


def test_another_account_with_the_role_goes_on(app: Flask, browser: Browser, make_client: Make) -> None:
    client = make_client(allowed_roles=["reviewer", "support"])
    for roles in (["support"], ["admin"]):
        sign_in_copy(browser, app, roles=roles)
        assert "code" in client.answer(browser)
