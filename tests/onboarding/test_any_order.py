"""What others tell onboarding ends in the same state in whatever order it comes, and however often."""

import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from flask import Flask

from libs.messaging.events import AccountOpened, DataRequested, Event, MailEnded, UserChanged, UserErased
from services.onboarding.extensions import db
from services.onboarding.models import Application, Link, Person
from tests.any_order import Life, end_alike
from tests.onboarding import steps


def snapshots(sub: str, email: str) -> list[Event]:
    return [
        UserChanged(
            sub=sub,
            version=version,
            status="disabled" if version == 3 else "active",
            roles=["reviewer"] if version > 2 else [],
            claims={"name": f"Name {version}", "email": email},
            locale="en",
        )
        for version in range(1, 5)
    ]


def kept(app: Flask, application_id: str, email: str, sub: str) -> dict[str, Any]:
    with app.app_context(), db.transaction() as session:
        application = session.get(Application, uuid.UUID(application_id), populate_existing=True)
        person = session.get(Person, sub, populate_existing=True)
        ends = session.execute(
            sa.select(Link.purpose, Link.used_at.is_not(None), Link.superseded_at.is_not(None))
            .where(Link.application_id == uuid.UUID(application_id))
            .order_by(Link.id)
        )
        return {
            "application": application
            and (
                application.state,
                application.sub == sub,
                application.email == email,
                application.mail_trouble,
            ),
            "person": person and (person.version, person.name, person.roles, person.status),
            "links": [tuple(row) for row in ends],
            "mails": [mail.template for mail in steps.mails(app, email)],
        }


def begin(app: Flask, more: Callable[[str, str, list[Event]], list[Event]]) -> Callable[[], Life]:
    """Makes people who are approved, and whose confirmation was mailed twice."""

    def one() -> Life:
        email, sub = steps.new_email(), str(uuid.uuid4())
        for _ in range(2):
            steps.apply(app, email)
        steps.confirm(app, email)
        steps.approve(app, email)
        application_id = steps.facts(app, email)["id"]
        ended: list[Event] = [
            MailEnded(template=mail.template, deduplication_key=mail.deduplication_key, outcome="too_late")
            for mail in steps.mails(app, email, "confirm_address")
        ]
        events = more(sub, email, [*ended, AccountOpened(sub=sub, application_id=application_id)])
        return events, lambda: kept(app, application_id, email, sub)

    return one


def test_an_account_is_opened_while_its_owner_changes(onboarding_app: Flask) -> None:
    def events(sub: str, email: str, more: list[Event]) -> list[Event]:
        data = DataRequested(request_id=str(uuid.uuid4()), sub=sub, emails=[email], left={})
        return [*snapshots(sub, email), *more, data]

    state = end_alike(onboarding_app, begin(onboarding_app, events))
    assert state["application"] == ("activated", True, True, None)
    assert state["person"] == (4, "Name 4", ["reviewer"], "active")


def test_an_erased_person_stays_forgotten(onboarding_app: Flask) -> None:
    def events(sub: str, email: str, more: list[Event]) -> list[Event]:
        return [*snapshots(sub, email), *more, UserErased(sub=sub, emails=[email])]

    state = end_alike(onboarding_app, begin(onboarding_app, events))
    assert state["person"][1:] == ("", [], "erased")
    assert state["links"] == []
    assert state["application"] is None or state["application"][2] is False
