"""A code by mail: the second step that enhanced mode asks for."""

import re
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask

from libs.messaging.events import MailRequested
from libs.service import parts_of
from tests.account.conftest import (
    Person,
    cookie_of,
    copy_of,
    execute,
    is_signed_in,
    mails_to,
    rows,
    side_by_side,
    sign_in,
)
from tests.account.linking_steps import link, sign_in_with
from tests.account.provider_server import ProviderServer
from tests.account.second_factors import person_with_app
from tests.account.test_login import counted
from tests.pages import Browser, token_of

pytestmark = pytest.mark.usefixtures("enhanced")


@pytest.fixture
def halfway(app: Flask, person: Person) -> Browser:
    """A browser in which the right password was entered, and a code is waited for."""
    browser = Browser(app)
    sign_in(browser, person, "/login?continue=%2Fdemo")
    assert browser.location == "/login/code?continue=%2Fdemo"
    browser.get(browser.location)
    return browser


def letters_to(app: Flask, person: Person) -> list[MailRequested]:
    return mails_to(app, person.email, "sign_in_code")


def code_for(app: Flask, person: Person) -> str:
    code: str = letters_to(app, person)[-1].context["code"]
    assert re.fullmatch(r"[0-9]{8}", code)
    return code


def another(code: str) -> str:
    return f"{(int(code) + 1) % 10**8:08d}"


def test_a_new_device_is_asked_for_the_code_that_was_mailed(
    app: Flask, halfway: Browser, person: Person
) -> None:
    assert halfway.status == 200
    assert f"a•••@{person.email.partition('@')[2]}" in halfway.text
    assert person.email not in halfway.text
    assert not is_signed_in(halfway)
    halfway.get("/login/code?continue=%2Fdemo")
    halfway.fill(code=code_for(app, person))
    assert (halfway.status, halfway.location) == (303, "/demo")
    assert is_signed_in(halfway)
    shared = copy_of(app, halfway)
    assert shared is not None
    assert (shared.amr, shared.acr) == (["pwd"], "1")  # a mail is no factor
    [event] = rows(app, "SELECT method, success FROM login_events WHERE sid = :sid", sid=shared.sid)
    assert tuple(event) == ("mail_code", True)
    [user] = rows(app, "SELECT email_verified_at FROM users WHERE sub = :sub", sub=person.sub)
    assert user.email_verified_at is None


def test_the_browser_is_known_from_then_on(app: Flask, halfway: Browser, person: Person) -> None:
    halfway.fill(code=code_for(app, person))
    sign_in(halfway, person, "/login?another=yes")
    assert halfway.location == "/account"
    assert len(letters_to(app, person)) == 1


def test_without_enhanced_mode_nobody_is_asked(app: Flask, browser: Browser, person: Person) -> None:
    parts_of(app).enhanced.end()
    sign_in(browser, person)
    assert browser.location == "/account"
    assert letters_to(app, person) == []


@pytest.mark.parametrize("shape", ["{0} {1}", "{0}-{1}", " {0}{1}\u00a0", "{0}\u2009{1}"])
def test_the_code_may_be_typed_in_groups(app: Flask, halfway: Browser, person: Person, shape: str) -> None:
    code = code_for(app, person)
    halfway.fill(code=shape.format(code[:4], code[4:]))
    assert halfway.status == 303


def test_five_wrong_codes_end_the_sign_in(app: Flask, halfway: Browser, person: Person) -> None:
    code = code_for(app, person)
    before = counted(app, "id_auth_login_failure_reason_total", reason="bad_second_factor")
    for _ in range(4):
        halfway.fill(code=another(code))
        assert halfway.status == 422
        assert "This is not the code" in halfway.text
    halfway.fill(code=another(code))
    assert halfway.location == "/login?continue=%2Fdemo"
    assert "Please sign in again" in halfway.get(halfway.location).text
    halfway.get("/login/code")
    assert halfway.location == "/login"
    assert counted(app, "id_auth_login_failure_reason_total", reason="bad_second_factor") == before + 5
    [attempt] = rows(
        app,
        "SELECT finished_at FROM sign_in_attempts JOIN users u ON u.id = user_id WHERE sub = :sub",
        sub=person.sub,
    )
    assert attempt.finished_at is not None


@pytest.mark.parametrize(
    "typed", ["", "1234567", "123456789", "abcdefgh", "١٢٣٤٥٦٧٨", "x" * 10_000, "\x00" * 8]
)
def test_what_can_be_no_code_is_refused_and_is_no_guess(
    app: Flask, halfway: Browser, person: Person, typed: str
) -> None:
    halfway.fill(code=typed)
    assert halfway.status == 422
    [attempt] = rows(
        app,
        "SELECT failures FROM sign_in_attempts JOIN users u ON u.id = user_id WHERE sub = :sub",
        sub=person.sub,
    )
    assert attempt.failures == 0
    assert not cookie_of(halfway)


