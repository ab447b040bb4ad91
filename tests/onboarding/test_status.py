"""The applicant's own page: where things stand, an answer, thinking better of it."""

import base64
import threading

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from services.onboarding.extensions import db
from services.onboarding.flows import states
from services.onboarding.models import Question
from tests.conftest import run_command
from tests.onboarding import steps
from tests.pages import ORIGIN, Browser


def confirmed(app: Flask) -> tuple[str, str]:
    """An address that is confirmed, and its page."""
    email = steps.apply(app)
    steps.confirm(app, email)
    return email, steps.status_page(app, email)


def standing(browser: Browser) -> str:
    return browser.text.split('data-state="')[1].split('"')[0]


def test_the_page_is_in_every_letter_from_the_confirmation_on_and_keeps_its_secret(
    onboarding_app: Flask,
) -> None:
    email = steps.apply(onboarding_app)
    assert "status" not in steps.mails(onboarding_app, email)[0].context
    steps.confirm(onboarding_app, email)
    steps.approve(onboarding_app, email)
    pages = {mail.context["status"] for mail in steps.mails(onboarding_app, email)[1:]}
    assert len(pages) == 1
    page = Browser(onboarding_app).get(pages.pop())
    assert page.status_code == 200
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"


def test_it_says_where_things_stand_at_every_step(onboarding_app: Flask) -> None:
    email, page = confirmed(onboarding_app)
    browser = Browser(onboarding_app)
    browser.get(page)
    assert "with our reviewers" in browser.text
    assert steps.WHY in browser.text
    assert browser.text.count('<li class="done"') == 2
    steps.approve(onboarding_app, email)
    browser.get(page)
    assert standing(browser) == "approved"
    assert browser.text.count('<li class="done"') == 4
    steps.open_account(onboarding_app, email)
    browser.get(page)
    assert standing(browser) == "activated"
    assert browser.text.count('<li class="done"') == 5
    assert 'href="/login"' in browser.text


def test_a_rejection_shows_the_reason_only_where_it_is_for_the_applicant(onboarding_app: Flask) -> None:
    for is_shown in (True, False):
        email, page = confirmed(onboarding_app)
        run_command(onboarding_app, "applications", "reject", email, "--reason", "Too fond of engines.")
        with onboarding_app.app_context(), db.transaction() as session:
            session.execute(
                sa.text("UPDATE applications SET reason_is_shown = :shown WHERE email = :email"),
                {"shown": is_shown, "email": email},
            )
        browser = Browser(onboarding_app)
        browser.get(page)
        assert standing(browser) == "rejected"
        assert ("Too fond of engines." in browser.text) is is_shown
        assert "Rita" not in browser.text


def test_a_question_is_answered_there_once(onboarding_app: Flask) -> None:
    email, page = confirmed(onboarding_app)
    steps.ask(onboarding_app, email, "Which <b>boats</b>?")
    browser = Browser(onboarding_app)
    browser.get(page)
    assert "Which &lt;b&gt;boats&lt;/b&gt;?" in browser.text
    browser.fill(button="answer", text="")
    assert browser.status == 422
    assert 'id="text-error"' in browser.text
    browser.fill(button="answer", text="Small ones.\nOf wood.", follow=True)
    assert "your answer is with our reviewers" in browser.text
    assert "Small ones.<br>Of wood." in browser.text
    assert 'id="answer"' not in browser.text
    with onboarding_app.app_context():
        [question] = db.session.scalars(sa.select(Question).where(Question.text == "Which <b>boats</b>?"))
        assert question.answer == "Small ones.\nOf wood."
        db.session.rollback()


