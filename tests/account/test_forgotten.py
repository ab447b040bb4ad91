"""A forgotten password: asked for, and answered by a mailed link."""

import time
import uuid
from collections.abc import Callable
from urllib.parse import quote

import pytest
from flask import Flask

from libs.messaging.events import MailRequested
from libs.settings import SettingsError
from services.account.settings import AccountSettings
from tests.account.conftest import (
    PASSWORD,
    Person,
    copy_of,
    execute,
    is_signed_in,
    link_in,
    mails_to,
    rows,
    side_by_side,
    sign_in,
    token_in,
)
from tests.account.password_tools import (
    NEW_PASSWORD,
    age,
    answer,
    ask,
    counted,
    mailed_link,
)
from tests.pages import Browser

# -- asking ----------------------------------------------------------------------------------------------------


def test_the_way_from_the_sign_in_page_to_a_new_password(
    app: Flask, browser: Browser, member: Person
) -> None:
    assert 'href="/password/forgot"' in browser.get("/login").text
    browser.fill("/password/forgot", email=f" {member.email.upper()} ")
    assert (browser.status, browser.location) == (303, "/password/forgot?sent=yes")
    assert "is on its way" in browser.get(browser.location).text
    assert not mails_to(app, member.email)
    answer(app)
    [mail] = mails_to(app, member.email)
    assert (mail.template, mail.locale) == ("reset_password", "ru")
    assert mail.context["link"].startswith("http://localhost:8000/password/reset?token=")
    browser.fill(link_in(mail), password=NEW_PASSWORD)
    assert (browser.status, browser.location) == (303, "/account")
    assert is_signed_in(browser)
    shared = copy_of(app, browser)
    assert shared is not None
    assert (shared.amr, shared.acr) == (["pwd"], "1")
    sign_in(Browser(app), Person(sub=member.sub, email=member.email, password=NEW_PASSWORD))
    late = Browser(app)
    late.fill("/login", email=member.email, password=member.password)
    assert late.status == 422


def test_known_and_unknown_addresses_get_the_same_answer_for_the_same_work(
    app: Flask, member: Person, make_person: Callable[..., Person]
) -> None:
    closed = make_person()
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=closed.sub)
    answers = []
    for email in (member.email, closed.email, f"nobody-{uuid.uuid4().hex[:10]}@people.test"):
        browser = Browser(app)
        browser.get("/password/forgot")
        with counted(app) as work:
            browser.fill(email=email)
        headers = sorted((name, value) for name, value in browser.page.headers if name != "X-Request-ID")
        answers.append((browser.status, browser.text, headers, work.statements, work.hashes))
        assert browser.status == 303
        page = browser.get(browser.location)
        assert email not in page.text
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][4] == 0
    assert len(answers[0][3]) == 1
    assert not [name for name, _ in answers[0][2] if name == "Set-Cookie"]


def test_nothing_is_mailed_where_nobody_has_the_address_or_the_account_is_disabled(
    app: Flask, person: Person
) -> None:
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=person.sub)
    nobody = f"nobody-{uuid.uuid4().hex[:10]}@people.test"
    for email in (person.email, nobody):
        ask(app, email)
        assert not mails_to(app, email)
    assert not rows(app, "SELECT 1 FROM password_requests")


def test_what_was_typed_waits_sealed(app: Flask, member: Person) -> None:
    Browser(app).fill("/password/forgot", email=member.email)
    [request] = rows(app, "SELECT t::text AS whole FROM password_requests t ORDER BY id DESC LIMIT 1")
    assert member.email not in request.whole
    answer(app)
    assert len(mails_to(app, member.email)) == 1


def test_a_request_whose_key_is_gone_holds_up_nobody(app: Flask, member: Person) -> None:
    execute(
        app,
        "INSERT INTO password_requests (id, sealed_email, locale, created_at) VALUES (:id, 'old:xxxx', 'en', now())",
        id=uuid.UUID(int=1),
    )
    ask(app, member.email)
    assert len(mails_to(app, member.email)) == 1
    assert not rows(app, "SELECT 1 FROM password_requests")


