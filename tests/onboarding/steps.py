"""The steps of a person's way in, as the tests of onboarding take them: through pages, commands and events."""

import dataclasses
import json
import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from libs.audit import acting_as
from libs.database import utcnow
from libs.messaging.events import AccountOpened, MailRequested, UserChanged
from libs.people.handover import open_ticket
from libs.service import parts_of
from services.onboarding.extensions import db
from services.onboarding.flows import states
from services.onboarding.models import Question
from services.onboarding.settings import OnboardingSettings
from tests.conftest import receive, recorded, run_command, sign_in_copy
from tests.pages import ORIGIN, Browser

WHY = "I build small boats and would like to show them."


def new_email() -> str:
    return f"Ada-{uuid.uuid4().hex[:10]}@people.test"


def apply(
    app: Flask, email: str | None = None, *, page: str = "/apply", ip: str = "127.0.0.1", **fields: str
) -> str:
    """Send an application from a new browser; returns its address."""
    email = email or new_email()
    browser = Browser(app, ip=ip)
    browser.fill(page, button="apply", **{"email": email, "name": "Ada Lovelace", "why": WHY, **fields})
    assert (browser.status, browser.location) == (303, "/apply/sent"), browser.text
    return email


def mails(app: Flask, email: str, template: str | None = None) -> list[MailRequested]:
    """What was asked to be mailed to an address, oldest first."""
    return [
        event
        for event in recorded(app, MailRequested)
        if isinstance(event, MailRequested)
        and event.recipient == email
        and (template is None or event.template == template)
    ]


def link(app: Flask, email: str, template: str) -> str:
    """The path and query of the newest link of this kind."""
    url: str = mails(app, email, template)[-1].context["link"]
    assert url.startswith(ORIGIN + "/")
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def confirm(app: Flask, email: str) -> Browser:
    """Open the link of the newest confirmation mail and press its button."""
    browser = Browser(app)
    browser.fill(link(app, email, "confirm_address"), button="confirm", follow=True)
    return browser


def reviewer(app: Flask, name: str = "Rita Reviewer", roles: tuple[str, ...] = ("reviewer",)) -> Browser:
    """A signed-in reviewer whose name onboarding knows."""
    browser = Browser(app)
    session = sign_in_copy(browser, app, roles=list(roles), claims={"name": name})
    tell_of_person(app, session.sub, name=name)
    return browser


def tell_of_person(app: Flask, sub: str, *, name: str, version: int = 1) -> str:
    event = UserChanged(
        sub=sub, version=version, status="active", roles=["reviewer"], claims={"name": name}, locale="en"
    )
    return receive(app, event, "account")


def facts(app: Flask, email: str, *arguments: str) -> dict[str, Any]:
    """What `applications show` says."""
    result = run_command(app, "applications", "show", email, "--json", *arguments)
    assert result.exit_code == 0, result.output
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def page_of(app: Flask, email: str) -> str:
    return f"/admin/applications/{facts(app, email)['id']}"


def approve(app: Flask, email: str, browser: Browser | None = None) -> Browser:
    browser = browser or reviewer(app)
    browser.fill(page_of(app, email), button="approve", follow=True)
    return browser


def approved(app: Flask, **fields: str) -> str:
    """The address of an application that is confirmed and approved, its activation mail asked for."""
    email = apply(app, **fields)
    confirm(app, email)
    approve(app, email)
    return email


def open_account(app: Flask, email: str, *, sub: str | None = None) -> str:
    """What account says once the person has enrolled."""
    event = AccountOpened(sub=sub or str(uuid.uuid4()), application_id=facts(app, email)["id"])
    return receive(app, event, "account")


