"""Delivery by SMTP: what the server does, and what becomes of the message."""

import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.service import parts_of
from services.notification.flows import lifecycle
from services.notification.flows.delivery import sending
from services.notification.models import Message
from services.notification.settings import SMTPServer
from services.notification.transport import conversation
from services.notification.transport.connections import Connection
from tests.notification.conftest import (
    SENDER,
    ask,
    deliver,
    fresh,
    make_due,
    run_task,
    with_settings,
    work,
)
from tests.sink import Sink


def update(app: Flask, message: Message, **values: object) -> None:
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(sa.update(Message).where(Message.id == message.id).values(**values))


def results(message: Message) -> list[str | None]:
    return [attempt.result for attempt in message.attempts]


# ---- a good server -----------------------------------------------------------------------------------------


def test_a_mail_arrives_whole(mail_app: Flask, sink: Sink) -> None:
    message = ask(mail_app)
    assert work(mail_app) == 1
    (mail,) = sink.to(message.recipient)
    assert mail.sender == "id@updspace.test"
    assert mail.message["From"] == SENDER
    assert mail.message["To"] == message.recipient
    assert mail.message["Subject"] == "Confirm your e-mail address"
    assert mail.message_id == message.header_id
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.message["Content-Language"] == "en"
    assert "Hello Ada," in mail.text
    assert "Hello Ada," in mail.html
    sent = fresh(mail_app, message)
    assert (sent.state, results(sent)) == ("sent", ["sent"])
    assert sent.attempts[0].answer == "250 2.0.0 Kept"
    assert sent.attempts[0].duration_ms is not None


def test_ten_workers_side_by_side_send_one_mail(mail_app: Flask, sink: Sink) -> None:
    message = ask(mail_app)
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda _: run_task(mail_app, "deliver", str(message.id)), range(10)))
    assert len(sink.to(message.recipient)) == 1
    assert results(fresh(mail_app, message)) == ["sent"]


def test_a_task_that_comes_again_sends_nothing(mail_app: Flask, sink: Sink) -> None:
    message = ask(mail_app)
    for _ in range(3):
        deliver(mail_app, message)
    assert len(sink.to(message.recipient)) == 1


def test_a_task_about_a_message_nobody_knows_is_harmless(mail_app: Flask) -> None:
    run_task(mail_app, "deliver", "0190a6b0-0000-7000-8000-000000000000")


# ---- passing failures --------------------------------------------------------------------------------------


def test_a_passing_refusal_waits_and_then_arrives_once(mail_app: Flask, sink: Sink) -> None:
    message = ask(mail_app)
    sink.tell(recipients={message.recipient: "450 4.2.0 Greylisted, come again"})
    waiting = deliver(mail_app, message)
    assert waiting.state == "deferred"
    assert waiting.due_at > utcnow() + timedelta(seconds=3)
    sink.accept()
    assert deliver(mail_app, message).state == "deferred", "it is not due yet"
    assert sink.mails == []
    make_due(mail_app, message)
    sent = deliver(mail_app, message)
    assert results(sent) == ["deferred", "sent"]
    assert sent.attempts[0].answer == "450 4.2.0 Greylisted, come again"
    assert len(sink.to(message.recipient)) == 1


@pytest.mark.parametrize(
    ("behaviour", "result", "words"),
    [
        ({"refuse": True}, "unreachable", "The connection was refused."),
        ({"hang": "greeting"}, "unreachable", "No answer within 1 s."),
        ({"hang": "data"}, "unreachable", "No answer within 1 s."),
        ({"drop": 1}, "unreachable", "The connection was dropped."),
        ({"data": "451 4.3.0 Busy"}, "deferred", "451 4.3.0 Busy"),
    ],
    ids=["refused", "silent from the start", "silent after the mail", "dropped before its 250", "busy"],
)
def test_a_server_in_trouble_gets_the_mail_later(
    mail_app: Flask, sink: Sink, behaviour: dict[str, object], result: str, words: str
) -> None:
    message = ask(mail_app)
    sink.tell(**behaviour)
    waiting = deliver(mail_app, message)
    assert (waiting.state, results(waiting)) == ("deferred", [result])
    assert waiting.attempts[0].answer == words
    sink.accept()
    make_due(mail_app, message)
    assert deliver(mail_app, message).state == "sent"
    mails = sink.to(message.recipient)
    assert len(mails) in (1, 2), "at most one duplicate"
    assert {mail.message_id for mail in mails} == {message.header_id}


