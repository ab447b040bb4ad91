"""/login/choose: the accounts of one browser, and the choice among them."""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask import Flask

from libs.people.handover import open_ticket
from libs.service import parts_of
from tests.account.conftest import Person, cookie_of, copy_of, is_signed_in, sign_in
from tests.account.second_factors import half_sign_in, person_with_app
from tests.account.test_sessions import revocations
from tests.pages import Browser, token_of

INTERACTION = "/oauth2/authorize/abc.client"


@pytest.fixture
def ann(make_person: Callable[..., Person]) -> Person:
    return make_person(name="Ann <b>Lee</b>")


@pytest.fixture
def bob(make_person: Callable[..., Person]) -> Person:
    return make_person(name="Bob Roe")


@pytest.fixture
def both(browser: Browser, ann: Person, bob: Person) -> Browser:
    """A browser with both, Bob current."""
    sign_in(browser, ann)
    return sign_in(browser, bob, "/login?another=yes")


def sid_of(app: Flask, person: Person) -> str:
    from services.account.flows.sessions import list_sessions

    with app.app_context():
        [(row, _)] = list_sessions(sub=person.sub)
        return row.id


def test_the_accounts_are_listed_the_current_one_first(both: Browser, ann: Person, bob: Person) -> None:
    text = both.get("/login/choose").text
    assert text.index(bob.email) < text.index(ann.email)
    assert "<b>Lee" not in text
    assert text.count('<span class="tag">current</span>') == 1


def test_choosing_makes_an_account_current_and_goes_on(
    app: Flask, both: Browser, ann: Person, bob: Person
) -> None:
    both.fill("/login/choose?continue=%2Faccount%2Fsessions", button=sid_of(app, ann))
    assert both.location == "/account/sessions"
    shared = copy_of(app, both)
    assert shared is not None
    assert shared.sub == ann.sub
    assert ann.email in both.get("/account").text
    assert len(cookie_of(both).split(".")) == 2


def test_the_issuer_hears_of_the_choice_by_a_sealed_ticket(app: Flask, both: Browser, ann: Person) -> None:
    from urllib.parse import quote

    both.fill(
        "/login/choose?continue=" + quote(INTERACTION + "?ui_locales=ru", safe=""), button=sid_of(app, ann)
    )
    target = urlsplit(both.location)
    assert target.path == INTERACTION
    query = dict(parse_qsl(target.query))
    assert query["ui_locales"] == "ru"
    content = open_ticket(parts_of(app).settings, query["ticket"], purpose="account_chosen", audience="oidc")
    assert content == {"path": INTERACTION, "sid": sid_of(app, ann)}


def test_no_other_page_gets_a_ticket(app: Flask, both: Browser, ann: Person) -> None:
    both.fill("/login/choose?continue=%2F%2Fevil.test%2Foauth2%2Fauthorize%2Fx", button=sid_of(app, ann))
    assert both.location == "/account"


def test_one_account_leaves_the_browser_and_the_others_stay(
    app: Flask, both: Browser, ann: Person, bob: Person
) -> None:
    sid = sid_of(app, bob)
    both.get("/login/choose?continue=%2Fdemo")
    both.post("/login/choose?continue=%2Fdemo", {"csrf_token": token_of(both), "remove": sid})
    assert both.location == "/login/choose?continue=%2Fdemo"
    assert [event.sids for event in revocations(app, bob)] == [[sid]]
    text = both.get(both.location).text
    assert bob.email in text, "the sentence that says so"
    assert sid not in text
    assert ann.email in text
    both.post("/login/choose?continue=%2Fdemo", {"csrf_token": token_of(both), "remove": sid_of(app, ann)})
    both.get(both.location)
    assert both.location == "/login?continue=%2Fdemo"
    assert not is_signed_in(both)


def test_another_account_is_signed_in_beside_them(both: Browser, make_person: Callable[..., Person]) -> None:
    eve = make_person()
    page = both.get("/login/choose?continue=%2Fdemo").text
    assert 'href="/login?another=yes&amp;continue=%2Fdemo"' in page
    sign_in(both, eve, "/login?another=yes&continue=%2Fdemo")
    assert both.location == "/demo"
    assert len(cookie_of(both).split(".")) == 3


def test_who_signs_in_to_another_account_is_not_told_to_sign_in_again(both: Browser) -> None:
    both.get("/login?another=yes&continue=%2Faccount")
    assert both.status == 200
    assert "Please sign in to go on." not in both.text


def test_sessions_of_other_browsers_cannot_be_chosen_or_ended(
    app: Flask, both: Browser, make_person: Callable[..., Person]
) -> None:
    eve = make_person()
    elsewhere = sign_in(Browser(app), eve)
    both.get("/login/choose")
    token = token_of(both)
    for field in ("choose", "remove"):
        for sid in (sid_of(app, eve), "nonsense", ""):
            both.post("/login/choose", {"csrf_token": token, field: sid})
            assert both.status == 404
    assert is_signed_in(elsewhere)
    both.post("/login/choose", {"choose": sid_of(app, eve)})
    assert both.status == 400, "it needs the form's token"


def test_with_nobody_signed_in_it_is_the_sign_in_page(app: Flask, person: Person, browser: Browser) -> None:
    browser.get("/login/choose?continue=%2Fdemo")
    assert browser.location == "/login?continue=%2Fdemo"
    person_with_app(app, Browser(app), person)
    half = half_sign_in(browser, person)
    half.get("/login/choose")
    assert half.location == "/login?continue=%2Faccount", "half signed in is not signed in"


def test_it_works_without_redis(both: Browser, ann: Person, redis_away: Callable[[], None]) -> None:
    assert ann.email in both.get("/login/choose").text
