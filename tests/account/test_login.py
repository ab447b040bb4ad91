"""Signing in with e-mail and password."""

import re
import threading
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from tests.account.conftest import (
    FIREFOX,
    PASSWORD,
    Person,
    cookie_of,
    copy_of,
    execute,
    is_signed_in,
    rows,
    side_by_side,
    sign_in,
)
from tests.pages import Browser, token_of


def counted(app: Flask, name: str, **labels: str) -> float:
    return parts_of(app).metrics.registry.get_sample_value(name, labels) or 0.0


def test_a_member_signs_in_and_lands_on_their_account(app: Flask, browser: Browser, person: Person) -> None:
    browser.get("/account")
    assert browser.status == 303
    assert browser.location == "/login?continue=%2Faccount"
    sign_in(browser, person, browser.location)
    assert browser.location == "/account"
    assert person.email in browser.get("/account").text
    shared = copy_of(app, browser)
    assert shared is not None
    assert (shared.sub, shared.amr, shared.acr, shared.status) == (person.sub, ["pwd"], "1", "active")
    assert shared.claims["email"] == person.email
    assert shared.claims["name"] == "Ann Lee"
    assert shared.auth_time == pytest.approx(time.time(), abs=5)


def test_the_form_has_the_names_that_others_rely_on(browser: Browser) -> None:
    text = browser.get("/login?login_hint=ann%40people.test").text
    assert re.search(r'<input id="email" name="email" type="email" value="ann@people.test"', text)
    assert re.search(r'<input id="password" name="password" type="password"(?! value)', text)
    assert 'id="sign-in"' in text


def test_the_cookie_is_a_secret_that_nothing_stores(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    header = browser.page.headers["Set-Cookie"]
    assert "HttpOnly" in header
    assert "SameSite=Lax" in header
    assert "Path=/" in header
    secret = cookie_of(browser)
    assert len(secret) == 43
    for table in ("sign_in_sessions", "redis_debts", "outbox_events", "audit_entries"):
        assert not rows(app, f"SELECT 1 FROM {table} t WHERE t::text LIKE :secret", secret=f"%{secret}%")
    assert not [key for key in parts_of(app).redis.scan_iter(count=1000) if secret in key]


def test_a_wrong_password_keeps_what_was_typed_but_not_the_password(browser: Browser, person: Person) -> None:
    browser.fill(
        "/login?continue=%2Faccount%2Fsessions", email=person.email, password="a wrong password, wholly"
    )
    assert browser.status == 422
    assert f'value="{person.email}"' in browser.text
    assert "a wrong password" not in browser.text
    assert "The e-mail address or the password is not right." in browser.text
    assert not cookie_of(browser)
    browser.fill(email=person.email, password=person.password)
    assert browser.location == "/account/sessions"


def test_a_known_and_an_unknown_address_get_the_same_answer_for_the_same_work(
    app: Flask, browser: Browser, person: Person
) -> None:
    answers, statements, hashes = [], [], []
    engine = _engine(app)
    here = threading.get_ident()

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        if threading.get_ident() == here:  # the outbox's relay works beside us
            statements[-1].append(statement)

    passwords = app.extensions["passwords"]
    verify = passwords._hasher.verify

    class Counting:
        def verify(self, *arguments: object) -> object:
            hashes[-1] += 1
            return verify(*arguments)

    browser.get("/login")
    real, passwords._hasher = passwords._hasher, Counting()
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        for email in (person.email, "nobody@people.test"):
            statements.append([])
            hashes.append(0)
            browser.fill(email=email, password="a wrong password, wholly")
            answers.append(
                (
                    browser.status,
                    browser.text.replace(email, "EMAIL"),
                    sorted(name for name, _ in browser.page.headers),
                )
            )
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
        passwords._hasher = real
    csrf = re.compile(r'name="csrf_token" value="[^"]+"')
    (status, text, names), (other_status, other_text, other_names) = answers
    assert status == other_status == 422
    assert csrf.sub("", text) == csrf.sub("", other_text)
    assert names == other_names
    assert statements[0] == statements[1]
    assert hashes == [1, 1]


def _engine(app: Flask) -> sa.Engine:
    with app.app_context():
        engine: sa.Engine = parts_of(app).db.engine
        return engine


@pytest.mark.parametrize(
    "spelling",
    [str.upper, lambda email: f"  {email} ", lambda email: email.replace("a", "\uff41")],
    ids=["case", "spaces", "full-width"],
)
def test_an_address_is_the_same_in_every_spelling(
    browser: Browser, person: Person, spelling: Callable[[str], str]
) -> None:
    browser.fill("/login", email=spelling(person.email), password=person.password)
    assert browser.status == 303


def test_a_password_is_the_same_in_every_unicode_form(
    browser: Browser, make_person: Callable[..., Person]
) -> None:
    person = make_person(password="brüllender Löwe im Käfig")
    browser.fill("/login", email=person.email, password="bru\u0308llender Lo\u0308we im Ka\u0308fig")
    assert browser.status == 303


@pytest.mark.parametrize(
    "email",
    [
        "",
        "nobody",
        "a\x00b@people.test",
        "x" * 5000 + "@people.test",
        "{{7*7}}@people.test",
        "@",
        "\ufdfa" * 300,
    ],
)
def test_odd_addresses_are_refused_like_any_other(browser: Browser, email: str) -> None:
    browser.fill("/login", email=email, password=PASSWORD)
    assert browser.status == 422
    assert "49@people" not in browser.text


def test_a_very_long_or_empty_password_is_a_wrong_one(browser: Browser, person: Person) -> None:
    for password in ("", "x" * 100_000, "\x00"):
        browser.fill("/login", email=person.email, password=password)
        assert browser.status == 422


def test_fields_that_are_missing_are_a_refusal(browser: Browser) -> None:
    browser.fill("/login")
    assert browser.status == 422


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test/",
        "/%09/evil.test",
        "javascript:alert(1)",
        "\thttps://evil.test",
        "/ /evil.test",
        "",
    ],
)
def test_the_way_on_never_leads_to_another_origin(browser: Browser, person: Person, target: str) -> None:
    sign_in(browser, person, f"/login?continue={quote(target)}")
    assert browser.location in ("/account", target if target.startswith("/%09") else "/account")
    assert not re.match(r"(?i)([a-z]+:|//|/\\)", browser.location)
    browser.get(f"/login?continue={quote(target)}")
    assert browser.status == 303
    assert "evil" not in browser.location or browser.location.startswith("/%09")


