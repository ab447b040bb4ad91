"""A mail provider's webhook: signed, in time, taken once, and silent about who is known here."""

import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import Client, TestResponse

from libs.database import utcnow
from libs.service import parts_of
from services.notification.flows.feedback import REMEMBERED, TOLERANCE
from services.notification.models import Message, Suppression, TakenFeedback
from services.notification.routes.feedback import MOST_BYTES
from tests.conftest import sign_in_copy
from tests.notification.conftest import address, ask, deliver, run_task, with_settings
from tests.pages import ORIGIN, Browser

OLD, NEW = (f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}" for _ in range(2))
OWN_TIME_S = int(TOLERANCE.total_seconds())


class Provider:
    """Sends webhooks as Standard Webhooks says."""

    def __init__(self, app: Flask, secret: str):
        self.app, self.secret = app, secret

    def sign(self, webhook_id: str, timestamp: str, body: bytes) -> str:
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        text = f"{webhook_id}.{timestamp}.".encode() + body
        return "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()

    def __call__(self, *events: dict[str, Any], **changes: Any) -> TestResponse:
        body = changes.get("body", json.dumps({"events": events}).encode())
        webhook_id = changes.get("webhook_id", f"msg_{uuid.uuid4().hex}")
        timestamp = str(int(time.time()) + changes.get("later", 0))
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": self.sign(webhook_id, timestamp, body),
            "Content-Type": "application/json",
            **changes.get("headers", {}),
        }
        sent = {name: value for name, value in headers.items() if value is not None}
        http = Client(self.app, TestResponse, use_cookies=False)
        path = "/api/v1/mail-feedback"
        return http.post(path, base_url=ORIGIN, data=changes.get("sent", body), headers=sent)


