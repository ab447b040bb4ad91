"""What other services tell onboarding."""

import random
import uuid

from flask import Flask

from libs.messaging.events import AccountOpened, MailEnded
from tests.conftest import receive, sign_in_copy
from tests.onboarding import steps
from tests.pages import Browser


def test_reviewers_names_follow_the_newest_snapshot_in_any_order(onboarding_app: Flask) -> None:
    browser = Browser(onboarding_app)
    session = sign_in_copy(browser, onboarding_app, roles=["reviewer"])
    versions = list(range(1, 6)) * 2
    random.Random(7).shuffle(versions)
    for version in versions:
        assert (
            steps.tell_of_person(onboarding_app, session.sub, name=f"Name {version}", version=version)
            == "handled"
        )
    email = steps.apply(onboarding_app)
    steps.approve(onboarding_app, email, browser)
    assert steps.facts(onboarding_app, email)["decided_by"] == "Name 5"


def test_an_account_opened_for_no_application_of_ours_is_kept_for_staff(onboarding_app: Flask) -> None:
    event = AccountOpened(sub=str(uuid.uuid4()), application_id=str(uuid.uuid4()))
    assert receive(onboarding_app, event, "account") == "received", "it is tried again, then parked"


def test_an_account_cannot_open_before_somebody_approved(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    assert steps.open_account(onboarding_app, email) == "received"
    assert steps.facts(onboarding_app, email)["state"] == "submitted"


def test_a_mail_that_ended_says_nothing_about_the_one_that_replaced_it(onboarding_app: Flask) -> None:
    """Told late, after the applicant has asked for another link: the new one stays good, and is the last."""
    email = steps.apply(onboarding_app)
    [first] = steps.mails(onboarding_app, email)
    ended = MailEnded(template=first.template, deduplication_key=first.deduplication_key, outcome="too_late")
    assert receive(onboarding_app, ended, "notification") == "handled"
    second = steps.mails(onboarding_app, email)[-1]
    assert second.deduplication_key != first.deduplication_key
    assert receive(onboarding_app, ended, "notification") == "handled"
    assert steps.mails(onboarding_app, email) == [first, second]
    steps.confirm(onboarding_app, email)
    assert steps.facts(onboarding_app, email)["state"] == "confirmed"
