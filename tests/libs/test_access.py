"""Who may enter a route."""

from flask import Flask

from tests.conftest import sign_in_copy
from tests.pages import ORIGIN, Browser


def test_an_open_page_needs_nobody_signed_in(sample_app: Flask) -> None:
    assert Browser(sample_app).get("/open").text == "open"


def test_a_stranger_is_sent_to_sign_in_and_back(sample_app: Flask) -> None:
    page = Browser(sample_app).get("/mine?tab=2")
    assert page.status_code == 303
    assert page.headers["Location"] == "/login?continue=%2Fmine%3Ftab%3D2"


def test_a_cookie_without_a_copy_takes_the_resume_road(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    browser.set_cookie("id_session", "A" * 43)
    assert browser.get("/mine").headers["Location"] == "/login/resume?continue=%2Fmine"


def test_a_signed_in_person_enters(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    session = sign_in_copy(browser, sample_app)
    assert browser.get("/mine").text == session.sub


def test_a_form_sent_without_a_session_comes_back_filled_in(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    sign_in_copy(browser, sample_app)
    browser.client.delete_cookie("id_session", domain="localhost")
    browser.set_cookie("id_session", "A" * 43)
    browser.post("/mine", {"reason": "kept words", "password": "correct horse"})
    assert "kept words" in browser.text
    assert "correct horse" not in browser.text
    assert "/login/resume?continue=" in browser.text


def test_a_form_can_be_sent_again_once_the_session_is_back(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    browser.set_cookie("id_session", "A" * 43)
    browser.post("/mine", {"reason": "kept words"})
    session = sign_in_copy(browser, sample_app)
    assert browser.fill(button="send-again").text == session.sub


def test_staff_pages_open_to_their_role_and_to_admins_alone(sample_app: Flask) -> None:
    for roles, status in (([], 403), (["support"], 403), (["reviewer"], 200), (["admin"], 200)):
        browser = Browser(sample_app)
        sign_in_copy(browser, sample_app, roles=roles)
        assert browser.get("/desk").status_code == status, roles


def test_a_disabled_person_is_nobody(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    sign_in_copy(browser, sample_app, status="disabled")
    assert browser.get("/mine").status_code == 303


def test_a_route_that_declares_nothing_is_not_served(sample_app: Flask) -> None:
    page = Browser(sample_app).get("/undeclared")
    assert page.status_code == 500
    assert "nobody may see this" not in page.text


def test_a_post_from_another_site_is_refused(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    sign_in_copy(browser, sample_app)
    page = browser.post("/mine", {}, headers={"Origin": "https://evil.test"})
    assert page.status_code == 403
    page = browser.post("/mine", {}, headers={"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN})
    assert page.status_code == 403


def test_a_post_without_its_token_changes_nothing(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    sign_in_copy(browser, sample_app)
    assert browser.post("/mine", {}).status_code == 400
    assert browser.post("/machine", {}).text == "machine", "clients bring no CSRF token"
