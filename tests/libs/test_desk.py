"""The staff page of events: what was parked is seen there, and tried again."""

import json
import uuid
from datetime import timedelta

from flask import Flask

from libs.database import utcnow
from libs.messaging.events import AccountOpened, UserErased
from libs.observe.worker_health import sources_of
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


def test_all_that_is_parked_is_tried_again_at_once(sample_app: Flask) -> None:
    _forget_parked(sample_app)
    events = [park(sample_app) for _ in range(3)]
    for _, key in events[:2]:
        sample.broken.discard(key)
    browser = supporter(sample_app)
    browser.fill("/admin/events/notification", button="retry-all", follow=True)
    assert "2 events are handled" in browser.text
    assert "1 event failed again, and is kept" in browser.text
    assert events[2][0] in browser.text
    done = run_command(sample_app, "events", "retry", "--all", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == [{"event_id": events[2][0], "state": "parked"}]
    sample.broken.discard(events[2][1])
    done = run_command(sample_app, "events", "retry", "--all")
    assert done.exit_code == 0, done.output
    assert events[2][0] in done.output
    done = run_command(sample_app, "events", "retry", "--all")
    assert (done.exit_code, done.output.strip()) == (0, "No event is parked.")
    assert 'id="retry-all"' not in browser.get("/admin/events/notification").text


def test_retry_wants_to_be_told_what(sample_app: Flask) -> None:
    for arguments in ([], ["--all", str(uuid.uuid4())]):
        done = run_command(sample_app, "events", "retry", *arguments)
        assert done.exit_code == 2
        assert "Name the events, or say --all" in done.output


def test_staff_see_what_others_could_not_handle_and_where_to_look(sample_app: Flask) -> None:
    with sample_app.app_context():
        with sample.db.transaction() as session:
            event_id = sample.outbox.record(UserErased(sub=str(uuid.uuid4()), emails=[]), to="oidc")
            session.info["callbacks"].clear()
        sample.outbox.confirm("oidc", [str(event_id)], parked=True)
    browser = supporter(sample_app)
    browser.get("/admin/events/notification")
    assert str(event_id) in browser.text.partition('id="parked-elsewhere"')[2]
    assert 'href="/admin/events/oidc">oidc</a></td>' in browser.text
    with sample_app.app_context():
        sample.outbox.confirm("oidc", [str(event_id)])
    assert str(event_id) not in browser.get("/admin/events/notification").text


def test_the_commands_list_what_waits_and_what_is_parked(sample_app: Flask) -> None:
    parked, key = park(sample_app)
    with sample_app.app_context(), sample.db.transaction() as session:
        pending = sample.outbox.record(UserErased(sub=str(uuid.uuid4()), emails=[]), to="oidc")
        session.info["callbacks"].clear()
    rows = json.loads(
        run_command(sample_app, "events", "list", "--parked", "--json", "--limit", "1000").stdout
    )
    [row] = [row for row in rows if row["event_id"] == parked]
    assert (row["name"], row["producer"], row["attempts"]) == ("account.opened.v1", "account", 8)
    assert row["last_error"] == "ValueError", "the kind alone: its text may hold what was sealed"
    rows = json.loads(run_command(sample_app, "events", "list", "--pending", "--json").stdout)
    [row] = [row for row in rows if row["event_id"] == str(pending)]
    assert (row["subscriber"], row["state"], row["attempts"]) == ("oidc", "pending", 0)
    assert run_command(sample_app, "events", "list", "--pending", "--parked").exit_code == 2
    sample.broken.discard(key)


def test_health_and_metrics_say_what_is_parked_and_what_is_late(sample_app: Flask) -> None:
    _forget_parked(sample_app)
    with sample_app.app_context(), sample.db.transaction() as session:
        session.execute(sample.outbox.deliveries.update().values(state="confirmed"))
    check = parts_of(sample_app).probe.checks["events"]
    assert (check().status, check().details) == ("healthy", {"parked": 0, "oldest_seconds": 0})
    event_id, key = park(sample_app)
    assert (check().status, check().details["reason"]) == ("degraded", "parked")
    assert _gauges(sample_app)["id_events_parked"] == 1
    sample.broken.discard(key)
    run_command(sample_app, "events", "retry", event_id)
    assert check().status == "healthy"
    with sample_app.app_context(), sample.db.transaction() as session:
        late = sample.outbox.record(UserErased(sub=str(uuid.uuid4()), emails=[]), to="oidc")
        session.info["callbacks"].clear()
    assert check().status == "healthy", "it has just occurred"
    events, since = sample.outbox.events, utcnow() - timedelta(minutes=6)
    with sample_app.app_context(), sample.db.transaction() as session:
        session.execute(events.update().where(events.c.id == late).values(occurred_at=since))
    assert (check().status, check().details["reason"]) == ("degraded", "late")
    gauges = _gauges(sample_app)
    assert gauges["id_events_pending"] == 1
    assert 360 <= gauges["id_events_oldest_seconds"] < 400


def _gauges(app: Flask) -> dict[str, float]:
    return {
        name: value
        for source in sources_of(app)
        for name, _text, labels, value in source()
        if labels.get("service") == "notification"
    }


def _forget_parked(app: Flask) -> None:
    with app.app_context(), sample.db.transaction() as session:
        session.execute(sample.inbox.table.delete().where(sample.inbox.table.c.state != "handled"))
