"""The staff page of events: what was parked is seen there, and tried again."""

import uuid

from flask import Flask

from libs.messaging.events import AccountOpened
from libs.service import parts_of
from tests.conftest import envelope_of, run_command, sign_in_copy
from tests.libs import sample
from tests.pages import Browser


def park(app: Flask) -> tuple[str, str]:
    """An event that failed too often: its id and what it is about."""
    event = AccountOpened(sub=str(uuid.uuid4()), application_id=str(uuid.uuid4()))
    envelope = envelope_of(app, event, "account")
    sample.broken.add(event.application_id)
    with app.app_context():
        while sample.inbox.receive(envelope) != "parked":
            pass
    return envelope["event_id"], event.application_id


def supporter(app: Flask) -> Browser:
    browser = Browser(app)
    sign_in_copy(browser, app, roles=["support"])
    return browser


def test_staff_see_a_parked_event_and_try_it_again(sample_app: Flask) -> None:
    event_id, key = park(sample_app)
    browser = supporter(sample_app)
    browser.fill("/admin/events/notification", button=event_id, follow=True)
    assert "It failed again" in browser.text
    sample.broken.discard(key)
    browser.fill("/admin/events/notification", button=event_id, follow=True)
    assert "The event is handled" in browser.text
    assert event_id not in browser.text
    with sample_app.app_context():
        entry = parts_of(sample_app).audit.entries(target=f"event:{event_id}")[0]
    assert entry.action == "event.retried"
    assert entry.actor.startswith("user:")


def test_an_event_that_somebody_else_retried_is_no_error(sample_app: Flask) -> None:
    event_id, key = park(sample_app)
    browser = supporter(sample_app)
    browser.get("/admin/events/notification")
    sample.broken.discard(key)
    done = run_command(sample_app, "events", "retry", event_id)
    assert done.exit_code == 0, done.output
    browser.fill(button=event_id, follow=True)
    assert "Somebody was faster" in browser.text


def test_reviewers_have_no_business_there(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    sign_in_copy(browser, sample_app, roles=["reviewer"])
    assert browser.get("/admin/events/notification").status_code == 403


def test_the_command_names_an_event_that_is_not_parked(sample_app: Flask) -> None:
    done = run_command(sample_app, "events", "retry", str(uuid.uuid4()))
    assert done.exit_code == 1
    assert "No parked event has the id" in done.output
