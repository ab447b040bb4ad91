"""Recovery codes: shown once, each good once, told of when used."""

import html
import re
from collections.abc import Callable

import pytest
from flask import Flask

from libs.messaging.events import MailRequested
from tests.account.conftest import Person, copy_of, rows, side_by_side, sign_in
from tests.account.second_factors import App, codes_in, half_sign_in, person_with_app
from tests.account.test_second_factor import audited, events, mails
from tests.conftest import recorded
from tests.pages import Browser, token_of


def used(app: Flask, person: Person) -> list[MailRequested]:
    return [
        event
        for event in recorded(app, MailRequested)
        if event.recipient == person.email and event.template == "recovery_code_used"
    ]


def by_code(app: Flask, person: Person, code: str) -> Browser:
    browser = half_sign_in(Browser(app), person)
    browser.fill("/login/second-factor/other", code=code)
    return browser


def test_ten_come_with_the_first_second_factor_and_are_shown_once(
    app: Flask, browser: Browser, phone: App, person: Person
) -> None:
    assert len(set(phone.recovery_codes)) == 10
    assert all(len(code) == 19 for code in phone.recovery_codes)
    browser.get("/account/second-factor")
    assert "You have 10 recovery codes left." in browser.text
    assert not codes_in(browser.text)
    assert "recovery_codes.made" in audited(app, person)


def test_a_code_takes_the_place_of_the_second_step_once(
    app: Flask, person: Person, phone: App, browser: Browser
) -> None:
    code = phone.recovery_codes[3]
    other = by_code(app, person, code)
    assert other.status == 303
    shared = copy_of(app, other)
    assert shared is not None
    assert (shared.amr, shared.acr) == (["pwd", "otp", "mfa"], "2")
    assert events(app, person)[0] == ("recovery_code", None)
    again = by_code(app, person, code)
    assert again.status == 422
    assert "This code is not right, or it was used already." in again.text
    assert 'name="code" type="text" value=""' in again.text, "what was typed is not repeated"
    assert events(app, person)[0] == ("recovery_code", "bad_second_factor")
    assert [mail.context["left"] for mail in used(app, person)] == ["9"]
    browser.get("/account/second-factor")
    assert "You have 9 recovery codes left." in browser.text


def test_the_other_page_keeps_where_the_person_wanted_to_go(app: Flask, person: Person, phone: App) -> None:
    browser = half_sign_in(Browser(app), person, "/login?continue=%2Faccount%2Fsessions%3Fx%3D1")
    page = browser.get(browser.location).text
    other = re.search(r'href="(/login/second-factor/other[^"]*)" id="other"', page)
    assert other
    browser.fill(html.unescape(other[1]), code="wrong-wrong-wrong")
    assert browser.status == 422
    assert "Recovery code" in browser.text, "an error stays on the page that it was made on"
    browser.fill(code=phone.recovery_codes[0])
    assert browser.location == "/account/sessions?x=1"


def test_one_code_side_by_side_signs_in_once(app: Flask, person: Person, phone: App) -> None:
    browsers = [half_sign_in(Browser(app), person) for _ in range(4)]
    for browser in browsers:
        browser.get("/login/second-factor/other")
    code = phone.recovery_codes[0]
    side_by_side(*(lambda browser=browser: browser.fill(code=code) for browser in browsers))
    assert sorted(browser.status for browser in browsers) == [303, 422, 422, 422]
    assert len(used(app, person)) == 1


@pytest.mark.parametrize(
    "spelling",
    [
        str.upper,
        lambda code: code.replace("-", " "),
        lambda code: code.replace("-", ""),
        lambda code: code.replace("0", "O").replace("1", "l"),
        lambda code: f"  {code}\n",
    ],
    ids=["capitals", "spaces", "nothing", "lookalikes", "around"],
)
def test_a_code_is_the_same_however_it_is_typed(
    app: Flask, person: Person, phone: App, spelling: Callable[[str], str]
) -> None:
    assert by_code(app, person, spelling(phone.recovery_codes[0])).status == 303


def test_one_persons_codes_are_no_other_persons(
    app: Flask, person: Person, phone: App, make_person: Callable[..., Person]
) -> None:
    other = make_person()
    person_with_app(app, Browser(app), other)
    assert by_code(app, other, phone.recovery_codes[0]).status == 422
    assert by_code(app, person, phone.recovery_codes[0]).status == 303


def test_a_new_set_ends_the_old_one(app: Flask, person: Person, phone: App, browser: Browser) -> None:
    browser.fill("/account/second-factor", button="new-codes")
    new = codes_in(browser.text)
    assert len(set(new) | set(phone.recovery_codes)) == 20
    assert mails(app, person)[-1] == "recovery_codes_made"
    assert by_code(app, person, phone.recovery_codes[0]).status == 422
    assert by_code(app, person, new[0]).status == 303


def test_codes_are_kept_as_hashes_alone(app: Flask, person: Person, phone: App) -> None:
    query = "SELECT digest FROM recovery_codes JOIN users ON users.id = user_id WHERE sub = :sub"
    digests = [row.digest for row in rows(app, query, sub=person.sub)]
    assert len(digests) == 10
    assert not set(digests) & set(phone.recovery_codes)


def test_the_codes_come_as_a_file_while_they_are_shown(
    app: Flask, browser: Browser, person: Person, make_person: Callable[..., Person]
) -> None:
    person_with_app(app, browser, person)
    browser.fill("/account/second-factor", button="new-codes")
    shown = codes_in(browser.text)
    browser.fill(button="download")
    page = browser.page
    assert page.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert page.headers["Content-Disposition"].startswith("attachment")
    assert page.headers["Cache-Control"] == "no-store"
    assert [line for line in page.text.splitlines() if line in shown] == shown
    browser.get("/account/sessions")
    token = token_of(browser)
    for foreign in (["<script>"], [*shown, "another"], []):
        browser.post(
            "/account/second-factor/recovery-codes.txt", {"csrf_token": token, "recovery_code": foreign}
        )
        assert browser.status == 303
    stranger = sign_in(Browser(app), make_person())
    stranger.get("/account/sessions")
    stranger.post(
        "/account/second-factor/recovery-codes.txt",
        {"csrf_token": token_of(stranger), "recovery_code": shown},
    )
    assert stranger.status == 303


def test_whoever_has_no_second_factor_gets_no_codes(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    browser.get("/account/second-factor")
    assert 'id="new-codes"' not in browser.text
    browser.post("/account/second-factor", {"csrf_token": token_of(browser), "codes": "yes"})
    assert browser.status == 303
    assert "recovery_codes.made" not in audited(app, person)
    assert "second_factor_added" not in mails(app, person)


def test_another_second_factor_makes_no_second_set(app: Flask, person: Person, phone: App) -> None:
    from libs.service import parts_of
    from services.account.flows.recovery_codes import ensure_recovery_codes
    from services.account.flows.users import lock_user

    with app.app_context(), parts_of(app).db.transaction() as session:
        assert ensure_recovery_codes(session, lock_user(session, sub=person.sub)) is None
    assert by_code(app, person, phone.recovery_codes[0]).status == 303
