"""Who may enter a route."""

import dataclasses
import importlib.util
import secrets
import time
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask import Flask

from libs.web.redirects import safe_path
from tests.conftest import sign_in_copy
from tests.libs import sample
from tests.pages import ORIGIN, Browser, forms_of


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


def test_a_sensitive_page_asks_for_a_sign_in_of_the_last_minutes(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    sign_in_copy(browser, sample_app, auth_time=int(time.time()) - 301)
    page = browser.get("/sensitive")
    assert page.status_code == 303
    asked = dict(parse_qsl(urlsplit(page.headers["Location"]).query))
    assert asked["continue"] == "/sensitive"
    assert abs(int(asked["fresh_after"]) - (time.time() - 300)) < 30
    sign_in_copy(browser, sample_app)
    assert browser.get("/sensitive").text == "sensitive"


def test_a_sensitive_form_sent_too_late_comes_back_filled_in(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    sign_in_copy(browser, sample_app)
    token = browser.get("/sensitive-form").text
    sign_in_copy(browser, sample_app, auth_time=int(time.time()) - 301)
    browser.post("/sensitive", {"csrf_token": token, "reason": "kept words"})
    assert browser.status == 403
    assert "kept words" in browser.text
    assert "/login?fresh_after=" in browser.text
    sign_in_copy(browser, sample_app)
    assert browser.fill(button="send-again").text == "done: kept words"


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
    for origin in ("https://evil.test", "http://[", "http://localhost:99999999", "é"):
        page = browser.post("/mine", {}, headers={"Origin": origin})
        assert page.status_code == 403, origin
    page = browser.post("/mine", {}, headers={"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN})
    assert page.status_code == 403


def test_a_post_without_its_token_changes_nothing(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    sign_in_copy(browser, sample_app)
    assert browser.post("/mine", {}).status_code == 400
    assert browser.post("/machine", {}).text == "machine", "clients bring no CSRF token"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "null", "Sec-Fetch-Site": "none"},
    ],
)
def test_what_no_browser_vouches_for_is_never_made_a_form_of_ours(
    sample_app: Flask, headers: dict[str, str]
) -> None:
    browser = Browser(sample_app)
    sign_in_copy(browser, sample_app)
    page = browser.post("/mine", {"role": "words of a stranger"}, headers=headers)
    assert page.status_code == 400
    assert "words of a stranger" not in page.text
    assert not forms_of(page.text)
    assert "Start over" in page.text


def test_a_page_that_sends_no_referrer_is_vouched_for_by_the_browser(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    browser.set_cookie("id_session", "A" * 43)
    browser.post(
        "/mine", {"reason": "kept words"}, headers={"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    )
    assert "kept words" in browser.text


def test_no_secret_comes_back_whatever_its_field_is_called(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    browser.post("/mine", {"client_secret": "s3cr3t-1", "recovery_code": "s3cr3t-2", "postcode": "10115"})
    assert "s3cr3t" not in browser.text
    assert "10115" in browser.text
    assert "Passwords are not kept" in browser.text


def test_what_is_entered_is_shown_as_text(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    browser.post("/mine", {"reason": '"><script>alert(1)</script>', '"><b>': "\n</textarea><script>"})
    assert "<script>" not in browser.text
    assert "<b>" not in browser.text


@pytest.mark.parametrize(
    "path", ["/path/a%3Fb", "/path/a%23b", "/path/a%25b", "/path/%5Cevil.test", "/path/a%0Ab", "/path/%D1%8F"]
)
def test_an_odd_path_is_the_same_path_on_the_way_back(sample_app: Flask, path: str) -> None:
    browser = Browser(sample_app)
    browser.get(f"{path}?x=1")
    back = browser.query()["continue"]
    assert safe_path(back) == back == f"{path}?x=1"
    browser.post(f"{path}?x=1", {"reason": "kept"})
    assert forms_of(browser.text)[0].action == f"{path}?x=1"


def test_no_link_of_an_unknown_page_leads_to_another_host(sample_app: Flask) -> None:
    for path in ("//evil.test/x", "/%5Cevil.test", "//%5C/evil.test"):
        page = sample_app.test_client().get(path, headers={"Accept": "text/html"})
        assert page.status_code in (404, 308)
        assert 'href="//' not in page.text
        assert 'href="/\\' not in page.text


def test_an_api_that_would_take_a_cookie_is_not_served(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    sign_in_copy(browser, sample_app)
    page = browser.get("/api/v1/cookie")
    assert page.status_code == 500
    assert "authenticate here" not in page.text


def test_forms_from_before_a_change_of_the_secret_key_are_accepted(
    sample_settings: sample.SampleSettings,
) -> None:
    spec = importlib.util.spec_from_file_location("tests.libs.sample_rotated", sample.__file__)
    assert spec is not None
    assert spec.loader is not None
    rotated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rotated)
    old = rotated.create_app(sample_settings)
    browser = Browser(old)
    browser.post("/limited", {})
    token = dict(forms_of(browser.text)[0].fields)["csrf_token"]
    cookie = browser.cookie("id_browser")
    assert cookie is not None
    changed = dataclasses.replace(
        sample_settings,
        SECRET_KEY=secrets.token_urlsafe(48),
        SECRET_KEY_FALLBACKS=(secrets.token_urlsafe(48), sample_settings.SECRET_KEY),
    )
    spec.loader.exec_module(rotated)
    browser = Browser(rotated.create_app(changed), ip="203.0.113.200")
    browser.set_cookie("id_browser", cookie)
    assert browser.post("/limited", {"csrf_token": token}).status_code == 200
