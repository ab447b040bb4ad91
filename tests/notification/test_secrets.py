"""What a mail says is in the mail alone: not in logs, not in Redis, not readable in the database."""

import secrets
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from tests.conftest import sign_in_copy
from tests.notification.conftest import ask, deliver, fresh, make_due, run_task, work
from tests.pages import ORIGIN, Browser
from tests.sink import Sink


def in_database(app: Flask, marker: str) -> list[str]:
    """The tables that hold the marker in clear."""
    with app.app_context():
        session = parts_of(app).db.session
        found = [
            table
            for table in sa.inspect(session.connection()).get_table_names()
            if session.execute(
                sa.text(f'SELECT count(*) FROM "{table}" AS t WHERE t::text LIKE :marker'),
                {"marker": f"%{marker}%"},
            ).scalar_one()
        ]
        session.rollback()
    return found


def in_redis(app: Flask, marker: str) -> list[str]:
    client = parts_of(app).redis
    found = []
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        values = (
            client.lrange(key, 0, -1) if kind == "list" else [client.get(key)] if kind == "string" else []
        )
        if marker in key or any(value and marker in value for value in values):
            found.append(key)
    return found


@pytest.mark.parametrize("way", ["delivered", "deferred", "refused with the link in the answer", "waiting"])
def test_a_secret_is_in_the_mail_alone(
    mail_app: Flask, sink: Sink, browser: Browser, log_text: Callable[[], str], way: str
) -> None:
    marker = f"marked-{secrets.token_hex(8)}"
    link = f"{ORIGIN}/activate?token={marker}"
    context = {"name": "Ada", "link": link, "expires_at": "2030-01-01T00:00:00+00:00"}
    message = ask(mail_app, template="activation_link", context=context)
    if way == "deferred":
        sink.tell(hang="data")
    elif way.startswith("refused"):
        sink.tell(data=f"550 5.7.1 Blocked for {link} token={marker}")
    if way != "waiting":
        work(mail_app)
    if way == "delivered":
        assert link in sink.to(message.recipient)[0].text
    assert in_database(mail_app, marker) == []
    assert in_redis(mail_app, marker) == []
    assert marker not in log_text()
    assert (message.recipient in log_text()) is False, "ids, not addresses"
    sign_in_copy(browser, mail_app, roles=["admin"])
    assert marker not in browser.get(f"/admin/messages/{message.id}").text


def test_a_mail_in_the_mailbox_is_sealed(app: Flask) -> None:
    marker = f"marked-{secrets.token_hex(8)}"
    deliver(app, ask(app, context={"name": "Ada", "link": f"{ORIGIN}/x?token={marker}"}))
    assert in_database(app, marker) == []


def test_what_was_sent_is_forgotten(mail_app: Flask) -> None:
    message = ask(mail_app)
    assert message.sealed_context
    assert deliver(mail_app, message).sealed_context is None


def test_a_fault_of_ours_logs_no_content(
    mail_app: Flask, log_text: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.notification.flows.delivery import sending

    marker = f"marked-{secrets.token_hex(8)}"

    def write(letter: object, **_: object) -> None:
        content = letter.link  # type: ignore[attr-defined]
        raise RuntimeError(f"at {content.partition('?')[0]}")

    monkeypatch.setattr(sending, "write", write)
    message = ask(mail_app, context={"name": "Ada", "link": f"{ORIGIN}/x?token={marker}"})
    run_task(mail_app, "deliver", str(message.id))
    assert "delivery_broke" in log_text()
    assert marker not in log_text()
    monkeypatch.undo()
    make_due(mail_app, message)
    assert fresh(mail_app, message).state == "deferred"