def test_guesses_side_by_side_are_five(app: Flask, halfway: Browser, person: Person) -> None:
    from services.account.flows.attempts import AttemptEnded
    from services.account.flows.mail_code import WrongCode, check
    from services.account.flows.visitor import Visitor

    wrong = another(code_for(app, person))
    [(attempt_id,)] = rows(
        app,
        "SELECT a.id FROM sign_in_attempts a JOIN users u ON u.id = user_id WHERE sub = :sub",
        sub=person.sub,
    )

    def attempt() -> type[Exception]:
        with app.test_request_context():
            try:
                check(attempt_id=attempt_id, code=wrong, visitor=Visitor())
            except (WrongCode, AttemptEnded) as error:
                return type(error)
            raise AssertionError("a wrong code opened the door")

    answers = side_by_side(*[attempt] * 12)
    assert sorted(kind.__name__ for kind in answers) == ["AttemptEnded"] * 8 + ["WrongCode"] * 4
    halfway.fill(code=code_for(app, person))
    assert halfway.location.startswith("/login?")


def test_one_code_signs_in_once(app: Flask, halfway: Browser, person: Person) -> None:
    code = code_for(app, person)
    halfway.get("/login/code")
    token = token_of(halfway)
    cookie = halfway.cookie("id_browser") or ""

    def press() -> str:
        browser = Browser(app)
        browser.set_cookie("id_browser", cookie)
        browser.post("/login/code", {"csrf_token": token, "code": code})
        return browser.location

    assert sorted(side_by_side(press, press, press)) == ["/account", "/login", "/login"]


def test_another_code_replaces_the_one_before_and_guesses_stay_counted(
    app: Flask, halfway: Browser, person: Person
) -> None:
    first = code_for(app, person)
    for _ in range(3):
        halfway.fill(code=another(first))
    halfway.get("/login/code?continue=%2Fdemo")
    halfway.fill(button="send-again")
    assert halfway.location == "/login/code?continue=%2Fdemo"
    assert "Another code is on its way" in halfway.get(halfway.location).text
    second = code_for(app, person)
    if first != second:
        halfway.fill(code=first)
        assert halfway.status == 422
        halfway.fill(code=second)
        assert halfway.location == "/demo"


def test_mails_to_one_account_have_a_limit_of_their_own(app: Flask, halfway: Browser, person: Person) -> None:
    for _ in range(2):
        halfway.get("/login/code")
        halfway.fill(button="send-again")
        assert halfway.status == 303
    halfway.get("/login/code")
    halfway.fill(button="send-again")
    assert halfway.status == 429
    assert "Code of eight digits" in halfway.text
    assert re.search("Wait [0-9]+ seconds", halfway.text)
    assert 50 <= int(halfway.page.headers["Retry-After"]) <= 60
    assert len(letters_to(app, person)) == 3
    # From elsewhere too, and the right password is no failure there.
    elsewhere = Browser(app, ip="203.0.113.9")
    elsewhere.fill("/login", email=person.email, password=person.password)
    assert elsewhere.status == 429
    # The newest code works all the same.
    halfway.fill(code=code_for(app, person))
    assert halfway.status == 303


def test_the_code_lives_as_long_as_the_attempt(app: Flask, halfway: Browser, person: Person) -> None:
    mail = letters_to(app, person)[-1]
    [(expires_at,)] = rows(
        app,
        "SELECT extract(epoch FROM expires_at) FROM sign_in_attempts JOIN users u ON u.id = user_id"
        " WHERE sub = :sub",
        sub=person.sub,
    )
    assert mail.expires_at is not None
    assert abs(float(expires_at) - time.time() - 600) < 30
    execute(
        app,
        "UPDATE sign_in_attempts SET expires_at = now() FROM users u WHERE u.id = user_id AND sub = :sub",
        sub=person.sub,
    )
    halfway.fill(code=code_for(app, person))
    assert halfway.location == "/login?continue=%2Fdemo"
    assert not cookie_of(halfway)


def test_a_code_is_for_the_browser_that_began(app: Flask, halfway: Browser, person: Person) -> None:
    stranger = Browser(app)
    stranger.get("/login/code")
    assert stranger.location == "/login"
    stranger.get("/login")
    token = token_of(stranger)
    stranger.post("/login/code", {"csrf_token": token, "code": code_for(app, person)})
    assert stranger.location == "/login"
    assert not cookie_of(stranger)