def test_a_server_that_drips_is_cut_off(mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "LONGEST_CONVERSATION_S", 1.5)
    message = ask(mail_app)
    sink.tell(hang="drip")
    waiting = deliver(mail_app, message)
    assert waiting.state == "deferred"
    assert waiting.attempts[0].duration_ms is not None
    assert waiting.attempts[0].duration_ms < 3000


def test_a_database_that_drops_us_while_the_server_takes_the_mail_costs_no_duplicate(
    mail_app: Flask, sink: Sink
) -> None:
    message = ask(mail_app)
    engine = sa.create_engine(parts_of(mail_app).settings.sqlalchemy_url, poolclass=sa.NullPool)

    def end_all_connections(_: object) -> None:
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        with engine.connect() as connection:
            connection.execute(sa.text(f"SELECT pg_terminate_backend(pid) {others}"))

    sink.before_answer = end_all_connections
    sent = deliver(mail_app, message)
    assert (sent.state, results(sent)) == ("sent", ["sent"])
    make_due(mail_app, message)
    deliver(mail_app, message)
    assert len(sink.to(message.recipient)) == 1


def test_waits_double_up_to_a_limit_and_differ() -> None:
    waits = [[lifecycle.wait_after(tries).total_seconds() for _ in range(50)] for tries in range(1, 101)]
    assert all(4 <= wait <= 6 for wait in waits[0])
    assert all(8 <= wait <= 12 for wait in waits[1])
    assert all(wait <= 18 * 60 for wait in waits[-1])
    assert all(len(set(crowd)) > 40 for crowd in waits)
    assert sum(crowd[0] for crowd in waits) > 20 * 3600, "it goes on for about a day"


def test_after_too_many_tries_a_message_is_parked(mail_app: Flask, sink: Sink) -> None:
    message = ask(mail_app)
    sink.refuse()
    update(mail_app, message, tries=lifecycle.MOST_TRIES - 1)
    failed = deliver(mail_app, message)
    assert (failed.state, failed.reason) == ("parked", "too_many_tries")


# ---- final answers -----------------------------------------------------------------------------------------


def test_a_final_refusal_is_marked_and_blocks_nobody(mail_app: Flask, sink: Sink) -> None:
    bad, good = ask(mail_app), ask(mail_app)
    sink.tell(recipients={bad.recipient: "550 5.1.1 No such mailbox"})
    work(mail_app)
    failed = fresh(mail_app, bad)
    assert (failed.state, failed.reason, results(failed)) == ("failed", "refused", ["refused"])
    assert len(sink.to(good.recipient)) == 1


def test_trouble_between_the_server_and_us_refuses_no_mail(
    mail_app: Flask, monkeypatch: pytest.MonkeyPatch, sink: Sink
) -> None:
    port = parts_of(mail_app).settings.smtp_server.port
    with_settings(mail_app, monkeypatch, SMTP_URL=f"smtp+starttls://127.0.0.1:{port}")
    message = deliver(mail_app, ask(mail_app))
    assert (message.state, results(message)) == ("deferred", ["unreachable"])
    assert sink.mails == []


@pytest.mark.parametrize(
    "recipient",
    ["no address", "a@b.test, c@d.test", "x@people.test\r\nBcc: y@people.test", "%0aBcc:x@y.test"],
)
def test_what_is_no_address_gets_no_mail(mail_app: Flask, sink: Sink, recipient: str) -> None:
    failed = deliver(mail_app, ask(mail_app, recipient=recipient))
    assert (failed.state, failed.reason) == ("parked", "unwritable")
    assert sink.mails == []


