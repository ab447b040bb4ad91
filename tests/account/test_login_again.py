"""Signing in where somebody is signed in already: again, as somebody else, as one of several."""

from collections.abc import Callable

from flask import Flask

from tests.account.conftest import Person, cookie_of, copy_of, is_signed_in, rows, sign_in
from tests.pages import Browser, token_of


def test_whoever_is_signed_in_is_sent_on_unless_a_newer_sign_in_is_wanted(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    assert browser.get("/login?continue=%2Faccount%2Fsessions").headers["Location"] == "/account/sessions"
    shared = copy_of(app, browser)
    assert shared is not None
    assert browser.get(f"/login?fresh_after={shared.auth_time}").status_code == 303
    browser.get(f"/login?continue=%2Faccount&fresh_after={shared.auth_time + 1}")
    assert browser.status == 200
    assert "Please sign in to go on." in browser.text
    for nonsense in ("x", "-1", "9" * 30, "²"):
        assert browser.get(f"/login?fresh_after={nonsense}").status_code == 303


def test_signing_in_again_changes_the_secret_and_keeps_the_session(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    old_secret, old = cookie_of(browser), copy_of(app, browser)
    assert old is not None
    sign_in(browser, person, f"/login?fresh_after={old.auth_time + 100}")
    new = copy_of(app, browser)
    assert new is not None
    assert cookie_of(browser) != old_secret
    assert new.sid == old.sid
    assert len(rows(app, "SELECT 1 FROM sign_in_sessions WHERE id = :sid", sid=old.sid)) == 1
    thief = Browser(app)
    thief.set_cookie("id_session", old_secret)
    assert not is_signed_in(thief)


def test_a_planted_cookie_is_not_taken_over(app: Flask, browser: Browser, person: Person) -> None:
    planted = "A" * 43
    browser.set_cookie("id_session", planted)
    sign_in(browser, person)
    assert planted not in cookie_of(browser)


def test_a_second_account_is_added_in_front_and_the_sixth_pushes_the_first_out(
    app: Flask, browser: Browser, make_person: Callable[..., Person]
) -> None:
    people = [make_person() for _ in range(6)]
    for person in people[:5]:
        sign_in(browser, person, "/login?another=yes")
    assert len(cookie_of(browser).split(".")) == 5
    assert people[4].email in browser.get("/account").text
    first = cookie_of(browser).split(".")[-1]
    sign_in(browser, people[5], "/login?another=yes")
    assert len(cookie_of(browser).split(".")) == 5
    assert first not in cookie_of(browser)
    pushed_out = Browser(app)
    pushed_out.set_cookie("id_session", first)
    assert not is_signed_in(pushed_out)
    # Whoever signs in again moves to the front.
    sign_in(browser, people[3], "/login?another=yes")
    assert len(cookie_of(browser).split(".")) == 5
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.sub == people[3].sub


def test_a_person_goes_on_as_another_account_of_this_browser_only(
    app: Flask, browser: Browser, make_person: Callable[..., Person]
) -> None:
    ann, bob, eve = make_person(), make_person(), make_person()
    sign_in(browser, ann)
    sign_in(browser, bob, "/login?another=yes")
    elsewhere = sign_in(Browser(app), eve)
    strange = copy_of(app, elsewhere)
    assert strange is not None
    browser.fill("/account", button="switch")
    assert browser.status == 303
    assert ann.email in browser.get("/account").text
    browser.get("/account")
    token = token_of(browser)
    browser.post("/account", {"csrf_token": token, "switch": strange.sid})
    assert browser.status == 404
