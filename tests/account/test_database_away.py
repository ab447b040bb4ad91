"""account without its database: prompt refusals that can still speak, and no restart afterwards."""

import time
from collections.abc import Callable

import pytest
from flask import Flask

from tests.account.conftest import Person, cookie_of, delete_copy, is_signed_in, sign_in
from tests.pages import Browser


def test_every_answer_is_a_page_or_a_prompt_503_and_all_is_well_afterwards(
    app: Flask, person: Person, request: pytest.FixtureRequest
) -> None:
    copied, uncopied = sign_in(Browser(app), person), sign_in(Browser(app), person)
    delete_copy(app, uncopied)
    stranger = Browser(app)
    stranger.get("/login")
    come_back: Callable[[], None] = request.getfixturevalue("database_away")
    for browser in (copied, uncopied, stranger):
        cookie = cookie_of(browser)
        for path in (
            "/account",
            "/account/sessions",
            "/login",
            "/login/resume?continue=%2Fdemo",
            "/logout",
            "/enrol",
        ):
            began = time.monotonic()
            browser.get(path)
            assert browser.status in (200, 303, 410, 503), (path, browser.status)
            assert time.monotonic() - began < 3
            if browser.status == 503:
                assert browser.page.headers["Retry-After"]
                assert "short interruption" in browser.text
        assert cookie_of(browser) == cookie
    stranger.fill("/login", email=person.email, password=person.password)
    assert stranger.status == 503
    assert stranger.get("/readyz").status_code == 503
    come_back()
    assert is_signed_in(copied)
    assert is_signed_in(uncopied)
    sign_in(stranger, person)
