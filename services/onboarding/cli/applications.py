"""Commands about applications, for the engineer on call."""

import uuid
from collections.abc import Callable
from typing import Any

import click
from flask.cli import AppGroup
from marshmallow import Schema, ValidationError

from libs.commands import LIMIT, command, done, show, show_one, wait_for_events
from services.onboarding.cli.addresses import checked_address
from services.onboarding.flows import activation, people, states
from services.onboarding.flows.review import claims, decisions, history, notes, questions, queue, signs
from services.onboarding.models import Application, fold
from services.onboarding.schemas.forms import NoteForm, QuestionForm, RejectionForm, first_errors

applications = AppGroup("applications", help="Requests to join: who asked, what was decided, the way in.")


def of_somebody(function: Callable[..., Any]) -> Callable[..., Any]:
    """EMAIL names the newest application of that address; --id names another one."""
    function = click.option(
        "--id", "application_id", type=click.UUID, help="This application, not the address's newest."
    )(function)
    return click.argument("email")(function)


def find(email: str, application_id: uuid.UUID | None) -> Application:
    """The application that was meant. Raises LookupError with a sentence."""
    email = checked_address(email)
    if application_id is not None:
        application = states.get(application_id)
        if application.email_folded != fold(email):
            raise LookupError(f"The application {application_id} is not of {email}.")
        return application
    found = history.of_address(email)
    if not found:
        raise LookupError(f"Nobody applied as {email}.")
    return found[0]


@applications.command("list", help="Applications, newest first.")
@click.option("--state", type=click.Choice(queue.FILTERS), default="all", show_default=True)
@click.option("--search", default="", help="Part or start of a name or address, or @example.org.")
@click.option("--limit", type=LIMIT, default=100, show_default=True)
@command
def list_applications(state: str, search: str, limit: int, as_json: bool) -> None:
    page = queue.find_all(most=limit, state=state, search=search, newest_first=True)
    rows = [
        {
            "id": application.id,
            "submitted_at": application.submitted_at,
            "state": application.state,
            "address_confirmed_at": application.confirmed_at,
            "email": application.email,
            "name": application.name,
            "claimed_by": application.claimed_by if application.state == "in_review" else None,
        }
        for application in page.applications
    ]
    show(rows, as_json=as_json, empty="No applications.")
    if page.is_cut:
        click.echo("Some may be missing: search for more of the name or address.", err=True)


@applications.command("show", help="Everything about an application but its links.")
@of_somebody
@command
def show_application(email: str, application_id: uuid.UUID | None, as_json: bool) -> None:
    application = find(email, application_id)
    names = people.names_of([application.decided_by, application.claimed_by])
    question = questions.open_of(application.id)
    show_one(
        {
            "id": application.id,
            "email": application.email,
            "name": application.name,
            "state": application.state,
            "why": application.why,
            "answers": application.answers,
            "locale": application.locale,
            "submitted_at": application.submitted_at,
            "address_confirmed_at": application.confirmed_at,
            "claimed_by": names.get(application.claimed_by or "", application.claimed_by),
            "open_question": question.text if question else None,
            "notes": [note.text for note in notes.of(application.id)],
            "signs": [sign.kind for sign in signs.of(application)],
            "mail_trouble": application.mail_trouble,
            "decided_at": application.decided_at,
            "decided_by": names.get(application.decided_by or "", application.decided_by),
            "reason": application.reason,
            "reason_is_shown": application.reason_is_shown,
            "activated_at": application.activated_at,
            "sub": application.sub,
            "applications_of_this_address": len(history.of_address(application.email_folded)),
        },
        as_json=as_json,
    )


@applications.command("approve", help="Approve; the activation mail leaves once the address is confirmed.")
@of_somebody
@command
def approve(email: str, application_id: uuid.UUID | None, as_json: bool) -> None:
    application = decisions.approve(application_id=find(email, application_id).id)
    waits = "" if application.confirmed_at else " The activation mail waits for the address to be confirmed."
    _done(f"Approved the application of {application.email}.{waits}", application, as_json=as_json)


@applications.command("reject", help="Reject; the applicant is mailed the reason, if there is one for them.")
@of_somebody
@click.option("--reason", help="Why not, in words for the applicant.")
@click.option("--private", is_flag=True, help="The reason is for staff alone.")
@command
def reject(
    email: str, application_id: uuid.UUID | None, reason: str | None, private: bool, as_json: bool
) -> None:
    reason = _text(RejectionForm(), "reason", reason) if reason else None
    application = decisions.reject(
        application_id=find(email, application_id).id, reason=reason, reason_is_shown=not private
    )
    _done(f"Rejected the application of {application.email}.", application, as_json=as_json)


@applications.command("take-back", help="Undecide, until the person has an account; the applicant is told.")
@of_somebody
@command
def take_back(email: str, application_id: uuid.UUID | None, as_json: bool) -> None:
    application = decisions.take_back(application_id=find(email, application_id).id)
    _done(f"The application of {application.email} is in review again.", application, as_json=as_json)


@applications.command("claim", help="Claim an application in your name; --take-over takes it from another.")
@of_somebody
@click.option("--take-over", is_flag=True, help="Though another reviewer has it.")
@command
def claim(email: str, application_id: uuid.UUID | None, take_over: bool, as_json: bool) -> None:
    application = find(email, application_id)
    holder = application.claimed_by if take_over else None
    application = claims.claim(application_id=application.id, instead_of=holder)
    _done(f"Claimed the application of {application.email}.", application, as_json=as_json)


@applications.command("ask", help="Mail the applicant a question; the answer comes on a page.")
@of_somebody
@click.argument("question")
@command
def ask(email: str, application_id: uuid.UUID | None, question: str, as_json: bool) -> None:
    application = find(email, application_id)
    questions.ask(application_id=application.id, text=_text(QuestionForm(), "question", question))
    application = states.get(application.id)
    _done(f"Asked {application.email}.", application, as_json=as_json)


@applications.command("note", help="Keep a note for reviewers; no page shows it to the applicant.")
@of_somebody
@click.argument("note")
@command
def write_note(email: str, application_id: uuid.UUID | None, note: str, as_json: bool) -> None:
    application = find(email, application_id)
    notes.add(application_id=application.id, text=_text(NoteForm(), "note", note))
    _done(f"Kept a note about {application.email}.", application, as_json=as_json)


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


def _text(form: Schema, field: str, typed: str) -> str:
    """What was typed, checked as on the page. Raises LookupError with a sentence."""
    try:
        text: str = form.load({field: typed})[field]
    except ValidationError as error:
        raise LookupError(str(first_errors(error)[field])) from None
    return text


def _done(sentence: str, application: Application, *, as_json: bool) -> None:
    wait_for_events(quiet=as_json)
    values = {"id": application.id, "email": application.email, "state": application.state}
    done(sentence, values, as_json=as_json)