def test_another_persons_code_opens_nothing(
    app: Flask, halfway: Browser, person: Person, make_person: Callable[..., Person]
) -> None:
    other = make_person()
    sign_in(Browser(app), other)
    if code_for(app, other) != code_for(app, person):
        halfway.fill(code=code_for(app, other))
        assert halfway.status == 422


def test_giving_up_ends_the_code(app: Flask, halfway: Browser, person: Person) -> None:
    cookie = halfway.cookie("id_browser") or ""
    halfway.fill(button="cancel")
    assert halfway.location == "/login?continue=%2Fdemo"
    halfway.set_cookie("id_browser", cookie)
    halfway.get("/login/code")
    assert halfway.location == "/login"
    [event] = rows(
        app,
        "SELECT failure_reason, method FROM login_events e JOIN users u ON u.id = user_id WHERE sub = :sub",
        sub=person.sub,
    )
    assert tuple(event) == ("cancelled", "password")


def test_a_password_that_changed_meanwhile_voids_the_code(
    app: Flask, halfway: Browser, person: Person
) -> None:
    execute(
        app,
        "UPDATE password_credentials SET hash = 'changed' FROM users WHERE id = user_id AND sub = :sub",
        sub=person.sub,
    )
    halfway.fill(code=code_for(app, person))
    assert halfway.location == "/login?continue=%2Fdemo"
    assert not cookie_of(halfway)


def test_a_second_factor_set_up_meanwhile_is_asked_for(app: Flask, person: Person, halfway: Browser) -> None:
    parts_of(app).enhanced.end()
    person_with_app(app, Browser(app), person)
    halfway.fill("/login/code", code=code_for(app, person))
    assert halfway.location.startswith("/login")
    assert not is_signed_in(halfway)


def test_a_disabled_person_is_not_let_in_by_a_code(app: Flask, halfway: Browser, person: Person) -> None:
    from services.account.flows.users import disable_user

    code = code_for(app, person)
    with app.app_context():
        assert disable_user(sub=person.sub)
    halfway.get("/login/code")
    halfway.get("/login")
    token = token_of(halfway)
    halfway.post("/login/code", {"csrf_token": token, "code": code})
    assert halfway.location == "/login"
    assert not cookie_of(halfway)


def test_a_known_and_an_unknown_account_look_alike_until_the_password_is_right(
    app: Flask, browser: Browser, person: Person
) -> None:
    for email in (person.email, "nobody@people.test"):
        browser.fill("/login", email=email, password="a wrong password, wholly")
        assert browser.status == 422
    assert letters_to(app, person) == []


def test_who_was_mailed_a_link_is_not_mailed_a_code(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    browser.get(f"/enrol?ticket={enrol_ticket()}", follow=True)
    browser.fill(password="green kettle on a windowsill")
    assert (browser.status, browser.location) == (303, "/demo")
    assert is_signed_in(browser)


def test_whoever_comes_by_a_linked_account_is_asked_too(
    app: Flask, browser: Browser, person: Person, provider: ProviderServer
) -> None:
    mode = parts_of(app).enhanced
    mode.end()
    link(sign_in(browser, person), provider)
    mode.begin(timedelta(hours=1))
    other = Browser(app)
    sign_in_with(other, provider)
    assert other.location.startswith("/login/code")
    assert not is_signed_in(other)
    other.get("/login/code")
    other.fill(code=code_for(app, person))
    shared = copy_of(app, other)
    assert shared is not None
    assert (shared.sub, shared.amr, shared.acr) == (person.sub, ["fed"], "1")


def test_the_code_is_nowhere_but_in_the_mail(app: Flask, person: Person, log_text: Callable[[], str]) -> None:
    browser = Browser(app)
    sign_in(browser, person)
    code = code_for(app, person)
    browser.get("/login/code")
    assert code not in browser.text
    for query in (
        "SELECT row_to_json(a)::text FROM sign_in_attempts a",
        "SELECT row_to_json(o)::text FROM outbox_events o",
        "SELECT row_to_json(e)::text FROM login_events e",
    ):
        assert not any(code in text for (text,) in rows(app, query))
    assert code not in log_text()


def test_a_full_redis_keeps_nobody_out(
    app: Flask, browser: Browser, person: Person, redis_full: None
) -> None:
    sign_in(browser, person)
    browser.get(browser.location)
    browser.fill(code=code_for(app, person))
    assert is_signed_in(browser)


def test_the_page_speaks_russian(halfway: Browser) -> None:
    assert "Проверьте почту" in halfway.get("/login/code?ui_locales=ru").text
