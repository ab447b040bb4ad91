"""/admin/keys: administrators see the signing keys, rotate them and replace them."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask

from tests.conftest import sign_in_copy
from tests.oidc.key_tools import beat, ensure, kid_of, kids, pass_time, states
from tests.pages import Browser

pytestmark = pytest.mark.usefixtures("no_keys")


@pytest.fixture
def admin(app: Flask, browser: Browser) -> Browser:
    ensure(app)
    sign_in_copy(browser, app, roles=["admin"])
    return browser


def test_the_page_shows_each_key_its_state_and_its_next_change(app: Flask, admin: Browser) -> None:
    pass_time(app, timedelta(days=90))
    beat(app)
    pass_time(app, timedelta(days=1))
    beat(app)
    page = admin.get("/admin/keys")
    assert page.status_code == 200
    for alg in ("ES256", "RS256"):
        for kid in states(app, alg):
            assert kid in page.text
    assert page.text.count("signs</span>") == 2
    assert page.text.count("is next</span>") == 2
    assert page.text.count("retired</span>") == 2
    assert "BEGIN" not in page.text


@pytest.mark.parametrize("roles", [[], ["support"], ["reviewer"]])
def test_it_is_for_administrators_alone(
    app: Flask, browser_of: Callable[..., Browser], roles: list[str]
) -> None:
    stranger = browser_of(app)
    assert stranger.get("/admin/keys").status_code == 303
    sign_in_copy(stranger, app, roles=roles)
    assert stranger.get("/admin/keys").status_code == 403
    before = kids(app)
    for path in ("/admin/keys/rotate", "/admin/keys/emergency"):
        assert stranger.post(path, {"confirm": "emergency"}).status_code in (400, 403)
    assert kids(app) == before


def test_the_button_lets_the_next_keys_sign(app: Flask, admin: Browser) -> None:
    coming = kid_of(app, "RS256", "next")
    admin.fill("/admin/keys", button="rotate", follow=True)
    assert "New keys sign now: ES256, RS256." in admin.text
    assert states(app, "RS256")[coming] == "current"
    admin.fill(button="rotate", follow=True)
    assert "The next key of RS256 can sign from" in admin.text
    assert states(app, "RS256")[coming] == "current"


def test_what_changes_keys_wants_a_fresh_sign_in(app: Flask, browser: Browser) -> None:
    ensure(app)
    sign_in_copy(browser, app, roles=["admin"], auth_time=int(time.time()) - 600)
    before = states(app, "RS256")
    assert browser.get("/admin/keys").status_code == 200
    for button, fields in (("rotate", {}), ("emergency", {"confirm": "emergency"})):
        browser.fill("/admin/keys", button=button, **fields)
        assert "/login?" in browser.text or "/login?" in browser.location
    assert states(app, "RS256") == before


def test_an_emergency_wants_its_word_typed(app: Flask, admin: Browser) -> None:
    before = kids(app)
    admin.fill("/admin/keys", button="emergency", confirm="yes")
    assert admin.status == 422
    assert "Type the word as it stands here." in admin.text
    assert kids(app) == before
    admin.fill(button="emergency", confirm=" Emergency ", follow=True)
    assert "4 keys are withdrawn" in admin.text
    assert kids(app).isdisjoint(before)
    assert admin.text.count("withdrawn</span>") == 4


def test_the_buttons_are_nobodys_by_a_link(app: Flask, admin: Browser) -> None:
    before = kids(app)
    for path in ("/admin/keys/rotate", "/admin/keys/emergency"):
        assert admin.get(path).status_code == 405
        assert admin.post(path, {"confirm": "emergency"}).status_code != 303
    assert kids(app) == before