@pytest.fixture
def provider(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Provider:
    with_settings(app, monkeypatch, MAIL_FEEDBACK_SECRETS=(NEW, OLD))
    return Provider(app, NEW)


def bounce(to: str, **changes: Any) -> dict[str, Any]:
    return {"type": "bounced", "address": to, "permanent": True, **changes}


def reason_of(app: Flask, email: str) -> str | None:
    with app.app_context():
        return parts_of(app).db.session.scalar(
            sa.select(Suppression.reason).where(Suppression.email == email)
        )


def counted(app: Flask, kind: str) -> float:
    return parts_of(app).metrics.mail_feedback.labels(type=kind)._value.get()


def reports_of(app: Flask, message: Message) -> list[tuple[str, bool, str | None]]:
    from services.notification.flows.messages import get_message

    with app.app_context():
        return [(one.type, one.is_permanent, one.detail) for one in get_message(message.id).reports]


# ---- what it means -----------------------------------------------------------------------------------------


def test_what_bounced_for_good_and_what_is_unwanted_is_written_to_no_more(
    app: Flask, provider: Provider
) -> None:
    gone, angry = address(), address()
    answer = provider(
        bounce(gone.upper(), detail="550 5.1.1\r\nno such user, see https://provider.test/x?y=1"),
        {"type": "complained", "address": angry, "from_a_newer_release": [1]},
    )
    assert (answer.status_code, answer.json) == (200, {"events": 2})
    assert (reason_of(app, gone), reason_of(app, angry)) == ("bounced", "complained")
    with app.app_context():
        row = parts_of(app).db.session.get(Suppression, gone)
        assert row.detail == "550 5.1.1 no such user, see [link]"
        from services.notification.flows.suppressions import history

        (entry,) = history(gone)
    assert (entry.actor, entry.action) == ("webhook:mail-feedback", "address.suppressed")


def test_a_passing_bounce_is_kept_with_its_message_and_shown_to_staff(
    app: Flask, provider: Provider, browser: Browser
) -> None:
    message = deliver(app, ask(app))
    header_id = message.header_id
    provider(bounce(message.recipient, permanent=False, detail="452 4.2.2 full", message_id=header_id))
    provider({"type": "delivered", "address": message.recipient, "message_id": header_id.strip("<>")})
    assert reason_of(app, message.recipient) is None
    assert reports_of(app, message) == [("bounced", False, "452 4.2.2 full"), ("delivered", False, None)]
    sign_in_copy(browser, app, roles=["support"])
    browser.get(f"/admin/messages/{message.id}")
    assert "452 4.2.2 full" in browser.text
    assert "It came back, for now" in browser.text
    assert "It arrived in the mailbox" in browser.text


@pytest.mark.parametrize("message_id", [None, "", "<x@y>", "<0123456789abcdef@updspace.test>", "\0"])
def test_a_message_that_is_not_ours_is_nobodys(
    app: Flask, provider: Provider, message_id: str | None
) -> None:
    to = address()
    assert provider(bounce(to, message_id=message_id)).status_code == 200
    assert reason_of(app, to) == "bounced"


def test_what_nobody_knows_yet_is_counted_and_answered_like_the_rest(app: Flask, provider: Provider) -> None:
    before = {kind: counted(app, kind) for kind in ("unknown", "bounced", "complained", "delivered")}
    opened = {"type": "opened", "address": ["anything"], "permanent": "maybe"}
    answer = provider(opened, {"type": 7}, {}, bounce(address(), permanent=False))
    assert (answer.status_code, answer.json) == (200, {"events": 4})
    assert counted(app, "unknown") == before["unknown"] + 3
    assert counted(app, "bounced") == before["bounced"] + 1
    assert counted(app, "complained") == before["complained"]


def test_it_says_nothing_about_who_is_known(app: Flask, provider: Provider) -> None:
    message = deliver(app, ask(app))
    known = bounce(message.recipient, message_id=message.header_id)
    unknown = bounce(address(), message_id=f"<{uuid.uuid4().hex}@updspace.test>")
    answers = [provider(event) for event in (known, unknown, known, unknown)]
    assert len({(answer.status_code, answer.text) for answer in answers}) == 1


def test_whoever_is_forgotten_is_forgotten_in_reports_too(app: Flask, provider: Provider) -> None:
    from services.notification.flows import erasure

    message = deliver(app, ask(app))
    provider(bounce(message.recipient, permanent=False, detail="for ada", message_id=message.header_id))
    with app.app_context():
        erasure.erase(sub=str(uuid.uuid4()), emails=[message.recipient], left={})
    assert reports_of(app, message) == [("bounced", False, None)]


def test_what_comes_back_of_somebody_who_is_gone_does_not_bring_their_address_back(
    app: Flask, provider: Provider
) -> None:
    from services.notification.flows import erasure

    message = deliver(app, ask(app))
    with app.app_context():
        erasure.erase(sub=str(uuid.uuid4()), emails=[message.recipient], left={})
    late = bounce(message.recipient, detail=f"no {message.recipient}", message_id=message.header_id)
    assert provider(late).status_code == 200
    assert reason_of(app, message.recipient) is None
    assert reports_of(app, message) == [("bounced", True, None)]


def test_a_provider_speaks_of_a_domain_as_mail_servers_do(app: Flask, provider: Provider) -> None:
    local = uuid.uuid4().hex[:8]
    provider(bounce(f"{local}@xn--bcher-kva.test"))
    assert deliver(app, ask(app, recipient=f"{local.upper()}@Bücher.test")).state == "suppressed"
    assert deliver(app, ask(app, recipient=f"{local}@XN--bcher-kva.test")).state == "suppressed"
    with app.app_context():
        from services.notification.flows import suppressions

        suppressions.lift(email=f"{local}@bücher.test", reason="she wrote to us")
    assert reason_of(app, f"{local}@xn--bcher-kva.test") is None


# ---- who may say it ----------------------------------------------------------------------------------------


def test_without_a_secret_the_endpoint_is_closed(app: Flask) -> None:
    answer = Provider(app, NEW)(bounce(address()))
    assert (answer.status_code, answer.json["type"].rpartition(":")[2]) == (404, "feedback-closed")


def test_both_secrets_hold_while_they_change(app: Flask, provider: Provider) -> None:
    assert Provider(app, OLD)(bounce(address())).status_code == 200
    # The provider signs with both of its own meanwhile.
    foreign = "v1," + base64.b64encode(secrets.token_bytes(32)).decode()

    class Changing(Provider):
        def sign(self, *parts: Any) -> str:
            return f"v1a,abc {foreign} {super().sign(*parts)}"

    assert Changing(app, NEW)(bounce(address())).status_code == 200


Wrong = Callable[[Provider, str], TestResponse]
WRONG: dict[str, Wrong] = {
    "unsigned": lambda send, to: send(bounce(to), headers={"webhook-signature": None}),
    "without an id": lambda send, to: send(bounce(to), headers={"webhook-id": None}),
    "without a time": lambda send, to: send(bounce(to), headers={"webhook-timestamp": None}),
    "with a time that is none": lambda send, to: send(bounce(to), headers={"webhook-timestamp": "-1e9"}),
    "for another id": lambda send, to: send(bounce(to), headers={"webhook-id": "another"}),
    "for another time": lambda send, to: send(
        bounce(to), headers={"webhook-timestamp": str(int(time.time()) + 1)}
    ),
    "with another body": lambda send, to: send(
        bounce(address()), sent=json.dumps({"events": [bounce(to)]}).encode()
    ),
    "too old": lambda send, to: send(bounce(to), later=-OWN_TIME_S - 5),
    "from the future": lambda send, to: send(bounce(to), later=OWN_TIME_S + 5),
    "with a secret of others": lambda send, to: Provider(
        send.app, f"whsec_{base64.b64encode(b'0' * 32).decode()}"
    )(bounce(to)),
    "with an id beyond ASCII": lambda send, to: send(bounce(to), webhook_id="msg é"),
    "with an endless id": lambda send, to: send(bounce(to), webhook_id="x" * 201),
    "with the right signature under another version": lambda send, to: send(
        bounce(to), headers={"webhook-signature": "v2,abc"}
    ),
    "with signatures without end": lambda send, to: send(
        bounce(to), headers={"webhook-signature": "v1,abc " * 500}
    ),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_whoever_cannot_prove_it_changes_nothing(app: Flask, provider: Provider, name: str) -> None:
    to = address()
    answer = WRONG[name](provider, to)
    assert (answer.status_code, answer.json["type"].rpartition(":")[2]) == (401, "bad-signature")
    assert reason_of(app, to) is None


def test_a_webhook_within_the_tolerance_is_in_time(app: Flask, provider: Provider) -> None:
    for later in (-OWN_TIME_S + 10, OWN_TIME_S - 10):
        assert provider(bounce(address()), later=later).status_code == 200


def test_neither_a_cookie_nor_a_foreign_page_counts(app: Flask, provider: Provider) -> None:
    assert provider(bounce(address()), headers={"Origin": "https://elsewhere.test"}).status_code == 200
    browser = Browser(app)
    sign_in_copy(browser, app, roles=["admin"])
    assert browser.post("/api/v1/mail-feedback", json={"events": []}).status_code == 401


# ---- once --------------------------------------------------------------------------------------------------


def test_the_same_webhook_again_changes_nothing(app: Flask, provider: Provider) -> None:
    message, webhook_id = deliver(app, ask(app)), f"msg_{uuid.uuid4().hex}"
    event = bounce(message.recipient, permanent=False, message_id=message.header_id)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: provider(event, webhook_id=webhook_id), range(8)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}
    assert len(reports_of(app, message)) == 1


def test_webhooks_about_the_same_addresses_side_by_side_all_end(app: Flask, provider: Provider) -> None:
    people = [address() for _ in range(30)]
    orders = [people, people[::-1]] * 3
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda order: provider(*map(bounce, order)), orders))
    assert {answer.status_code for answer in answers} == {200}
    assert {reason_of(app, person) for person in people} == {"bounced"}