def invite(app: Flask, email: str = "", **options: str) -> dict[str, Any]:
    """What `invitations create` says; options as it takes them, `uses="3"` for --uses 3."""
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    if email:
        arguments += ["--email", email]
    result = run_command(app, "invitations", "create", *arguments, "--json")
    assert result.exit_code == 0, result.output
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def invitation_facts(app: Flask, invitation_id: str) -> dict[str, Any]:
    """What `invitations list` says of one."""
    result = run_command(app, "invitations", "list", "--json", "--limit", "10000")
    assert result.exit_code == 0, result.output
    [found] = [row for row in json.loads(result.stdout) if row["id"] == invitation_id]
    return dict(found)


def path_of(url: str) -> str:
    """The path and query of a link of ours."""
    assert url.startswith(ORIGIN + "/"), url
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def accept(app: Flask, path: str, email: str, **fields: str) -> Browser:
    """Open the link of an invitation in a new browser and send its form."""
    browser = Browser(app)
    browser.fill(path, button="apply", **{"email": email, "name": "Ada Lovelace", "why": WHY, **fields})
    return browser


def press(app: Flask, path: str) -> dict[str, Any]:
    """Open an activation link, press its button; returns what the ticket for account says."""
    browser = Browser(app)
    browser.fill(path, button="activate")
    assert browser.status == 303, browser.text
    assert browser.location.startswith("/enrol?ticket=")
    assert browser.page is not None
    assert browser.page.headers["Cache-Control"] == "no-store"
    assert browser.page.headers["Referrer-Policy"] == "no-referrer"
    [ticket] = parse_qs(urlsplit(browser.location).query)["ticket"]
    return open_ticket(parts_of(app).settings, ticket, purpose="enrol", audience="account")


def activation(browser: Browser) -> str:
    """The activation link that the browser was sent on to."""
    assert browser.status == 303, browser.text
    assert browser.location.startswith("/activate?token="), browser.location
    return browser.location


def change_invitation(app: Flask, invitation_id: str, **values: object) -> None:
    """Its row as if time, or somebody, had changed it."""
    with app.app_context(), parts_of(app).db.engine.begin() as connection:
        table = parts_of(app).db.metadata.tables["invitations"]
        connection.execute(sa.update(table).where(table.c.id == uuid.UUID(invitation_id)).values(values))


def status_page(app: Flask, email: str) -> str:
    """The path and query of the applicant's own page, as a mail names it."""
    named = [mail for mail in mails(app, email) if mail.context.get("status")]
    url: str = named[-1].context["status"]
    assert url.startswith(ORIGIN + "/apply/status?token=")
    return url.removeprefix(ORIGIN)


def ask(app: Flask, email: str, text: str = "Which boats?") -> None:
    """A reviewer has claimed the application and asked something."""
    application_id = uuid.UUID(facts(app, email)["id"])
    with app.app_context(), acting_as("user:a-reviewer"), db.transaction() as session:
        states.make(states.CLAIM, application_id, claimed_by="user:a-reviewer")
        session.add(Question(application_id=application_id, asked_by="user:a-reviewer", text=text))


def later(**duration: float) -> Any:
    """The clock put forward."""
    return time_machine.travel((utcnow() + timedelta(**duration)).timestamp(), tick=True)


def with_settings(app: Flask, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> OnboardingSettings:
    """The app with other settings, checked as at its start."""
    parts = parts_of(app)
    settings = dataclasses.replace(parts.settings, **changes)
    settings.check()
    monkeypatch.setattr(parts, "settings", settings)
    return settings


def status_token(app: Flask, application_id: str) -> str:
    """The token of the applicant's signed link."""
    from services.onboarding.flows import status

    with app.app_context():
        return status.path_of(states.get(uuid.UUID(application_id))).partition("=")[2]


def reject(app: Flask, email: str, reason: str, *, is_shown: bool = True) -> None:
    """A reviewer's no."""
    from services.onboarding.flows.review import decisions

    with app.app_context(), acting_as("user:rita"):
        application_id = uuid.UUID(facts(app, email)["id"])
        decisions.reject(application_id=application_id, reason=reason, reason_is_shown=is_shown)