def test_of_two_answers_at_once_one_counts(onboarding_app: Flask) -> None:
    email, page = confirmed(onboarding_app)
    steps.ask(onboarding_app, email, f"To {email}?")
    browsers = [Browser(onboarding_app) for _ in range(4)]
    for browser in browsers:
        browser.get(page)
    barrier = threading.Barrier(4)

    def send(browser: Browser, number: int) -> None:
        barrier.wait()
        browser.fill(button="answer", text=f"Answer {number}")

    threads = [threading.Thread(target=send, args=pair) for pair in zip(browsers, range(4), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [browser.status for browser in browsers] == [303] * 4
    target = f"application:{steps.facts(onboarding_app, email)['id']}"
    audit = run_command(onboarding_app, "audit", "list", "--target", target)
    assert audit.output.count("application.question_answered") == 1


def test_withdrawing_asks_first_and_is_told_by_mail(onboarding_app: Flask) -> None:
    email, page = confirmed(onboarding_app)
    steps.ask(onboarding_app, email)
    browser = Browser(onboarding_app)
    browser.get(page.replace("/status", "/status/withdraw"))
    assert steps.facts(onboarding_app, email)["state"] == "in_review", "looking withdraws nothing"
    browser.fill(button="withdraw", follow=True)
    assert standing(browser) == "withdrawn"
    assert steps.facts(onboarding_app, email)["state"] == "withdrawn"
    [mail] = steps.mails(onboarding_app, email, "application_withdrawn")
    assert mail.context["status"] == ORIGIN + page
    assert 'id="answer"' not in browser.text, "nobody waits for an answer"
    steps.apply(onboarding_app, email)
    assert steps.facts(onboarding_app, email)["state"] == "submitted", "the address is free"


def test_withdrawing_ends_the_links_and_their_pages_say_why(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    activation = steps.link(onboarding_app, email, "activation_link")
    page = steps.status_page(onboarding_app, email)
    Browser(onboarding_app).fill(page.replace("/status", "/status/withdraw"), button="withdraw")
    ended = Browser(onboarding_app).get(activation)
    assert ended.status_code == 410
    assert "has been withdrawn" in ended.text
    assert run_command(onboarding_app, "applications", "activation-link", email).exit_code == 1


def test_withdrawing_and_approving_at_once_has_one_winner(onboarding_app: Flask) -> None:
    email, page = confirmed(onboarding_app)
    applicant, staff = Browser(onboarding_app), steps.reviewer(onboarding_app)
    applicant.get(page.replace("/status", "/status/withdraw"))
    staff.get(steps.page_of(onboarding_app, email))
    barrier = threading.Barrier(2)

    def press(browser: Browser, button: str) -> None:
        barrier.wait()
        browser.fill(button=button)

    threads = [
        threading.Thread(target=press, args=pair) for pair in ((applicant, "withdraw"), (staff, "approve"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A yes may still be withdrawn; after a withdrawal nobody says yes.
    assert applicant.status == 303
    assert steps.facts(onboarding_app, email)["state"] == "withdrawn"
    assert staff.status in (303, 409)
    assert len(steps.mails(onboarding_app, email, "application_withdrawn")) == 1


def test_pressed_twice_it_is_withdrawn_once(onboarding_app: Flask) -> None:
    email, page = confirmed(onboarding_app)
    browsers = [Browser(onboarding_app) for _ in range(4)]
    for browser in browsers:
        browser.get(page.replace("/status", "/status/withdraw"))
    threads = [threading.Thread(target=browser.fill, kwargs={"button": "withdraw"}) for browser in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [browser.status for browser in browsers] == [303] * 4
    assert len(steps.mails(onboarding_app, email, "application_withdrawn")) == 1


def test_what_account_was_told_to_open_is_not_withdrawn(
    onboarding_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.commands.EVENTS_WAIT_S", 0.0)
    email, page = confirmed(onboarding_app)
    browser = Browser(onboarding_app)
    browser.get(page.replace("/status", "/status/withdraw"))
    assert run_command(onboarding_app, "applications", "activate", email).exit_code == 0
    browser.fill(button="withdraw", follow=True)
    assert "nothing is withdrawn" in browser.text
    assert steps.facts(onboarding_app, email)["state"] == "approved"
    assert 'id="withdraw"' not in browser.text


def test_a_fresh_mail_comes_in_one_click_at_most_once_a_minute(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    page = steps.status_page(onboarding_app, email)
    browser = Browser(onboarding_app)
    browser.get(page)
    browser.fill(button="send-again", follow=True)
    assert len(steps.mails(onboarding_app, email, "activation_link")) == 1
    with steps.later(minutes=2):
        browser.fill(button="send-again", follow=True)
    assert len(steps.mails(onboarding_app, email, "activation_link")) == 2


def test_a_lost_page_comes_back_by_mail(onboarding_app: Flask) -> None:
    email, page = confirmed(onboarding_app)
    with steps.later(minutes=2):
        Browser(onboarding_app).fill("/apply/again", email=email)
    assert len(steps.mails(onboarding_app, email, "address_confirmed")) == 2
    assert steps.status_page(onboarding_app, email) == page


def test_a_foreign_or_mangled_token_is_a_page_that_offers_a_fresh_mail(onboarding_app: Flask) -> None:
    _, page = confirmed(onboarding_app)
    token = page.partition("token=")[2]
    other = ("A" if token[0] != "A" else "B") + token[1:]
    standard = base64.b64encode(base64.urlsafe_b64decode(token)).decode()
    wrong = ["", "x", token[:-1], token + "A", other, token[:-1] + "é", "=" * 64, "a\0" * 32]
    if standard != token:
        wrong.append(standard)
    for bad in wrong:
        for path in ("/apply/status", "/apply/status/withdraw"):
            browser = Browser(onboarding_app)
            browser.get(path, query_string={"token": bad})
            assert browser.status == 410, bad
            assert 'id="send-again"' in browser.text


def test_a_token_of_a_link_is_nothing_here_and_one_of_here_is_nothing_there(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    status = steps.status_page(onboarding_app, email).partition("?")[2]
    activation = steps.link(onboarding_app, email, "activation_link").partition("?")[2]
    assert Browser(onboarding_app).get(f"/apply/status?{activation}").status_code == 410
    for path in ("/activate", "/apply/confirm"):
        assert Browser(onboarding_app).get(f"{path}?{status}").status_code == 410


def test_links_outlive_a_rotation_of_the_secret_key_by_its_fallback(
    onboarding_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, page = confirmed(onboarding_app)
    old = parts_of(onboarding_app).settings.SECRET_KEY
    new = "another-secret-key-0123456789-abcdefghijklmnop"
    steps.with_settings(onboarding_app, monkeypatch, SECRET_KEY=new, SECRET_KEY_FALLBACKS=(old,))
    assert Browser(onboarding_app).get(page).status_code == 200
    steps.with_settings(onboarding_app, monkeypatch, SECRET_KEY=new, SECRET_KEY_FALLBACKS=())
    assert Browser(onboarding_app).get(page).status_code == 410


def test_every_form_there_needs_its_own_token(onboarding_app: Flask) -> None:
    email, page = confirmed(onboarding_app)
    steps.ask(onboarding_app, email)
    query = page.partition("?")[2]
    for path in ("answer", "again", "withdraw"):
        browser = Browser(onboarding_app)
        assert browser.post(f"/apply/status/{path}?{query}", {"text": "x"}).status_code == 400
    assert steps.facts(onboarding_app, email)["state"] == "in_review"


def test_the_used_link_of_the_first_mail_leads_there(onboarding_app: Flask) -> None:
    email, page = confirmed(onboarding_app)
    browser = Browser(onboarding_app)
    browser.get(steps.link(onboarding_app, email, "confirm_address"))
    assert (browser.status, browser.location) == (303, page)


def test_whoever_enrolled_while_the_yes_was_taken_back_is_a_line_of_the_history(
    onboarding_app: Flask,
) -> None:
    email = steps.approved(onboarding_app)
    application_id = steps.facts(onboarding_app, email)["id"]
    with onboarding_app.app_context():
        states.make(states.TAKE_BACK, application_id)
    assert steps.open_account(onboarding_app, email) == "handled"
    assert steps.facts(onboarding_app, email)["state"] == "activated"
    page = steps.reviewer(onboarding_app).get(f"/admin/applications/{application_id}").text
    assert "Enrolled all the same" in page
