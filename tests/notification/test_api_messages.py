"""/api/v1/messages and its suppressions: what staff's programs see and do."""

import uuid

import pytest
from flask import Flask

from libs.service import parts_of
from services.notification.flows import suppressions
from tests.account.programs import Program
from tests.notification.conftest import address, ask, deliver, fresh, work
from tests.notification.programs import bearing
from tests.pages import ORIGIN
from tests.sink import Sink


@pytest.fixture
def program(app: Flask, oidc_app: Flask) -> Program:
    return bearing(app, oidc_app, "support")


def test_the_list_is_narrowed_and_goes_on(app: Flask, program: Program) -> None:
    to = address()
    messages = [ask(app, recipient=to) for _ in range(3)]
    first = program.get("/messages", query_string={"to": to.upper(), "limit": 2})
    assert [item["id"] for item in first.json["items"]] == [str(one.id) for one in messages[:0:-1]]
    assert first.headers[
        "Link"
    ] == f"</api/v1/messages?to={to.upper().replace('@', '%40')}&limit=2&cursor=" + (
        f'{first.json["next"]}>; rel="next"'
    )
    rest = program.get("/messages", query_string={"to": to, "limit": 2, "cursor": first.json["next"]})
    assert [item["id"] for item in rest.json["items"]] == [str(messages[0].id)]
    assert rest.json["next"] is None
    filters = (
        {"to": to, "state": "queued", "template": "confirm_address", "limit": 1},
        {"message_id": messages[2].header_id},
    )
    for query in filters:
        assert program.get("/messages", query_string=query).json["items"][0]["id"] == str(messages[2].id)
    assert program.get("/messages", query_string={"to": to, "state": "sent"}).json["items"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"state": "wild"}, "state"),
        ({"cursor": "x"}, "cursor"),
        ({"limit": "0"}, "limit"),
        ({"who": "x"}, "who"),
        ({"to": "x" * 400}, "to"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_field(
    program: Program, query: dict[str, str], field: str
) -> None:
    answer = program.get("/messages", query_string=query)
    assert (answer.status_code, set(answer.json["errors"])) == (422, {field})


def test_a_failed_message_shows_why_and_is_queued_again(
    mail_app: Flask, oidc_app: Flask, sink: Sink, program: Program
) -> None:
    to = address()
    sink.tell(recipients={to: "550 5.1.1 No such mailbox"})
    context = {"name": "Marked Name", "link": f"{ORIGIN}/x?token=a-secret-of-this-mail"}
    message = deliver(mail_app, ask(mail_app, recipient=to, context=context))
    shown = program.get(f"/messages/{message.id}")
    assert (shown.json["state"], shown.json["reason"], shown.json["to"]) == ("failed", "refused", to)
    assert shown.json["attempts"][0]["answer"] == "550 5.1.1 No such mailbox"
    assert (shown.json["asked_by"], shown.json["reports"]) == ("onboarding", [])
    assert "Marked Name" not in shown.text
    assert "a-secret-of-this-mail" not in shown.text
    sink.accept()
    with mail_app.app_context():
        if suppressions.is_suppressed(to):
            suppressions.lift(email=to, reason="for this test")
    again = program("POST", f"/messages/{message.id}/retry")
    assert (again.status_code, again.json["state"]) == (200, "queued")
    work(mail_app)
    (mail,) = sink.to(to)
    assert mail.message["Message-ID"] == message.header_id
    assert fresh(mail_app, message).state == "sent"
    gone = program("POST", f"/messages/{message.id}/retry")
    assert (gone.status_code, gone.json["type"].rpartition(":")[2]) == (409, "content-gone")
    with mail_app.app_context():
        entry = parts_of(mail_app).audit.entries(target=f"message:{message.id}")[0]
    assert (entry.action, entry.actor[:5]) == ("message.retried", "user:")


@pytest.mark.parametrize("path", ["/messages/01890000-0000-7000-8000-000000000000", "/messages/nonsense"])
def test_a_message_that_never_was_is_not_found(program: Program, path: str) -> None:
    assert program.get(path).status_code == 404
    assert program("POST", f"{path}/retry").status_code == 404


def test_suppressions_are_listed_and_lifted(app: Flask, program: Program) -> None:
    start = f"q{uuid.uuid4().hex[:8]}"
    emails = [f"{start}-{number}@people.test" for number in range(3)]
    with app.app_context():
        for email in emails:
            suppressions.suppress(email=email, reason="bounced", detail="550")
    query = {"search": start.upper(), "reason": "bounced", "limit": 2}
    first = program.get("/messages/suppressions", query_string=query).json
    rest = program.get("/messages/suppressions", query_string={**query, "cursor": first["next"]}).json
    assert [item["email"] for item in first["items"] + rest["items"]] == emails[::-1]
    assert rest["next"] is None
    body = {"email": emails[0].upper(), "reason": "seen in person"}
    answers = [program("POST", "/messages/suppressions/lift", json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [204, 404]
    with app.app_context():
        assert not suppressions.is_suppressed(emails[0])
        assert suppressions.history(emails[0])[0].reason == "seen in person"


@pytest.mark.parametrize(
    "changes", [{"reason": ""}, {"reason": "  "}, {"reason": None}, {"email": ""}, {"more": 1}]
)
def test_lifting_names_an_address_and_a_reason(program: Program, changes: dict[str, object]) -> None:
    body = {"email": address(), "reason": "x", **changes}
    answer = program("POST", "/messages/suppressions/lift", json=body)
    assert (answer.status_code, set(answer.json["errors"])) == (422, set(changes))