def test_whoever_applies_instead_takes_along_where_they_wanted_to_go(browser: Browser) -> None:
    text = browser.get("/login", query_string={"continue": "/oauth2/authorize/abc?x=1"}).text
    assert 'href="/apply?continue=%2Foauth2%2Fauthorize%2Fabc%3Fx%3D1"' in text
    assert 'href="/apply"' in browser.get("/login", query_string={"continue": "//evil.test"}).text


def test_a_sign_in_needs_the_forms_token_and_our_origin(browser: Browser, person: Person) -> None:
    data = {"email": person.email, "password": person.password}
    browser.post("/login", data)
    assert browser.status == 400
    assert "Please send this again" in browser.text
    assert person.password not in browser.text
    browser.get("/login")
    token = token_of(browser)
    browser.post("/login", {**data, "csrf_token": token}, headers={"Origin": "https://evil.test"})
    assert browser.status == 403
    browser.post("/login", {**data, "csrf_token": token}, headers={"Sec-Fetch-Site": "cross-site"})
    assert browser.status == 403
    assert not cookie_of(browser)


def test_a_disabled_account_tells_its_owner_and_nobody_else(
    app: Flask, browser: Browser, person: Person
) -> None:
    from services.account.flows.users import disable_user

    with app.app_context():
        assert disable_user(sub=person.sub)
    browser.fill("/login", email=person.email, password="a wrong password, wholly")
    assert "is not right" in browser.text
    browser.fill("/login", email=person.email, password=person.password)
    assert browser.status == 422
    assert "This account is disabled" in browser.text


