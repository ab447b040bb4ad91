"""What others tell account ends in the same state in whatever order it comes, and however often."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from libs.messaging.events import (
    Event,
    KeysChanged,
    MailEnded,
    NotificationDataCollected,
    OIDCDataCollected,
    OnboardingDataCollected,
    SignInThreatened,
)
from libs.service import parts_of
from tests.account.conftest import Person, mails_to, rows
from tests.account.test_password_links import activated
from tests.any_order import Life, end_alike
from tests.conftest import recorded


def kept(app: Flask, email: str) -> dict[str, Any]:
    [user] = rows(
        app,
        "SELECT status, version, mail_trouble, application_id IS NOT NULL, id FROM users WHERE email = :email",
        email=email,
    )
    return {
        "user": tuple(user[:4]),
        "links": len(
            rows(app, "SELECT 1 FROM password_links WHERE user_id = :id AND used_at IS NULL", id=user[4])
        ),
        "made_anew": max(
            (
                row[0]
                for row in rows(app, "SELECT made_anew FROM password_links WHERE user_id = :id", id=user[4])
            ),
            default=0,
        ),
        "parts": len(
            rows(
                app,
                "SELECT 1 FROM data_parts p JOIN data_requests r ON r.id = p.request_id WHERE r.user_id = :id",
                id=user[4],
            )
        ),
        "mails": sorted(mail.template for mail in mails_to(app, email)),
    }


def test_a_person_activated_by_staff_whose_mail_ends(app: Flask) -> None:
    """The events about one mail; that about another one comes when there is another one."""

    def begin() -> Life:
        from tests.conftest import receive

        event = activated()
        receive(app, event, "onboarding")
        [mail] = mails_to(app, event.email)
        key = mail.deduplication_key
        events: list[Event] = [
            # Asked for twice by an operator who saw no answer to the first.
            MailEnded(template="set_password", deduplication_key=key, outcome="too_late"),
            MailEnded(template="set_password", deduplication_key=key, outcome="too_late"),
            MailEnded(
                template="set_password", deduplication_key=f"set_password:{uuid.uuid4()}", outcome="failed"
            ),
        ]
        return events, lambda: kept(app, event.email)

    state = end_alike(app, begin)
    assert state["mails"] == ["set_password", "set_password"]
    assert (state["links"], state["made_anew"], state["user"][2]) == (1, 1, None)


def test_a_person_is_activated_twice(app: Flask) -> None:
    def begin() -> Life:
        event = activated()
        return [event, event], lambda: kept(app, event.email)

    state = end_alike(app, begin)
    assert state["mails"] == ["set_password"] * 2
    assert (state["links"], state["user"][3]) == (1, True)


def test_warnings_and_collected_data(app: Flask, make_person: Callable[..., Person]) -> None:
    from libs.messaging.events import DataRequested
    from services.account.flows.data_download import ask_for_data

    def begin() -> Life:
        person = make_person(is_email_verified=True)
        with app.app_context():
            ask_for_data(sub=person.sub)
        requests = [event for event in recorded(app, DataRequested) if isinstance(event, DataRequested)]
        [request_id] = [event.request_id for event in requests if event.sub == person.sub]
        parts = (OIDCDataCollected, OnboardingDataCollected, NotificationDataCollected)
        events: list[Event] = [part(request_id=request_id, content={"a": 1}) for part in parts]
        events += [SignInThreatened(sub=person.sub, cause="refresh_token_theft") for _ in range(2)]
        return events, lambda: kept(app, person.email)

    state = end_alike(app, begin)
    assert state["mails"] == ["data_ready", "sign_in_threatened"]
    assert state["parts"] == 4, "with our own"


@pytest.mark.parametrize("service", ["account", "onboarding", "notification"])
def test_every_api_keeps_the_newest_keys_of_the_issuer(
    make_app: Callable[[str], Flask], service: str
) -> None:
    app = make_app(service)
    parts = parts_of(app)
    table = parts.issuer_keys.table

    def held() -> list[Any]:
        with app.app_context(), parts.db.transaction() as session:
            return [tuple(row) for row in session.execute(table.select())]

    before = held()

    def begin() -> Life:
        with app.app_context(), parts.db.transaction() as session:
            session.execute(table.delete())
        events = [
            KeysChanged(version=version, jwks={"keys": [{"kid": str(version)}]}) for version in range(1, 7)
        ]
        return events, lambda: [row[1:3] for row in held()]

    try:
        assert end_alike(app, begin) == [(6, {"keys": [{"kid": "6"}]})]
    finally:
        with app.app_context(), parts.db.transaction() as session:
            session.execute(table.delete())
            for row in before:
                session.execute(table.insert().values(row))
            parts.issuer_keys.forget()