def test_two_workers_side_by_side_answer_each_request_once(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    people = [make_person() for _ in range(5)]
    for person in people:
        Browser(app).fill("/password/forgot", email=person.email)
    results = side_by_side(*[lambda: answer(app)] * 4)
    assert results == [None] * 4
    assert [len(mails_to(app, person.email)) for person in people] == [1] * 5


@pytest.mark.parametrize(
    "email", ["", "nobody", "a b@people.test", "x" * 300 + "@people.test", "a@b\r\nBcc: c@d"]
)
def test_what_cannot_be_an_address_is_said_so(app: Flask, browser: Browser, email: str) -> None:
    browser.fill("/password/forgot", email=email)
    assert browser.status == 422
    assert "does not look like an e-mail address" in browser.text
    assert not rows(app, "SELECT 1 FROM password_requests")


def test_asking_goes_on_without_redis_and_the_sweep_answers(
    app: Flask, member: Person, redis_away: Callable[[], None]
) -> None:
    browser = Browser(app)
    browser.fill("/password/forgot", email=member.email)
    assert browser.status == 303
    redis_away()
    answer(app)
    assert len(mails_to(app, member.email)) == 1


# -- a stranger at the form ------------------------------------------------------------------------------------


def test_a_stranger_can_neither_flood_the_mailbox_nor_end_the_link_that_its_owner_is_about_to_use(
    app: Flask, member: Person, link: str
) -> None:
    spellings = [member.email, member.email.upper(), member.email.replace("a", "\uff41")]
    for number in range(12):
        stranger = ask(app, spellings[number % 3], ip=f"198.51.100.{number}")
        assert stranger.location == "/password/forgot?sent=yes"
    assert len(mails_to(app, member.email)) == 1
    owner = Browser(app)
    owner.fill(link, password=NEW_PASSWORD)
    assert owner.status == 303


def test_a_stranger_can_never_lock_a_person_out_of_a_reset(app: Flask, member: Person) -> None:
    for _ in range(18):  # three hours of somebody asking every ten minutes
        ask(app, member.email)
        [newest] = mails_to(app, member.email)[-1:]
        page = Browser(app).get(link_in(newest))
        assert page.status_code == 200
        age(app, member.sub, 10)
    assert len(mails_to(app, member.email)) == 18  # six an hour
    last = link_in(mails_to(app, member.email)[-1])
    owner = Browser(app)
    owner.fill(last, password=NEW_PASSWORD)
    assert owner.status == 303


def test_an_account_is_mailed_only_so_many_links_an_hour_without_telling(app: Flask, member: Person) -> None:
    for _ in range(9):
        stranger = ask(app, member.email)
        assert stranger.location == "/password/forgot?sent=yes"
        execute(
            app,
            "UPDATE password_links SET used_at = now() FROM users WHERE users.id = user_id AND sub = :sub",
            sub=member.sub,
        )
    assert len(mails_to(app, member.email)) == 6


def test_one_address_of_the_network_cannot_ask_for_everybody(app: Flask) -> None:
    browser = Browser(app, ip="203.0.113.90")
    browser.get("/password/forgot")
    statuses = []
    for number in range(31):
        browser.fill("/password/forgot", email=f"n{number}@people.test")
        statuses.append(browser.status)
    assert statuses == [303] * 30 + [429]
    assert int(browser.page.headers["Retry-After"]) > 0
    other = Browser(app, ip="203.0.113.9")
    other.fill("/password/forgot", email="n1@people.test")
    assert other.status == 303


def test_two_hundred_guesses_at_one_account_do_not_stand_in_the_way_of_its_reset(
    app: Flask, member: Person
) -> None:
    statuses = []
    for number in range(30):
        guesser = Browser(app, ip=f"198.51.100.{number + 1}")
        guesser.fill("/login", email=member.email, password="a wrong password, wholly")
        statuses.append(guesser.status)
    assert 429 in statuses
    owner = Browser(app, ip="192.0.2.7")
    owner.fill(mailed_link(app, member.email), password=NEW_PASSWORD)
    assert owner.status == 303


# -- upkeep ----------------------------------------------------------------------------------------------------


def test_no_log_line_and_no_column_holds_what_is_secret(
    app: Flask, member: Person, log_text: Callable[[], str]
) -> None:
    link = mailed_link(app, member.email)
    browser = Browser(app)
    browser.fill(link, password=NEW_PASSWORD)
    assert browser.status == 303
    text = log_text()
    assert "password_request_answered" in text
    for secret in (token_in(link), quote(token_in(link)), NEW_PASSWORD, member.email):
        assert secret not in text
    for table in (
        "password_links",
        "password_requests",
        "audit_entries",
        "outbox_events",
        "security_notices",
    ):
        found = rows(app, f"SELECT 1 FROM {table} t WHERE t::text LIKE :token", token=f"%{token_in(link)}%")
        assert not found, table


def test_the_mail_is_of_no_use_once_its_link_has_expired(app: Flask, member: Person, link: str) -> None:
    [mail] = mails_to(app, member.email, "reset_password")
    assert isinstance(mail, MailRequested)
    assert mail.expires_at is not None
    assert mail.expires_at < time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 31 * 60))


@pytest.mark.parametrize(("name", "value"), [("RESET_MAIL_INTERVAL", "1800"), ("RESET_MAILS_PER_HOUR", "0")])
def test_settings_that_would_lock_people_out_stop_the_start_by_name(
    environment: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=name):
        AccountSettings.load({**environment, name: value})


def test_the_old_password_is_never_asked_for_and_never_mailed(app: Flask, member: Person, link: str) -> None:
    browser = Browser(app)
    browser.get(link)
    assert "old_password" not in browser.text
    assert PASSWORD not in str(mails_to(app, member.email))
