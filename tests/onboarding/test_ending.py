"""What nobody goes on with ends by itself; networks are forgotten."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask

from services.onboarding.extensions import db
from services.onboarding.flows import ending
from services.onboarding.tasks import expire_applications, forget_networks
from tests.conftest import run_command
from tests.onboarding import steps
from tests.pages import Browser


def expire(app: Flask) -> None:
    with app.app_context():
        expire_applications()


def state(app: Flask, email: str) -> str:
    value: str = steps.facts(app, email)["state"]
    return value


def test_an_unconfirmed_application_expires_after_two_weeks_and_nobody_is_written_to(
    onboarding_app: Flask,
) -> None:
    email = steps.apply(onboarding_app)
    with steps.later(days=13):
        expire(onboarding_app)
        assert state(onboarding_app, email) == "submitted"
    with steps.later(days=15):
        expire(onboarding_app)
        expire(onboarding_app)
        assert state(onboarding_app, email) == "expired"
        assert [mail.template for mail in steps.mails(onboarding_app, email)] == ["confirm_address"]
        page = Browser(onboarding_app).get(steps.link(onboarding_app, email, "confirm_address"))
        assert page.status_code == 410
        assert "has expired" in page.text
        steps.apply(onboarding_app, email)
        assert state(onboarding_app, email) == "submitted", "the address is free"


def test_whoever_asked_for_a_fresh_mail_has_the_time_anew(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    with steps.later(days=13):
        Browser(onboarding_app).fill("/apply/again", email=email)
    with steps.later(days=15):
        expire(onboarding_app)
        assert state(onboarding_app, email) == "submitted"
        steps.confirm(onboarding_app, email)
        assert state(onboarding_app, email) == "confirmed"


def test_a_confirmed_application_waits_for_its_reviewers_as_long_as_it_takes(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    with steps.later(days=300):
        expire(onboarding_app)
        assert state(onboarding_app, email) == "confirmed"


def test_a_question_without_an_answer_ends_it_and_one_with_an_answer_does_not(onboarding_app: Flask) -> None:
    silent, answering = steps.apply(onboarding_app), steps.apply(onboarding_app)
    for email in (silent, answering):
        steps.confirm(onboarding_app, email)
        steps.ask(onboarding_app, email)
    browser = Browser(onboarding_app)
    browser.fill(steps.status_page(onboarding_app, answering), button="answer", text="Small ones.")
    page = steps.status_page(onboarding_app, silent)
    with steps.later(days=13):
        expire(onboarding_app)
        assert state(onboarding_app, silent) == "in_review"
    with steps.later(days=15):
        expire(onboarding_app)
        assert (state(onboarding_app, silent), state(onboarding_app, answering)) == ("expired", "in_review")
        [mail] = steps.mails(onboarding_app, silent, "application_expired")
        assert mail.context["status"].endswith(page)
        browser.get(page)
        assert 'data-state="expired"' in browser.text
        assert 'id="answer"' not in browser.text


def test_an_approved_application_expires_a_month_after_the_last_mail(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    with steps.later(days=29):
        expire(onboarding_app)
        assert state(onboarding_app, email) == "approved"
    with steps.later(days=31):
        expire(onboarding_app)
        assert state(onboarding_app, email) == "expired"
        assert len(steps.mails(onboarding_app, email, "application_expired")) == 1
        target = f"application:{steps.facts(onboarding_app, email)['id']}"
        audit = run_command(onboarding_app, "audit", "list", "--target", target)
        assert "application.expired" in audit.output


def test_what_account_was_told_to_open_does_not_expire(
    onboarding_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.commands.EVENTS_WAIT_S", 0.0)
    email = steps.approved(onboarding_app)
    run_command(onboarding_app, "applications", "activate", email)
    with steps.later(days=31):
        expire(onboarding_app)
        assert state(onboarding_app, email) == "approved"


def test_two_workers_at_once_end_it_once(onboarding_app: Flask) -> None:
    emails = [steps.approved(onboarding_app) for _ in range(3)]
    barrier = threading.Barrier(3)

    def run() -> None:
        with onboarding_app.app_context():
            barrier.wait()
            ending.expire_due()

    with steps.later(days=31):
        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for email in emails:
            assert state(onboarding_app, email) == "expired"
            assert len(steps.mails(onboarding_app, email, "application_expired")) == 1


def test_an_answer_that_comes_while_time_runs_out_is_either_taken_or_refused(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    steps.ask(onboarding_app, email)
    page = steps.status_page(onboarding_app, email)
    barrier = threading.Barrier(2)
    browser = Browser(onboarding_app)
    browser.get(page)

    def run() -> None:
        with onboarding_app.app_context():
            barrier.wait()
            ending.expire_due()

    def send() -> None:
        barrier.wait()
        browser.fill(button="answer", text="Just in time.", follow=True)

    with steps.later(days=15):
        threads = [threading.Thread(target=target) for target in (run, send)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        is_taken = "your answer is with our reviewers" in browser.text
        assert state(onboarding_app, email) == ("in_review" if is_taken else "expired")


def test_many_are_ended_in_batches(onboarding_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    emails = [steps.apply(onboarding_app) for _ in range(5)]
    monkeypatch.setattr(ending, "AT_ONCE", 2)
    with steps.later(days=15):
        with onboarding_app.app_context():
            assert ending.expire_due() == 2
        expire(onboarding_app)
        assert {state(onboarding_app, email) for email in emails} == {"expired"}


def networks(app: Flask, emails: list[str]) -> list[str | None]:
    query = sa.text("SELECT network FROM applications WHERE email = :email")
    with app.app_context(), db.engine.connect() as connection:
        return [connection.execute(query, {"email": email}).scalar_one() for email in emails]


def test_where_an_application_came_from_is_kept_for_ninety_days(
    onboarding_app: Flask, policy: Callable[..., None]
) -> None:
    emails = [steps.new_email() for _ in range(2)]
    for email, ip in zip(emails, ("198.51.100.77", "2001:db8:1:2:3::4"), strict=True):
        Browser(onboarding_app, ip=ip).fill("/apply", email=email, name="Ada", why="x")
    assert networks(onboarding_app, emails) == ["198.51.100.0/24", "2001:db8:1::/48"]
    with steps.later(days=89), onboarding_app.app_context():
        forget_networks()
    assert None not in networks(onboarding_app, emails)
    with steps.later(days=91), onboarding_app.app_context():
        forget_networks()
    assert networks(onboarding_app, emails) == [None, None]


def test_what_a_proxy_was_told_from_outside_is_no_network(onboarding_app: Flask) -> None:
    email = steps.new_email()
    browser = Browser(onboarding_app, ip="198.51.100.99")
    browser.get("/apply")
    form, _ = browser.find_form("apply", {})
    headers = {
        "X-Forwarded-For": "203.0.113.5",
        "Forwarded": "for=203.0.113.5",
        "Origin": "http://localhost:8000",
    }
    data = {**dict(form.fields), "email": email, "name": "Ada", "why": "x"}
    assert browser.post("/apply", data, headers=headers).status_code == 303
    assert networks(onboarding_app, [email]) == ["198.51.100.0/24"]
