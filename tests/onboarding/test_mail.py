"""Mails that did not arrive: what the page says of them, and which are made anew."""

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.messaging.events import MailEnded, MailRequested
from services.onboarding.extensions import db
from tests.conftest import receive, run_command
from tests.onboarding import steps
from tests.pages import Browser


def ended(app: Flask, mail: MailRequested, outcome: str = "too_late") -> None:
    event = MailEnded(template=mail.template, deduplication_key=mail.deduplication_key, outcome=outcome)
    assert receive(app, event, "notification") == "handled"


def trouble(app: Flask, email: str) -> str | None:
    with app.app_context(), db.engine.connect() as connection:
        query = sa.text("SELECT mail_trouble FROM applications WHERE email = :email")
        found: str | None = connection.execute(query, {"email": email}).scalar_one()
        return found


@pytest.mark.parametrize("template", ["confirm_address", "activation_link"])
def test_a_mail_whose_link_died_first_is_made_anew_three_times_in_a_row(
    onboarding_app: Flask, template: str
) -> None:
    is_activation = template == "activation_link"
    email = steps.approved(onboarding_app) if is_activation else steps.apply(onboarding_app)
    for count in (2, 3, 4):
        ended(onboarding_app, steps.mails(onboarding_app, email, template)[-1])
        assert len(steps.mails(onboarding_app, email, template)) == count
        assert trouble(onboarding_app, email) is None, "a newer one is on its way"
    ended(onboarding_app, steps.mails(onboarding_app, email, template)[-1])
    assert len(steps.mails(onboarding_app, email, template)) == 4
    assert trouble(onboarding_app, email) == "too_late", "staff see it"
    keys = [mail.deduplication_key for mail in steps.mails(onboarding_app, email, template)]
    assert len(set(keys)) == 4
    with steps.later(minutes=2):
        Browser(onboarding_app).fill("/apply/again", email=email)
        ended(onboarding_app, steps.mails(onboarding_app, email, template)[-1])
    assert len(steps.mails(onboarding_app, email, template)) == 6, "whoever asks begins a new row"


def test_told_twice_it_happens_once(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    [mail] = steps.mails(onboarding_app, email)
    ended(onboarding_app, mail)
    ended(onboarding_app, mail)
    assert len(steps.mails(onboarding_app, email)) == 2, "its link has been followed by another"


@pytest.mark.parametrize("outcome", ["failed", "suppressed", "too_late"])
def test_trouble_of_a_mail_whose_link_was_superseded_or_used_says_nothing(
    onboarding_app: Flask, outcome: str
) -> None:
    email = steps.apply(onboarding_app)
    [first] = steps.mails(onboarding_app, email)
    with steps.later(minutes=2):
        Browser(onboarding_app).fill("/apply/again", email=email)
    ended(onboarding_app, first, outcome)
    assert trouble(onboarding_app, email) is None
    steps.confirm(onboarding_app, email)
    ended(onboarding_app, steps.mails(onboarding_app, email, "confirm_address")[-1], outcome)
    assert trouble(onboarding_app, email) is None
    assert len(steps.mails(onboarding_app, email, "confirm_address")) == 2


@pytest.mark.parametrize("outcome", ["failed", "suppressed"])
def test_what_failed_for_good_is_kept_until_a_later_mail_is_asked_for(
    onboarding_app: Flask, outcome: str
) -> None:
    email = steps.approved(onboarding_app)
    ended(onboarding_app, steps.mails(onboarding_app, email, "activation_link")[-1], outcome)
    assert trouble(onboarding_app, email) == outcome
    target = f"application:{steps.facts(onboarding_app, email)['id']}"
    assert "application.mail_ended" in run_command(onboarding_app, "audit", "list", "--target", target).output
    assert len(steps.mails(onboarding_app, email, "activation_link")) == 1
    with steps.later(minutes=2):
        Browser(onboarding_app).fill("/apply/again", email=email)
    assert trouble(onboarding_app, email) is None


def test_a_mail_without_a_link_only_leaves_its_trouble(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    run_command(onboarding_app, "applications", "reject", email)
    ended(onboarding_app, steps.mails(onboarding_app, email, "application_rejected")[-1], "failed")
    assert trouble(onboarding_app, email) == "failed"


@pytest.mark.parametrize("key", ["", "confirm", "confirm:x", "confirm:x:y", "nonsense:1:2:3", "waits:sub:1"])
def test_a_key_that_is_none_of_ours_is_passed_over(onboarding_app: Flask, key: str) -> None:
    event = MailEnded(template="confirm_address", deduplication_key=key, outcome="too_late")
    assert receive(onboarding_app, event, "notification") == "handled"


def test_what_is_decided_otherwise_is_not_mailed_anew(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    [mail] = steps.mails(onboarding_app, email, "confirm_address")
    run_command(onboarding_app, "applications", "reject", email)
    ended(onboarding_app, mail)
    assert len(steps.mails(onboarding_app, email, "confirm_address")) == 1


def test_nobody_sends_a_link_of_theirs_to_an_address_by_way_of_the_name(onboarding_app: Flask) -> None:
    for name, greeted in (
        ("You won, see prize.example", ""),
        ("https://prize", ""),
        ("J. R. Tolkien", "J. R. Tolkien"),
    ):
        email = steps.apply(onboarding_app, name=name)
        [mail] = steps.mails(onboarding_app, email)
        assert mail.context["name"] == greeted
        run_command(onboarding_app, "applications", "reject", email)
        assert steps.mails(onboarding_app, email)[-1].context["name"] == greeted
    email = steps.apply(onboarding_app, name="J.R. Tolkien")
    steps.confirm(onboarding_app, email)
    assert steps.mails(onboarding_app, email)[-1].context["name"] == "J.R. Tolkien", "it is their own"
