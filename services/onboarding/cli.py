"""Commands about applications, for the engineer on call."""

import uuid
from collections.abc import Callable
from typing import Any

import click
from flask.cli import AppGroup
from marshmallow import ValidationError

from libs.commands import LIMIT, command, done, show, show_one, wait_for_events
from services.onboarding.flows import activation, people, review, states
from services.onboarding.flows.apply import fold
from services.onboarding.models import Application
from services.onboarding.schemas import AddressForm

applications = AppGroup("applications", help="Requests to join: who asked, what was decided, the way in.")


def of_somebody(function: Callable[..., Any]) -> Callable[..., Any]:
    """EMAIL names the newest application of that address; --id names another one."""
    function = click.option(
        "--id", "application_id", type=click.UUID, help="This application, not the address's newest."
    )(function)
    return click.argument("email")(function)


def find(email: str, application_id: uuid.UUID | None) -> Application:
    """The application that was meant. Raises LookupError with a sentence."""
    try:
        email = AddressForm().load({"email": email})["email"]
    except ValidationError:
        raise LookupError(f"{email or 'Nothing'} is not an e-mail address.") from None
    if application_id is not None:
        application = states.get(application_id)
        if application.email_folded != fold(email):
            raise LookupError(f"The application {application_id} is not of {email}.")
        return application
    found = review.of_address(email)
    if not found:
        raise LookupError(f"Nobody applied as {email}.")
    return found[0]


@applications.command("list", help="Applications, newest first.")
@click.option("--state", type=click.Choice(review.FILTERS), default="all", show_default=True)
@click.option("--limit", type=LIMIT, default=100, show_default=True)
@command
def list_applications(state: str, limit: int, as_json: bool) -> None:
    page = review.queue(state=state, newest_first=True, size=limit)
    rows = [
        {
            "id": application.id,
            "submitted_at": application.submitted_at,
            "state": application.state,
            "address_confirmed_at": application.confirmed_at,
            "email": application.email,
            "name": application.name,
        }
        for application in page.applications
    ]
    show(rows, as_json=as_json, empty="No applications.")


@applications.command("show", help="Everything about an application but its links.")
@of_somebody
@command
def show_application(email: str, application_id: uuid.UUID | None, as_json: bool) -> None:
    application = find(email, application_id)
    names = people.names_of([application.decided_by])
    show_one(
        {
            "id": application.id,
            "email": application.email,
            "name": application.name,
            "state": application.state,
            "why": application.why,
            "locale": application.locale,
            "submitted_at": application.submitted_at,
            "address_confirmed_at": application.confirmed_at,
            "decided_at": application.decided_at,
            "decided_by": names.get(application.decided_by or "", application.decided_by),
            "reason": application.reason,
            "activated_at": application.activated_at,
            "sub": application.sub,
            "applications_of_this_address": len(review.of_address(application.email)),
        },
        as_json=as_json,
    )


@applications.command("approve", help="Approve; the activation mail leaves once the address is confirmed.")
@of_somebody
@command
def approve(email: str, application_id: uuid.UUID | None, as_json: bool) -> None:
    application = review.approve(application_id=find(email, application_id).id)
    waits = "" if application.confirmed_at else " The activation mail waits for the address to be confirmed."
    _done(f"Approved the application of {application.email}.{waits}", application, as_json=as_json)


@applications.command("reject", help="Reject; the applicant is mailed the reason, if there is one.")
@of_somebody
@click.option("--reason", help="Why not, in words for the applicant.")
@command
def reject(email: str, application_id: uuid.UUID | None, reason: str | None, as_json: bool) -> None:
    application = review.reject(application_id=find(email, application_id).id, reason=reason)
    _done(f"Rejected the application of {application.email}.", application, as_json=as_json)


@applications.command("activation-link", help="Print a new activation link; it ends the earlier one.")
@of_somebody
@command
def activation_link(email: str, application_id: uuid.UUID | None, as_json: bool) -> None:
    url = activation.make_link(application_id=find(email, application_id).id)
    done(f"Activation URL: {url}", {"activation_url": url}, as_json=as_json)


@applications.command("activate", help="Open the account directly; the person is mailed to set a password.")
@of_somebody
@click.option("--reason", default="Activated by command", show_default=True, help="Kept in the audit.")
@command
def activate(email: str, application_id: uuid.UUID | None, reason: str, as_json: bool) -> None:
    application = activation.activate_directly(application_id=find(email, application_id).id, reason=reason)
    _done(
        f"Activated {application.email}: a mail to set a password follows when the account is open.",
        application,
        as_json=as_json,
    )


def _done(sentence: str, application: Application, *, as_json: bool) -> None:
    wait_for_events(quiet=as_json)
    values = {"id": application.id, "email": application.email, "state": application.state}
    done(sentence, values, as_json=as_json)
