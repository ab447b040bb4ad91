"""Invitations beside policies and reviews, and after somebody said otherwise."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask

from libs.database import utcnow
from tests.conftest import run_command
from tests.onboarding import steps
from tests.onboarding.steps import activation, press
from tests.pages import Browser

# -- beside policies and reviews ------------------------------------------------------------------------------


def test_the_domains_of_the_policy_hold_for_invited_people_and_spend_no_use(
    onboarding_app: Flask, policy: Callable[..., None]
) -> None:
    made = steps.invite(onboarding_app, uses="1")
    policy(refused_domains=["people.test"])
    browser = steps.accept(onboarding_app, steps.path_of(made["link"]), steps.new_email())
    assert (browser.status, 'id="email-error"' in browser.text) == (422, True)
    assert steps.invitation_facts(onboarding_app, made["id"])["uses"] == 0


def test_whoever_is_invited_is_not_held_back_by_how_many_came_before(
    onboarding_app: Flask, policy: Callable[..., None]
) -> None:
    policy(most_per_network=1)
    steps.apply(onboarding_app, ip="10.77.1.1")
    quietly_refused = steps.apply(onboarding_app, ip="10.77.1.2")
    assert not steps.mails(onboarding_app, quietly_refused)
    path = steps.path_of(steps.invite(onboarding_app, uses="1")["link"])
    browser, email = Browser(onboarding_app, ip="10.77.1.3"), steps.new_email()
    browser.fill(path, button="apply", email=email, name="Ada", why=steps.WHY)
    assert browser.location == "/invitations/sent"
    assert len(steps.mails(onboarding_app, email, "confirm_address")) == 1


def test_an_application_in_review_is_let_in_and_nobody_waits_for_its_answer_any_more(
    onboarding_app: Flask,
) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    steps.ask(onboarding_app, email)
    made = steps.invite(onboarding_app, uses="1")
    assert steps.accept(onboarding_app, steps.path_of(made["link"]), email).location == "/invitations/sent"
    assert steps.facts(onboarding_app, email)["state"] == "approved"
    assert len(steps.mails(onboarding_app, email, "activation_link")) == 1
    page = Browser(onboarding_app).get(steps.status_page(onboarding_app, email))
    assert 'name="text"' not in page.text, "no question is open"


def test_terms_and_extra_questions_are_asked_of_invited_people_too(
    onboarding_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps.with_settings(onboarding_app, monkeypatch, TERMS_VERSION="3", TERMS_URL="https://people.test/terms")
    steps.invite(onboarding_app, email := steps.new_email())
    path = steps.link(onboarding_app, email, "invitation")
    browser = steps.accept(onboarding_app, path, email)
    assert (browser.status, 'id="terms_version-error"' in browser.text) == (422, True)
    activation(steps.accept(onboarding_app, path, email, terms_version="3"))


# -- once more, after somebody said otherwise --------------------------------------------------------------------


def _send_again(app: Flask, path: str, email: str, *, blank: str) -> Browser:
    """The form of `path`, which shows none any more, made from that of another invitation."""
    browser = Browser(app)
    browser.get(blank)
    form, _ = browser.find_form("apply", {})
    browser.post(path, {**dict(form.fields), "email": email, "name": "Ada", "why": steps.WHY})
    return browser


@pytest.fixture
def blank(onboarding_app: Flask) -> str:
    """An invitation of nobody's, for its form."""
    return steps.path_of(steps.invite(onboarding_app)["link"])


@pytest.mark.parametrize("then", [None, "withdraw", "reject"])
def test_what_reviewers_took_back_is_not_let_in_again_by_the_same_invitation(
    onboarding_app: Flask, blank: str, then: str | None
) -> None:
    steps.invite(onboarding_app, email := steps.new_email(), role="support")
    path = steps.link(onboarding_app, email, "invitation")
    activation(steps.accept(onboarding_app, path, email))
    assert run_command(onboarding_app, "applications", "take-back", email).exit_code == 0
    if then == "withdraw":
        Browser(onboarding_app).fill(
            steps.status_page(onboarding_app, email).replace("status?", "status/withdraw?"), button="withdraw"
        )
    elif then == "reject":
        steps.reject(onboarding_app, email, "No.")
    before = len(steps.mails(onboarding_app, email, "activation_link"))
    browser = _send_again(onboarding_app, path, email, blank=blank)
    assert (browser.status, browser.location) == (303, "/invitations/sent")
    assert steps.facts(onboarding_app, email)["state"] in ("submitted", "in_review")
    if then:
        steps.confirm(onboarding_app, email)
        facts = steps.facts(onboarding_app, email)
        assert (facts["state"], facts["decided_by"]) == ("confirmed", None)
    assert len(steps.mails(onboarding_app, email, "activation_link")) == before


def test_an_invitation_that_became_an_account_opens_no_second_one(onboarding_app: Flask, blank: str) -> None:
    steps.invite(onboarding_app, email := steps.new_email(), role="admin")
    path = steps.link(onboarding_app, email, "invitation")
    activation(steps.accept(onboarding_app, path, email))
    steps.open_account(onboarding_app, email)
    assert _send_again(onboarding_app, path, email, blank=blank).status == 410
    assert steps.facts(onboarding_app, email)["applications_of_this_address"] == 1


def test_after_its_time_a_mailed_link_leads_nobody_on_any_more(onboarding_app: Flask, blank: str) -> None:
    made = steps.invite(onboarding_app, email := steps.new_email())
    path = steps.link(onboarding_app, email, "invitation")
    activation(steps.accept(onboarding_app, path, email))
    browser = Browser(onboarding_app)
    browser.get(path)
    steps.change_invitation(onboarding_app, made["id"], expires_at=utcnow() - timedelta(seconds=1))
    browser.fill(button="go-on")
    assert browser.status == 410
    assert 'id="go-on"' not in browser.get(path).text
    assert _send_again(onboarding_app, path, email, blank=blank).status == 410


def test_whoever_brings_the_mailbox_is_let_in_with_their_own_words(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app, name="Eve", page="/apply?continue=/eve")
    assert run_command(onboarding_app, "applications", "claim", email).exit_code == 0
    steps.invite(onboarding_app, email)
    browser = steps.accept(onboarding_app, steps.link(onboarding_app, email, "invitation"), email)
    ticket = press(onboarding_app, activation(browser))
    assert (ticket["name"], ticket["continue"]) == ("Ada Lovelace", None)


def test_a_withdrawn_invitation_lets_nobody_in_who_has_not_confirmed_yet(onboarding_app: Flask) -> None:
    made = steps.invite(onboarding_app, uses="2", role="admin")
    path = steps.path_of(made["link"])
    waiting, inside = steps.new_email(), steps.new_email()
    for email in (waiting, inside):
        steps.accept(onboarding_app, path, email)
    steps.confirm(onboarding_app, inside)
    assert run_command(onboarding_app, "invitations", "withdraw", made["id"]).exit_code == 0
    assert steps.facts(onboarding_app, inside)["state"] == "approved", "whom it has let in stays"
    steps.confirm(onboarding_app, waiting)
    assert steps.facts(onboarding_app, waiting)["state"] == "confirmed"
    steps.approve(onboarding_app, waiting)
    ticket = press(onboarding_app, steps.link(onboarding_app, waiting, "activation_link"))
    assert ticket["roles"] == [], "no reviewer gives what the invitation would have given"
