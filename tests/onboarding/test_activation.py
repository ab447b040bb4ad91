"""From the activation mail over to account."""

from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from flask import Flask

from libs.database import utcnow
from libs.people.handover import InvalidTicket, open_ticket
from libs.service import parts_of
from libs.settings import SettingsError
from services.onboarding.settings import OnboardingSettings
from services.onboarding.tasks import clear_links
from tests.conftest import run_command
from tests.onboarding import steps
from tests.onboarding.steps import press
from tests.pages import Browser


def test_approving_a_confirmed_application_mails_the_activation_link(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    [mail] = steps.mails(onboarding_app, email, "activation_link")
    assert mail.context["name"] == "Ada Lovelace"
    assert mail.context["expires_at"] == mail.expires_at
    application_id = steps.facts(onboarding_app, email)["id"]
    assert mail.deduplication_key.startswith(f"activation:{application_id}:")


def test_approved_first_the_mail_leaves_when_the_address_is_confirmed(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = steps.approve(onboarding_app, email)
    assert "as soon as the address is confirmed" in browser.text
    assert not steps.mails(onboarding_app, email, "activation_link")
    assert "is approved" in steps.confirm(onboarding_app, email).text
    assert len(steps.mails(onboarding_app, email, "activation_link")) == 1
    assert steps.facts(onboarding_app, email)["state"] == "approved"


def test_looking_at_the_link_spends_nothing(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    path = steps.link(onboarding_app, email, "activation_link")
    for method in ("GET", "HEAD", "GET"):
        page = Browser(onboarding_app).open(path, method=method)
        assert page.status_code == 200
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Cache-Control"] == "no-store"
    assert press(onboarding_app, path)["email"] == email


def test_the_button_hands_over_what_account_needs(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    path = steps.link(onboarding_app, email, "activation_link")
    expected = {
        "application_id": steps.facts(onboarding_app, email)["id"],
        "email": email,
        "email_verified": True,
        "name": "Ada Lovelace",
        "locale": "en",
        "roles": [],
        "continue": None,
    }
    assert press(onboarding_app, path) == expected
    assert press(onboarding_app, path) == expected, "a scanner that pressed first has burnt nothing"
    assert steps.facts(onboarding_app, email)["state"] == "approved"


def test_the_ticket_opens_for_account_alone(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    browser = Browser(onboarding_app)
    browser.fill(steps.link(onboarding_app, email, "activation_link"), button="activate")
    [ticket] = parse_qs(urlsplit(browser.location).query)["ticket"]
    with pytest.raises(InvalidTicket):
        open_ticket(parts_of(onboarding_app).settings, ticket, purpose="enrol", audience="oidc")
    assert email not in browser.location


def test_the_button_needs_the_pages_own_token(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    path = steps.link(onboarding_app, email, "activation_link")
    browser = Browser(onboarding_app)
    browser.post(path, {})
    assert browser.status == 400
    browser.fill(button="send-again")
    assert browser.location.startswith("/enrol?ticket="), "sent again with a fresh token it goes on"


def test_once_the_account_is_open_the_link_is_used(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    path = steps.link(onboarding_app, email, "activation_link")
    browser = Browser(onboarding_app)
    browser.get(path)
    assert steps.open_account(onboarding_app, email, sub="sub-of-ada") == "handled"
    values = steps.facts(onboarding_app, email)
    assert (values["state"], values["sub"]) == ("activated", "sub-of-ada")
    browser.fill(button="activate")
    assert browser.status == 410
    assert "been used already" in browser.text
    before = len(steps.mails(onboarding_app, email))
    with time_machine.travel(utcnow().timestamp() + 90, tick=True):
        browser.fill(button="send-again", follow=True)
    assert "Check your mail" in browser.text
    assert len(steps.mails(onboarding_app, email)) == before, "an open account needs no link"


def test_an_expired_link_brings_a_fresh_mail_in_one_click(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    path = steps.link(onboarding_app, email, "activation_link")
    with time_machine.travel(utcnow().timestamp() + 25 * 3600, tick=True):
        browser = Browser(onboarding_app)
        browser.get(path)
        assert browser.status == 410
        assert "Its time is over" in browser.text
        assert email not in browser.text
        browser.fill(button="send-again", follow=True)
        assert "Check your mail" in browser.text
        assert len(steps.mails(onboarding_app, email, "activation_link")) == 2
        assert press(onboarding_app, steps.link(onboarding_app, email, "activation_link"))["email"] == email


def test_a_link_expires_while_its_page_is_open(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    browser = Browser(onboarding_app)
    browser.get(steps.link(onboarding_app, email, "activation_link"))
    with time_machine.travel(utcnow().timestamp() + 25 * 3600, tick=True):
        browser.fill(button="activate")
        assert browser.status == 410


def test_a_newer_link_ends_the_older_one(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    old = steps.link(onboarding_app, email, "activation_link")
    with time_machine.travel(utcnow().timestamp() + 120, tick=True):
        Browser(onboarding_app).fill("/apply/again", email=email)
        new = steps.link(onboarding_app, email, "activation_link")
        assert new != old
        page = Browser(onboarding_app).get(old)
        assert page.status_code == 410
        assert "taken its place" in page.text
        assert press(onboarding_app, new)["email"] == email


def test_opened_is_told_twice_and_happens_once(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    assert steps.open_account(onboarding_app, email, sub="same-sub") == "handled"
    assert steps.open_account(onboarding_app, email, sub="same-sub") == "handled"
    target = f"application:{steps.facts(onboarding_app, email)['id']}"
    audit = run_command(onboarding_app, "audit", "list", "--target", target)
    assert audit.output.count("application.activated") == 1


def test_links_that_ended_long_ago_are_forgotten_and_others_stay(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    path = steps.link(onboarding_app, email, "activation_link")

    def why() -> str:
        return Browser(onboarding_app).get(path).text

    with onboarding_app.app_context():
        clear_links()
    assert 'id="activate"' in why()
    with time_machine.travel(utcnow().timestamp() + 20 * 86400, tick=True), onboarding_app.app_context():
        clear_links()
        assert "Its time is over" in why()
    with time_machine.travel(utcnow().timestamp() + 32 * 86400, tick=True), onboarding_app.app_context():
        clear_links()
        clear_links()
        assert "do not know this link" in why()


def test_a_link_that_lives_no_time_at_all_stops_the_start(environment: dict[str, str]) -> None:
    for name in ("ACTIVATION_LINK_LIFETIME", "CONFIRMATION_LINK_LIFETIME", "ENDED_LINKS_KEPT"):
        with pytest.raises(SettingsError, match=name):
            OnboardingSettings.load({**environment, name: "0"})
