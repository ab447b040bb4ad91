"""Decisions: reasons that are shown or not, several at once, and taking one back."""

import threading
import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.service import parts_of
from services.onboarding.models import Application
from tests.conftest import run_command
from tests.onboarding import steps
from tests.onboarding.test_review_claims import act
from tests.pages import Browser, token_of


def test_a_reason_for_staff_alone_is_not_mailed(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = steps.reviewer(onboarding_app)
    browser.get(steps.page_of(onboarding_app, email))
    # The box "The applicant reads it" is left empty, as a browser sends it.
    data = {"csrf_token": token_of(browser), "decision": "reject", "reason": "A known spammer."}
    browser.post(browser.url, data, follow=True)
    assert "Reason, for staff alone" in browser.text
    assert "A known spammer." in browser.text
    [mail] = steps.mails(onboarding_app, email, "application_rejected")
    assert mail.context["reason"] is None
    values = steps.facts(onboarding_app, email)
    assert (values["reason"], values["reason_is_shown"]) == ("A known spammer.", False)


def several(app: Flask, browser: Browser, emails: list[str], button: str, **fields: str) -> Browser:
    """Mark the applications of these addresses in the queue, and press a button."""
    mark = emails[0].split("-")[0]
    ids = [steps.facts(app, email)["id"] for email in emails]
    browser.fill(
        f"/admin/applications?order=newest&q={mark}", button=button, follow=True, application=ids, **fields
    )
    return browser


def test_several_are_approved_at_once(onboarding_app: Flask) -> None:
    emails = [steps.apply(onboarding_app) for _ in range(3)]
    steps.confirm(onboarding_app, emails[0])
    browser = several(onboarding_app, steps.reviewer(onboarding_app), emails, "approve-marked")
    assert browser.status == 200
    assert "3 applications were approved." in browser.text
    assert {steps.facts(onboarding_app, email)["state"] for email in emails} == {"approved"}
    assert len(steps.mails(onboarding_app, emails[0], "activation_link")) == 1


def test_several_are_rejected_with_one_reason(onboarding_app: Flask) -> None:
    emails = [steps.apply(onboarding_app) for _ in range(2)]
    browser = steps.reviewer(onboarding_app)
    several(onboarding_app, browser, emails, "reject-marked", reason="Full.", reason_is_shown="yes")
    assert "2 applications were rejected." in browser.text
    for email in emails:
        assert steps.mails(onboarding_app, email, "application_rejected")[0].context["reason"] == "Full."


def test_what_of_several_was_not_decided_is_named_with_why(onboarding_app: Flask) -> None:
    free, taken, decided = (steps.apply(onboarding_app, name=f"Nr {number}") for number in range(3))
    emails = [free, taken, decided]
    browser = steps.reviewer(onboarding_app)
    browser.get("/admin/applications?order=newest")
    act(onboarding_app, steps.reviewer(onboarding_app, "Holder Reviewer"), taken, "take")
    act(onboarding_app, steps.reviewer(onboarding_app, "Swift Reviewer"), decided, "reject")
    ids = [steps.facts(onboarding_app, email)["id"] for email in emails] + [str(uuid.uuid4())]
    browser.fill(button="approve-marked", application=ids)
    assert browser.status == 409
    assert "1 application was approved." in browser.text
    left = browser.text.split('id="left"')[1]
    assert "Holder Reviewer has claimed this application." in left
    assert "Swift Reviewer has already rejected this application." in left
    assert "There is no such application any more." in left
    assert "Nr 0" not in left
    states = [steps.facts(onboarding_app, email)["state"] for email in emails]
    assert states == ["approved", "in_review", "rejected"]


def test_of_two_who_decide_about_the_same_ones_each_is_decided_once(onboarding_app: Flask) -> None:
    emails = [steps.apply(onboarding_app) for _ in range(6)]
    for email in emails:
        steps.confirm(onboarding_app, email)
    ids = [steps.facts(onboarding_app, email)["id"] for email in emails]
    one, other = steps.reviewer(onboarding_app, "One"), steps.reviewer(onboarding_app, "Other")
    start = threading.Barrier(2)
    for browser in (one, other):
        browser.get("/admin/applications?order=newest")

    def press(browser: Browser, button: str, chosen: list[str]) -> None:
        start.wait()
        browser.fill(button=button, application=chosen)

    threads = [
        threading.Thread(target=press, args=(one, "approve-marked", ids)),
        threading.Thread(target=press, args=(other, "reject-marked", ids[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for email in emails:
        mails = [
            len(steps.mails(onboarding_app, email, template))
            for template in ("activation_link", "application_rejected")
        ]
        state = steps.facts(onboarding_app, email)["state"]
        assert mails == ([1, 0] if state == "approved" else [0, 1])


def test_marking_nothing_or_nonsense_decides_nothing(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = steps.reviewer(onboarding_app)
    browser.fill(f"/admin/applications?q={email}", button="approve-marked")
    assert browser.status == 422
    assert "Nothing was marked." in browser.text
    browser.fill(f"/admin/applications?q={email}", button="approve-marked", application=["garbage"])
    assert browser.status == 400
    chosen = [steps.facts(onboarding_app, email)["id"]]
    browser.fill(
        f"/admin/applications?q={email}", button="reject-marked", application=chosen, reason="x" * 3000
    )
    assert browser.status == 422
    assert 'id="reason-error"' in browser.text
    assert f'value="{chosen[0]}" aria-label="Mark Ada Lovelace" checked' in browser.text
    assert steps.facts(onboarding_app, email)["state"] == "submitted"


def test_an_approval_taken_back_ends_its_link_and_is_told(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    link = steps.link(onboarding_app, email, "activation_link")
    browser = act(onboarding_app, steps.reviewer(onboarding_app, "Wiser Reviewer"), email, "take-back")
    assert "The decision is taken back." in browser.text
    assert "Decision taken back" in browser.text.split('id="history"')[1]
    values = steps.facts(onboarding_app, email)
    assert (values["state"], values["claimed_by"], values["decided_by"]) == (
        "in_review",
        "Wiser Reviewer",
        None,
    )
    assert Browser(onboarding_app).get(link).status_code == 410
    [mail] = steps.mails(onboarding_app, email, "decision_taken_back")
    assert "/apply/status?token=" in mail.context["link"]
    act(onboarding_app, browser, email, "approve")
    assert len(steps.mails(onboarding_app, email, "activation_link")) == 2, "the second yes is as good"


def test_a_rejection_taken_back_may_become_another_rejection(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = steps.reviewer(onboarding_app)
    act(onboarding_app, browser, email, "reject", reason="First reason.")
    act(onboarding_app, browser, email, "take-back")
    assert steps.facts(onboarding_app, email)["reason"] is None
    # The link that proves the address had ended with the rejection.
    steps.confirm(onboarding_app, email)
    assert steps.facts(onboarding_app, email)["address_confirmed_at"]
    act(onboarding_app, browser, email, "reject", reason="Second reason.")
    reasons = [mail.context["reason"] for mail in steps.mails(onboarding_app, email, "application_rejected")]
    assert reasons == ["First reason.", "Second reason."]


def test_a_rejection_is_not_taken_back_once_the_address_has_applied_again(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    page = steps.page_of(onboarding_app, email)
    browser = act(onboarding_app, steps.reviewer(onboarding_app), email, "reject")
    steps.apply(onboarding_app, email)
    browser.fill(page, button="take-back")
    assert browser.status == 409
    assert "This address has applied again meanwhile" in browser.text
    assert not steps.mails(onboarding_app, email, "decision_taken_back")


def test_nothing_is_taken_back_once_the_person_is_in(onboarding_app: Flask) -> None:
    enrolled, directly = steps.approved(onboarding_app), steps.apply(onboarding_app)
    browser = steps.reviewer(onboarding_app)
    browser.get(steps.page_of(onboarding_app, enrolled))
    form, _ = browser.find_form("take-back", {})
    steps.open_account(onboarding_app, enrolled)
    browser.post(form.action, dict(form.fields))
    assert browser.status == 409
    assert "The person has an account already." in browser.text
    run_command(onboarding_app, "applications", "activate", directly)
    browser.get(steps.page_of(onboarding_app, directly))
    assert 'id="take-back"' not in browser.text
    browser.post(f"{browser.url}/take-back", {"csrf_token": token_of(browser)})
    assert browser.status == 409
    assert "The account was opened directly." in browser.text
    assert steps.facts(onboarding_app, directly)["state"] == "approved"


def test_of_many_who_take_back_at_once_one_does_and_one_mail_leaves(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    crowd = [steps.reviewer(onboarding_app, f"Reviewer {number}") for number in range(5)]
    start = threading.Barrier(len(crowd))
    for browser in crowd:
        browser.get(steps.page_of(onboarding_app, email))

    def press(browser: Browser) -> None:
        start.wait()
        browser.fill(button="take-back")

    threads = [threading.Thread(target=press, args=(browser,)) for browser in crowd]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(browser.status for browser in crowd) == [303, 409, 409, 409, 409]
    assert len(steps.mails(onboarding_app, email, "decision_taken_back")) == 1


def test_a_fresh_mail_brings_what_the_applicant_waits_for(onboarding_app: Flask) -> None:
    unproven, approved = steps.apply(onboarding_app), steps.approved(onboarding_app)
    browser = steps.reviewer(onboarding_app)
    for email, template in ((unproven, "confirm_address"), (approved, "activation_link")):
        act(onboarding_app, browser, email, "send-mail")
        assert browser.status == 409, "the last one has just left"
        assert "less than a minute ago" in browser.text
        _age(onboarding_app, email, mailed_at=utcnow() - timedelta(minutes=2), mail_trouble="failed")
        browser.get(steps.page_of(onboarding_app, email))
        assert "The last mail could not be delivered" in browser.text
        act(onboarding_app, browser, email, "send-mail")
        assert "A fresh mail is on its way to the applicant." in browser.text
        assert "The last mail could not be delivered" not in browser.text
        assert len(steps.mails(onboarding_app, email, template)) == 2
    act(onboarding_app, browser, unproven, "reject")
    assert 'id="send-mail"' not in browser.text


@pytest.mark.parametrize("trouble", ["failed", "suppressed", "too_late"])
def test_trouble_with_mail_is_said_in_words_with_a_way_out(onboarding_app: Flask, trouble: str) -> None:
    email = steps.apply(onboarding_app)
    _age(onboarding_app, email, mail_trouble=trouble)
    browser = steps.reviewer(onboarding_app)
    browser.get(steps.page_of(onboarding_app, email))
    assert "fresh mail" in browser.text.split('id="mail-trouble"')[1]
    browser.get(f"/admin/applications?q={email}")
    assert "Mail trouble" in browser.text


def test_decisions_are_counted_by_outcome(onboarding_app: Flask) -> None:
    registry = parts_of(onboarding_app).metrics.registry

    def counted(outcome: str) -> float:
        value = registry.get_sample_value("id_application_decisions_total", {"outcome": outcome})
        assert value is not None, "it starts at 0"
        return value

    outcomes = ("approved", "rejected", "taken_back", "approved_by_policy", "approved_by_invitation")
    before = {outcome: counted(outcome) for outcome in outcomes}
    email = steps.approved(onboarding_app)
    browser = act(onboarding_app, steps.reviewer(onboarding_app), email, "take-back")
    act(onboarding_app, browser, email, "reject")
    gained = {outcome: counted(outcome) - before[outcome] for outcome in outcomes}
    assert gained == {**dict.fromkeys(outcomes, 0), "approved": 1, "rejected": 1, "taken_back": 1}


def _age(app: Flask, email: str, **values: object) -> None:
    with app.app_context():
        parts_of(app).db.session.execute(
            sa.update(Application).where(Application.email == email).values(**values)
        )
        parts_of(app).db.session.commit()