def test_sign_ins_are_counted_by_outcome_and_reason(app: Flask, browser: Browser, person: Person) -> None:
    def counts() -> list[float]:
        return [
            counted(app, "id_auth_login_attempts_total"),
            counted(app, "id_auth_login_failure_total"),
            counted(app, "id_auth_login_failure_reason_total", reason="unknown_account"),
            counted(app, "id_auth_login_failure_reason_total", reason="bad_password"),
        ]

    before = counts()
    sign_in(browser, person)
    browser.fill("/login?another=yes", email=person.email, password="a wrong password, wholly")
    browser.fill("/login?another=yes", email="nobody@people.test", password="a wrong password, wholly")
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [3, 2, 1, 1]


def test_sign_in_goes_on_without_redis_and_its_copy_follows(
    app: Flask, browser: Browser, person: Person, redis_away: Callable[[], None]
) -> None:
    began = time.monotonic()
    sign_in(browser, person)
    assert is_signed_in(browser)
    assert time.monotonic() - began < 3
    redis_away()
    assert copy_of(app, browser) is None
    browser.get("/login/resume?continue=%2Fdemo")
    assert browser.location == "/demo"
    assert copy_of(app, browser) is not None


def test_a_full_redis_stops_nobody_from_signing_in(
    browser: Browser, person: Person, redis_full: None
) -> None:
    sign_in(browser, person)
    assert is_signed_in(browser)


def test_too_many_passwords_at_once_get_a_prompt_503(app: Flask, person: Person) -> None:
    passwords = app.extensions["passwords"]
    turns = passwords._turns._initial_value
    for _ in range(turns):
        passwords._turns.acquire()
    try:
        browser = Browser(app)
        browser.get("/login")
        began = time.monotonic()
        browser.fill("/login", email=person.email, password=person.password)
        assert browser.status == 503
        assert int(browser.page.headers["Retry-After"]) >= 1
        assert time.monotonic() - began < 3
    finally:
        for _ in range(turns):
            passwords._turns.release()
    browser.fill("/login", email=person.email, password=person.password)
    assert browser.status == 303


def test_many_people_sign_in_side_by_side(app: Flask, make_person: Callable[..., Person]) -> None:
    people = [make_person() for _ in range(6)]

    def enter(person: Person) -> int:
        browser = Browser(app)
        browser.fill("/login", email=person.email, password=person.password)
        return browser.status

    assert side_by_side(*(lambda person=person: enter(person) for person in people)) == [303] * 6


def test_a_password_hashed_for_less_is_hashed_again_at_sign_in(
    app: Flask, browser: Browser, person: Person, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("usual_hashing")  # once the person has a password
    sign_in(browser, person)
    query = "SELECT hash FROM password_credentials JOIN users ON id = user_id WHERE sub = :sub"
    [(stored,)] = rows(app, query, sub=person.sub)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    sign_in(browser, person, "/login?another=yes")


def test_a_password_that_changes_between_check_and_sign_in_opens_nothing(
    app: Flask, browser: Browser, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = app.extensions["passwords"]
    is_right = passwords.is_right

    def slowly(password: str, stored: str | None) -> bool:
        answer = is_right(password, stored)
        execute(
            app,
            "UPDATE password_credentials SET hash = 'changed' FROM users WHERE id = user_id AND sub = :sub",
            sub=person.sub,
        )
        return answer

    monkeypatch.setattr(passwords, "is_right", slowly)
    browser.fill("/login", email=person.email, password=person.password)
    assert browser.status == 422
    assert not cookie_of(browser)


def test_the_page_speaks_russian_when_asked_and_stays_so_after_an_error(browser: Browser) -> None:
    assert "Войти" in browser.get("/login?ui_locales=ru").text
    browser.fill(email="nobody@people.test", password="a wrong password, wholly")
    assert "Адрес или пароль не подходят" in browser.text


def test_no_log_line_holds_the_password_the_address_or_the_cookie(
    app: Flask, person: Person, log_text: Callable[[], str]
) -> None:
    browser = Browser(app)
    browser.get("/login", headers={"User-Agent": FIREFOX})
    browser.fill(email=person.email, password="a-wrong-password-wholly")
    sign_in(browser, person)
    text = log_text()
    assert "login_succeeded" in text
    assert "login_refused" in text
    for secret in (person.password, "a-wrong-password-wholly", person.email, cookie_of(browser)):
        assert secret not in text
