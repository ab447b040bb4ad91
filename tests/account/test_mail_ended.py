"""Mail of account's that does not arrive: made anew where nobody would ask again, else shown to staff."""

from collections.abc import Callable

import pytest
from flask import Flask

from libs.messaging.events import MailEnded, MailRequested
from tests.account.conftest import PASSWORD, Person, execute, link_in, mails_to, rows, side_by_side
from tests.account.test_password_links import activated
from tests.conftest import receive, run_command, sign_in_copy
from tests.pages import Browser


@pytest.fixture
def email(app: Flask) -> str:
    """Of somebody whom staff have activated directly: their first mail is on its way."""
    event = activated(locale="en")
    receive(app, event, "onboarding")
    return event.email


def ended(app: Flask, mail: MailRequested, outcome: str) -> None:
    event = MailEnded(template=mail.template, deduplication_key=mail.deduplication_key, outcome=outcome)
    assert receive(app, event, "notification") == "handled"


def seen_by_staff(app: Flask, email: str) -> str:
    [(sub,)] = rows(app, "SELECT sub FROM users WHERE email = :email", email=email)
    staff = Browser(app)
    sign_in_copy(staff, app, roles=["support"])
    staff.get(f"/admin/users/{sub}")
    assert staff.status == 200
    return staff.text


def test_a_first_link_that_came_too_late_is_made_anew_three_times_in_a_row(app: Flask, email: str) -> None:
    for number in range(1, 4):
        newest = mails_to(app, email)[-1]
        ended(app, newest, "too_late")
        ended(app, newest, "too_late")
        assert len(mails_to(app, email, "set_password")) == number + 1, "once for each that died"
    ended(app, mails_to(app, email)[-1], "too_late")
    assert len(mails_to(app, email)) == 4
    assert 'id="mail-trouble"' in seen_by_staff(app, email)
    links = [link_in(mail) for mail in mails_to(app, email)]
    assert len(set(links)) == 4
    dead, browser = Browser(app), Browser(app)
    assert dead.get(links[0]).status_code == 410
    browser.fill(links[-1], password=PASSWORD)
    assert browser.status == 303
    assert 'id="mail-trouble"' not in seen_by_staff(app, email), "whoever uses a mailed link reads mail"


def test_ten_of_the_same_side_by_side_make_one_new_link(app: Flask, email: str) -> None:
    [mail] = mails_to(app, email)
    side_by_side(*[lambda: ended(app, mail, "too_late") for _ in range(10)])
    assert len(mails_to(app, email)) == 2


def test_a_link_that_was_used_or_replaced_is_not_made_anew(app: Flask, email: str) -> None:
    [first] = mails_to(app, email)
    run_command(app, "users", "secure", email)
    newest = mails_to(app, email)[-1]
    assert newest.template == "account_secured"
    ended(app, first, "too_late")
    assert mails_to(app, email)[-1] == newest, "the newer one may be in its reader's hands"
    ended(app, newest, "too_late")
    again = mails_to(app, email)[-1]
    assert (again.template, again.deduplication_key != newest.deduplication_key) == ("account_secured", True)
    Browser(app).fill(link_in(again), password=PASSWORD)
    ended(app, again, "too_late")
    assert len(mails_to(app, email, "account_secured")) == 2


def test_who_forgot_a_password_asks_again(app: Flask, person: Person) -> None:
    Browser(app).fill("/password/forgot", email=person.email)
    with app.app_context():
        from services.account.flows.forgotten import answer_requests

        answer_requests()
    [mail] = mails_to(app, person.email, "reset_password")
    ended(app, mail, "too_late")
    assert mails_to(app, person.email, "reset_password") == [mail]


@pytest.mark.parametrize(
    ("outcome", "words"), [("failed", "refused it"), ("suppressed", "not written to any more")]
)
def test_what_failed_is_shown_to_staff_and_nothing_is_sent(
    app: Flask, email: str, outcome: str, words: str
) -> None:
    [mail] = mails_to(app, email)
    ended(app, mail, outcome)
    page = seen_by_staff(app, email)
    assert 'id="mail-trouble"' in page
    assert words in page
    assert mails_to(app, email) == [mail]


def test_a_security_notice_counts_for_the_address_that_it_went_to(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    person = make_person()
    run_command(app, "users", "erase", person.email, "--yes")
    [notice] = [mail for mail in mails_to(app, person.email) if mail.template != "set_password"]
    execute(
        app, "UPDATE security_notices SET email = 'old@people.test' WHERE email = :email", email=person.email
    )
    ended(app, notice, "failed")
    assert 'id="mail-trouble"' not in seen_by_staff(app, person.email)
    execute(
        app,
        "UPDATE security_notices SET email = upper(:email) WHERE email = 'old@people.test'",
        email=person.email,
    )
    ended(app, notice, "failed")
    assert 'id="mail-trouble"' in seen_by_staff(app, person.email)


@pytest.mark.parametrize(
    "key",
    ["set_password:none", "set_password:7f0c9a3e-0a52-4b7e-9f5a-0d5b1f6f2d11", "x", "account_erased:", ""],
)
def test_mail_of_people_who_are_gone_is_no_trouble(app: Flask, key: str) -> None:
    event = MailEnded(template="set_password", deduplication_key=key, outcome="failed")
    assert receive(app, event, "notification") == "handled"