def test_addresses_beyond_ascii_get_their_mail(mail_app: Flask, sink: Sink) -> None:
    assert deliver(mail_app, ask(mail_app, recipient="ада@почта.test")).state == "sent"
    assert sink.mails[0].recipients == ["ада@xn--80a1acny.test"]


def test_a_mail_that_became_useless_is_not_sent(mail_app: Flask, sink: Sink) -> None:
    message = ask(mail_app, expires_at=(utcnow() + timedelta(hours=1)).isoformat())
    sink.refuse()
    deliver(mail_app, message)
    sink.accept()
    update(mail_app, message, expires_at=utcnow())
    make_due(mail_app, message)
    failed = deliver(mail_app, message)
    assert (failed.state, failed.reason) == ("failed", "too_late")
    assert failed.sealed_context is None
    assert sink.mails == []


def test_a_mail_within_its_time_is_sent(mail_app: Flask, sink: Sink) -> None:
    message = ask(mail_app, expires_at=(utcnow() + timedelta(hours=1)).isoformat())
    assert deliver(mail_app, message).state == "sent"


def test_a_poison_message_blocks_nobody(mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    poison, good = ask(mail_app), ask(mail_app)
    real = sending.write

    def write(letter, **options):  # type: ignore[no-untyped-def]
        if letter.link == poisoned_link:
            raise RuntimeError("a fault of ours")
        return real(letter, **options)

    with mail_app.app_context():
        poisoned_link = sending.messages.read_context(poison.id, poison.sealed_context or "")["link"]
    monkeypatch.setattr(sending, "write", write)
    work(mail_app)
    waiting = fresh(mail_app, poison)
    assert (waiting.state, waiting.attempts[0].answer) == ("deferred", "A fault of ours: RuntimeError.")
    assert len(sink.to(good.recipient)) == 1


def test_a_message_whose_key_is_gone_is_shown_to_staff(
    mail_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    from libs.guard.keyring import KeyRing

    message = ask(mail_app)
    monkeypatch.setattr(parts_of(mail_app), "data_keys", KeyRing({"other": b"k" * 32}))
    failed = deliver(mail_app, message)
    assert (failed.state, failed.reason) == ("parked", "unwritable")
    assert failed.sealed_context is not None, "with the key back, it can be tried again"


# ---- TLS and sign-in ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=sink.test",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_text(key.read_text() + cert.read_text())
    return both


@pytest.mark.parametrize("kind", ["tls", "starttls"])
def test_mail_leaves_encrypted_and_signed_in(
    app: Flask, kind: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with Sink(user=("suite", "a/long word"), **{kind: context}) as sink:
        scheme = "smtps" if kind == "tls" else "smtp+starttls"
        url = f"{scheme}://suite:a%2Flong%20word@127.0.0.1:{sink.port}"
        with_settings(app, monkeypatch, SMTP_URL=url, MAIL_FROM=SENDER, SMTP_TIMEOUT_S=2)
        untrusted = deliver(app, ask(app))
        assert untrusted.attempts[0].answer == "TLS failed: CERTIFICATE_VERIFY_FAILED."
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        message = deliver(app, ask(app))
        assert message.state == "sent", message.attempts[0].answer
        sink.user = ("suite", "another word")
        assert deliver(app, ask(app)).state == "sent", "an open connection stays signed in"
        conversation.connections.close()
        refused = deliver(app, ask(app))
        assert refused.state == "deferred"
        assert (refused.attempts[0].answer or "").startswith("535")


def test_what_is_cut_off_does_not_go_on_in_the_clear(certificate: Path) -> None:
    ours, theirs = socket.socketpair()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with ThreadPoolExecutor(1) as server:
        served = server.submit(context.wrap_socket, theirs, server_side=True)
        connection = Connection(SMTPServer("smtps", "127.0.0.1", 465), timeout_s=2, our_name="us.test")
        trusting = ssl.create_default_context(cafile=str(certificate))
        encrypted = connection.smtp.sock = trusting.wrap_socket(ours, server_hostname="127.0.0.1")
        served.result().close()
    connection.cut()
    assert encrypted.version() is not None
    with pytest.raises(OSError):
        encrypted.sendall(b"what a mail says")
    connection.drop()