def test_ids_are_forgotten_after_a_week(app: Flask, provider: Provider) -> None:
    old, young = (f"msg_{uuid.uuid4().hex}" for _ in range(2))
    for webhook_id in (old, young):
        provider(bounce(address()), webhook_id=webhook_id)
    with app.app_context(), parts_of(app).db.transaction() as session:
        taken = sa.update(TakenFeedback).where(TakenFeedback.webhook_id == old)
        session.execute(taken.values(taken_at=utcnow() - REMEMBERED))
    for _ in range(2):
        run_task(app, "clear_feedback")
    with app.app_context():
        left = sa.select(TakenFeedback.webhook_id).where(TakenFeedback.webhook_id.in_((old, young)))
        assert parts_of(app).db.session.scalars(left).all() == [young]


# ---- what cannot be read -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"events"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"events": {}}',
        b'{"events": [7]}',
        b'{"event": []}',
        json.dumps({"events": [{"type": "x"}] * 1001}).encode(),
        *(
            json.dumps({"events": [bounce("ok@people.test"), {"type": "bounced", **wrong}]}).encode()
            for wrong in (
                {},
                {"address": ""},
                {"address": 7},
                {"address": "nobody"},
                {"address": "a b@c.test"},
                {"address": "\0@c.test"},
                {"address": "a" * 320 + "@c.test"},
                {"address": "a@c.test", "permanent": "yes"},
                {"address": "a@c.test", "message_id": ["x"]},
                {"address": "a@c.test", "detail": {}},
            )
        ),
    ],
)
def test_what_is_signed_and_cannot_be_read_is_refused_whole(
    app: Flask, provider: Provider, body: bytes
) -> None:
    webhook_id = f"msg_{uuid.uuid4().hex}"
    answer = provider(body=body, webhook_id=webhook_id)
    assert answer.status_code == 422, answer.text
    assert answer.json["errors"]
    assert reason_of(app, "ok@people.test") is None
    # Repaired, it is taken under the same id.
    assert provider(bounce(address()), webhook_id=webhook_id).status_code == 200
    with app.app_context():
        assert parts_of(app).db.session.get(TakenFeedback, webhook_id)


def test_the_answer_says_which_event_cannot_be_read(provider: Provider) -> None:
    answer = provider(bounce(address()), {"type": "complained"}, {"type": "delivered", "address": "x"})
    assert set(answer.json["errors"]) == {"events.1.address", "events.2.address"}


def test_a_body_that_is_too_long_is_not_read(app: Flask, provider: Provider) -> None:
    assert provider(body=b" " * (MOST_BYTES + 1)).status_code == 413


def test_no_secret_and_no_address_is_in_the_log(
    app: Flask, provider: Provider, log_text: Callable[[], str]
) -> None:
    to = address()
    provider(bounce(to))
    provider(bounce(to), later=-OWN_TIME_S - 5)
    text = log_text()
    assert "mail_feedback_taken" in text
    assert to not in text
    assert NEW not in text


@pytest.mark.parametrize(
    ("reason", "after"), [("bounced", None), ("refused", None), ("complained", "complained")]
)
def test_what_arrived_lifts_what_servers_said_of_the_address(
    app: Flask, provider: Provider, reason: str, after: str | None
) -> None:
    email = address()
    with app.app_context():
        from services.notification.flows.suppressions import suppress

        suppress(email=email, reason=reason)
    provider({"type": "delivered", "address": email})
    assert reason_of(app, email) == after
