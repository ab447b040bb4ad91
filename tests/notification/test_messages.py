"""Messages: one key is one mail, what is asked is checked, staff see what happened."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.service import parts_of
from services.notification.models import Message
from tests.conftest import envelope_of, receive, run_command, sign_in_copy
from tests.notification.conftest import (
    address,
    ask,
    deliver,
    forget_event,
    fresh,
    keep_parked,
    make_due,
    message_of,
    queued,
    request_of,
    work,
)
from tests.pages import ORIGIN, Browser
from tests.sink import Sink


def count_of(app: Flask, key: str) -> int:
    with app.app_context():
        return parts_of(app).db.session.scalar(
            sa.select(sa.func.count()).select_from(Message).where(Message.deduplication_key == key)
        )


# ---- asking ------------------------------------------------------------------------------------------------


def test_a_request_becomes_a_queued_message_and_a_task(app: Flask) -> None:
    message = ask(app)
    assert message.state == "queued"
    assert message.attempts == []
    assert queued(app) == [("notification.deliver", [str(message.id)])]


def test_the_same_event_ten_times_side_by_side_is_one_mail(mail_app: Flask, sink: Sink) -> None:
    event = request_of()
    envelope = envelope_of(mail_app, event, "onboarding")

    def arrive(_: int) -> str:
        with mail_app.app_context():
            return parts_of(mail_app).inbox.receive(envelope)

    with ThreadPoolExecutor(10) as threads:
        assert set(threads.map(arrive, range(10))) == {"handled"}
    assert count_of(mail_app, event.deduplication_key) == 1
    work(mail_app)
    assert len(sink.to(event.recipient)) == 1


def test_ten_events_with_one_key_side_by_side_are_one_mail(mail_app: Flask, sink: Sink) -> None:
    event = request_of()
    with ThreadPoolExecutor(10) as threads:
        states = threads.map(lambda _: receive(mail_app, event, "onboarding"), range(10))
        assert set(states) == {"handled"}
    assert count_of(mail_app, event.deduplication_key) == 1
    work(mail_app)
    work(mail_app)
    assert len(sink.to(event.recipient)) == 1


def test_a_key_that_was_used_long_ago_sends_nothing_again(mail_app: Flask, sink: Sink) -> None:
    event = request_of()
    receive(mail_app, event, "onboarding")
    work(mail_app)
    receive(mail_app, event, "onboarding")
    work(mail_app)
    assert len(sink.to(event.recipient)) == 1


@pytest.mark.parametrize(
    ("template", "context"),
    [
        ("no_such_mail", {"name": "Ada"}),
        ("confirm_address", {"name": "Ada"}),
        ("confirm_address", {"link": f"{ORIGIN}/apply/confirm?token=x"}),
        ("confirm_address", {"name": "Ada", "link": "https://elsewhere.test/apply"}),
        ("confirm_address", {"name": "Ada", "link": f"{ORIGIN}.elsewhere.test/apply"}),
        ("confirm_address", {"name": "Ada", "link": f"{ORIGIN}/x\r\nBcc: everybody@people.test"}),
        ("confirm_address", {"name": 7, "link": f"{ORIGIN}/apply"}),
        ("activation_link", {"name": "Ada", "link": f"{ORIGIN}/activate", "expires_at": "soon"}),
    ],
)
def test_a_request_that_makes_no_mail_is_parked_and_nothing_is_kept(
    app: Flask, template: str, context: dict[str, object]
) -> None:
    event = request_of(template=template, context=context)
    row = keep_parked(app, event)
    try:
        assert count_of(app, event.deduplication_key) == 0
        assert row["last_error"] in ("UnknownTemplate", "UnusableContext")
    finally:
        forget_event(app, row["event_id"])


def test_keys_that_a_mail_does_not_know_are_ignored(app: Flask) -> None:
    event = request_of()
    message = ask(app, context={**event.context, "from_a_newer_release": [1, 2]})
    assert deliver(app, message).state == "sent"


# ---- staff -------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(mail_app: Flask, sink: Sink) -> Message:
    """A message that the mail server refused for good."""
    to = address()
    sink.tell(recipients={to: "550 5.7.1 Not from you"})
    message = deliver(mail_app, ask(mail_app, recipient=to))
    assert message.state == "failed"
    return message


def test_staff_see_a_failed_message_with_its_attempts_and_try_again(
    mail_app: Flask, sink: Sink, browser: Browser, refused: Message
) -> None:
    staff = sign_in_copy(browser, mail_app, roles=["support"])
    browser.get("/admin/messages?state=failed")
    assert refused.recipient in browser.text
    assert "The mail server refused it for good" in browser.text
    browser.get(f"/admin/messages/{refused.id}")
    assert "550 5.7.1 Not from you" in browser.text
    assert refused.header_id.strip("<>") in browser.text
    sink.accept()
    browser.fill(button="retry", follow=True)
    assert "The message is queued again." in browser.text
    work(mail_app)
    assert len(sink.to(refused.recipient)) == 1
    assert fresh(mail_app, refused).state == "sent"
    with mail_app.app_context():
        entry = parts_of(mail_app).audit.entries(target=f"message:{refused.id}")[0]
    assert (entry.actor, entry.action) == (f"user:{staff.sub}", "message.retried")


def test_no_page_shows_what_a_mail_says(mail_app: Flask, browser: Browser, refused: Message) -> None:
    secret = "a-secret-of-this-mail"
    message = ask(mail_app, context={"name": "Marked Name", "link": f"{ORIGIN}/x?token={secret}"})
    sign_in_copy(browser, mail_app, roles=["admin"])
    for path in ("/admin/messages", f"/admin/messages/{message.id}"):
        browser.get(path)
        assert browser.status == 200
        assert secret not in browser.text
        assert "Marked Name" not in browser.text


def test_retrying_twice_is_one_retry(mail_app: Flask, browser: Browser, refused: Message) -> None:
    sign_in_copy(browser, mail_app, roles=["reviewer"])
    browser.get(f"/admin/messages/{refused.id}")
    form, _ = browser.find_form("retry", {})
    for _ in range(2):
        browser.post(f"/admin/messages/{refused.id}", data=dict(form.fields), headers={"Origin": ORIGIN})
        assert browser.status == 303
    browser.get(browser.location)
    assert "This message is on its way already" in browser.text


@pytest.mark.parametrize(
    ("roles", "status"), [(None, 303), ([], 403), (["support"], 200), (["reviewer"], 200)]
)
def test_messages_are_for_staff(
    mail_app: Flask, browser: Browser, refused: Message, roles: list[str] | None, status: int
) -> None:
    if roles is not None:
        sign_in_copy(browser, mail_app, roles=roles)
    assert browser.get("/admin/messages").status_code == status
    assert browser.get(f"/admin/messages/{refused.id}").status_code == status
    if status == 403:
        form = {"csrf_token": "anything"}
        browser.post(f"/admin/messages/{refused.id}", data=form, headers={"Origin": ORIGIN})
        assert browser.status in (400, 403)
        assert fresh(mail_app, refused).state == "failed"


def test_the_list_goes_on_to_older_messages(app: Flask, browser: Browser) -> None:
    oldest = ask(app)
    newer = [ask(app) for _ in range(50)]
    sign_in_copy(browser, app, roles=["support"])
    browser.get("/admin/messages")
    assert newer[-1].recipient in browser.text
    assert oldest.recipient not in browser.text
    older = re.search(r'href="(/admin/messages\?before=[^"]+)"', browser.text)
    assert older
    browser.get(older[1])
    assert oldest.recipient in browser.text


@pytest.mark.parametrize("path", ["/admin/messages?state=wild&before=nothing", "/admin/messages?state="])
def test_a_wild_filter_shows_the_list(app: Flask, browser: Browser, path: str) -> None:
    sign_in_copy(browser, app, roles=["support"])
    assert browser.get(path).status_code == 200


def test_a_message_nobody_knows_is_not_found(app: Flask, browser: Browser) -> None:
    sign_in_copy(browser, app, roles=["support"])
    browser.get("/admin/messages/0190a6b0-0000-7000-8000-000000000000")
    assert browser.status == 404
    assert "There is no such message" in browser.text


def test_the_pages_speak_russian(app: Flask, browser: Browser) -> None:
    message = ask(app)
    sign_in_copy(browser, app, roles=["support"], claims={"locale": "ru"})
    browser.get("/admin/messages")
    assert "Ожидает отправки" in browser.text
    browser.get(f"/admin/messages/{message.id}")
    assert "Попытки" in browser.text


# ---- commands ----------------------------------------------------------------------------------------------


def test_commands_list_show_and_retry_a_failed_message(mail_app: Flask, sink: Sink, refused: Message) -> None:
    rows = json.loads(run_command(mail_app, "messages", "list", "--failed", "--json").output)
    assert str(refused.id) in [row["id"] for row in rows]
    assert {row["state"] for row in rows} <= {"failed", "parked"}
    shown = json.loads(run_command(mail_app, "messages", "show", str(refused.id), "--json").output)
    assert shown["attempts"][0]["answer"] == "550 5.7.1 Not from you"
    assert "550 5.7.1" in run_command(mail_app, "messages", "show", str(refused.id)).output
    sink.accept()
    assert "is queued again" in run_command(mail_app, "messages", "retry", str(refused.id)).output
    work(mail_app)
    assert len(sink.to(refused.recipient)) == 1


def test_a_command_about_an_unknown_message_says_so(app: Flask) -> None:
    result = run_command(app, "messages", "show", "0190a6b0-0000-7000-8000-000000000000")
    assert result.exit_code == 1
    assert "There is no such message" in result.output


def test_a_command_refuses_to_retry_what_was_sent(app: Flask) -> None:
    message = deliver(app, ask(app))
    result = run_command(app, "messages", "retry", str(message.id))
    assert result.exit_code == 1
    assert "not kept any more" in result.output


def test_a_mail_whose_link_is_dead_is_not_tried_again(app: Flask, browser: Browser) -> None:
    message = deliver(app, ask(app, expires_at=utcnow().isoformat()))
    assert (message.state, message.reason) == ("failed", "too_late")
    result = run_command(app, "messages", "retry", str(message.id))
    assert result.exit_code == 1
    assert "expired" in result.output
    sign_in_copy(browser, app, roles=["support"])
    browser.get(f"/admin/messages/{message.id}")
    assert 'id="retry"' not in browser.text
    assert "Too late" in browser.text


def move(app: Flask, message: Message, **values: object) -> None:
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(sa.update(Message).where(Message.id == message.id).values(**values))


@pytest.mark.parametrize(
    ("template", "asked_by", "place"),
    [
        ("confirm_address", "onboarding", "/admin/applications?state=all&amp;q="),
        ("set_password", "account", "/admin/users?q="),
    ],
)
def test_where_the_content_is_gone_the_page_says_where_to_ask(
    app: Flask, browser: Browser, template: str, asked_by: str, place: str
) -> None:
    event = request_of(template=template)
    assert receive(app, event, asked_by) == "handled"
    message = deliver(app, message_of(app, event.deduplication_key))
    assert message.state == "sent"
    sign_in_copy(browser, app, roles=["support"])
    browser.get(f"/admin/messages/{message.id}")
    assert 'id="retry"' not in browser.text
    assert "What this mail said is not kept any more" in browser.text
    assert f'href="{place}{quote(message.recipient)}"' in browser.text


def test_a_suppressed_message_is_queued_again_once_its_address_is_lifted(
    app: Flask, browser: Browser
) -> None:
    from services.notification.flows import suppressions

    message = ask(app)
    move(app, message, state="suppressed", reason="suppressed")
    with app.app_context():
        suppressions.suppress(email=message.recipient, reason="complained")
    sign_in_copy(browser, app, roles=["support"])
    browser.get(f"/admin/messages/{message.id}")
    assert 'id="retry"' not in browser.text
    assert f'href="/admin/messages/suppressions?q={message.recipient}"' in browser.text
    assert "lift that first" in run_command(app, "messages", "retry", str(message.id)).output
    with app.app_context():
        suppressions.lift(email=message.recipient, reason="asked us to")
    browser.fill(f"/admin/messages/{message.id}", button="retry", follow=True)
    assert "The message is queued again." in browser.text
    assert fresh(app, message).state == "queued"


def test_several_messages_are_queued_again_by_one_command(app: Flask) -> None:
    messages = [ask(app) for _ in range(2)]
    for message in messages:
        move(app, message, state="parked", reason="too_many_tries", tries=100)
    result = run_command(app, "messages", "retry", *[str(message.id) for message in messages], "--json")
    assert [row["state"] for row in json.loads(result.output)] == ["queued", "queued"]
    assert {fresh(app, message).tries for message in messages} == {0}


def test_all_that_failed_is_queued_again_but_what_cannot_be_sent(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.notification.flows.messages.RETRY_BATCH", 2)
    run_command(app, "messages", "retry", "--all-failed")
    messages = [ask(app) for _ in range(5)]
    for message in messages:
        move(app, message, state="failed", reason="refused")
    move(app, messages[0], expires_at=utcnow())
    move(app, messages[1], sealed_context=None)
    move(app, messages[2], state="parked", reason="unwritable")
    parts_of(app).redis.delete("notification")
    result = run_command(app, "messages", "retry", "--all-failed")
    assert "Queued again: 3." in result.output
    assert [fresh(app, message).state for message in messages] == ["failed", "failed", *["queued"] * 3]
    assert {arguments[0] for _, arguments in queued(app)} == {str(message.id) for message in messages[2:]}
    for wrong in ([], [str(messages[0].id), "--all-failed"]):
        assert run_command(app, "messages", "retry", *wrong).exit_code == 2


def test_failed_messages_are_what_waits_for_staff(mail_app: Flask, refused: Message) -> None:
    waiting = parts_of(mail_app).waiting
    assert waiting is not None
    with mail_app.app_context():
        before = waiting()["messages"]
        assert before >= 1
    run_command(mail_app, "messages", "retry", str(refused.id))
    with mail_app.app_context():
        assert waiting()["messages"] == before - 1


def test_the_depth_of_the_mail_queue_is_a_gauge(app: Flask) -> None:
    def depth() -> float:
        source = parts_of(app).gauges
        assert source is not None
        with app.app_context():
            (sample,) = (sample for sample in source() if sample[0] == "id_queue_depth")
        assert sample[2] == {"queue": "mail"}
        return sample[3]

    before = depth()
    message = ask(app)
    assert depth() == before + 1
    make_due(app, message)
    deliver(app, message)
    assert depth() == before


def test_one_correlation_id_follows_a_mail(app: Flask) -> None:
    event = request_of()
    from libs.observe.logs import set_correlation_id

    set_correlation_id("request-of-a-person")
    receive(app, event, "onboarding")
    assert message_of(app, event.deduplication_key).correlation_id == "request-of-a-person"
