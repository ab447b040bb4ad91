"""Pages for applicants: apply, confirm the address, ask for a lost mail again."""

from typing import Any

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from marshmallow import ValidationError

from libs.people.access import public
from libs.service import parts_of
from libs.web.client_address import client_address
from libs.web.languages import current_language
from libs.web.redirects import safe_path
from services.onboarding.extensions import limiter
from services.onboarding.flows import answers, policies, status
from services.onboarding.flows import apply as flow
from services.onboarding.flows.links import LinkEnded
from services.onboarding.routes.links import show_ended
from services.onboarding.schemas.forms import AddressForm, ApplicationForm, first_errors

bp = Blueprint("apply", __name__)
bp.register_error_handler(LinkEnded, show_ended)

LONGEST_CONTINUE = 500
"""A longer way on is dropped: it travels in the ticket's address and then in a cookie, which hold 4 kB."""
FIELDS = ("email", "name", "why", "terms_version")
ANSWER = "answers-"
"""Before the name of an extra question, in the form and in the names of its errors."""


def typed_address() -> str | None:
    """The address whose mails are counted: one, however it is spelled."""
    typed = request.form.get("email", "")
    try:
        address: str = AddressForm().load({"email": typed})["email"]
    except ValidationError:
        return typed or None
    return address


def _link_or_address() -> str | None:
    """Whose mail is asked for again: of the link that brought here where there is one, as in the view."""
    return request.args.get("token") or typed_address()


@bp.get("/apply")
@public
def show_form() -> str:
    return _form({}, {})


@bp.post("/apply")
@limiter.limit("register", "20 per minute")
@limiter.limit("register", "10 per hour", by=typed_address)
@public
def submit() -> ResponseReturnValue:
    values = entered()
    try:
        flow.submit(
            **read_application(values),
            locale=current_language(),
            continue_to=way_on(),
            ip=client_address(),
        )
    except ValidationError as error:
        return _form(values, first_errors(error)), 422
    except flow.NotTaken as refused:
        if not refused.errors:
            raise
        return _form(values, refused.errors), refused.status
    return redirect(url_for("apply.sent"), 303)


def entered() -> dict[str, str]:
    """What stands in the form, as it was typed: so it comes back where something is wrong."""
    answered = {name: value for name, value in request.form.items() if name.startswith(ANSWER)}
    return {**answered, **{name: request.form.get(name, "") for name in FIELDS}}


def read_application(values: dict[str, str]) -> dict[str, Any]:
    """What flow.submit() takes of it. Raises ValidationError."""
    said = {name.removeprefix(ANSWER): value for name, value in values.items() if name.startswith(ANSWER)}
    read: dict[str, Any] = ApplicationForm().load({**values, "answers": said})
    return read


def form_context() -> dict[str, Any]:
    """What the fields of an application need beside values and errors."""
    settings = parts_of(current_app).settings
    return {
        "questions": answers.asked(current_language()),
        "terms_version": settings.TERMS_VERSION,
        "terms_url": settings.TERMS_URL,
    }


def _form(values: dict[str, str], errors: dict[str, Any]) -> str:
    door = policies.look_at_door()
    return render_template(
        "apply/form.html", values=values, errors=errors, way_on=way_on(), door=door, **form_context()
    )


def way_on() -> str | None:
    """Where the person wanted to go: a path of ours that is not too long to carry."""
    path = safe_path(request.args.get("continue"), default="")
    return path if path and len(path) <= LONGEST_CONTINUE and path.isascii() else None


@bp.get("/apply/sent")
@public
def sent() -> str:
    return render_template("apply/sent.html")


@bp.get("/apply/confirm")
@public
def show_confirmation() -> ResponseReturnValue:
    """The button of a living link; behind a used one, where the application stands."""
    token = request.args.get("token", "")
    application, why = flow.look_at_confirmation(token=token)
    if why is None:
        return render_template(
            "apply/confirm.html",
            application=application,
            answers=answers.in_words(application, current_language()),
        )
    if why == "used":
        return redirect(status.path_of(application), 303)
    return render_template(
        "links/ended.html", why=why, token=token, application=application
    ), LinkEnded.status


@bp.post("/apply/confirm")
@public
def confirm() -> ResponseReturnValue:
    token = request.args.get("token", "")
    try:
        return redirect(flow.confirm_address(token=token), 303)
    except LinkEnded as ended:
        if ended.why != "used":
            raise
        # Pressed twice: the first time counted, and the page says where things stand.
        return redirect(url_for("apply.show_confirmation", token=token), 303)


@bp.get("/apply/again")
@public
def show_again() -> str:
    return render_template("apply/again.html", values={}, errors={})


@bp.post("/apply/again")
@limiter.limit("register", "20 per minute")
@limiter.limit("register", "10 per hour", by=_link_or_address)
@public
def again() -> ResponseReturnValue:
    """A fresh mail for an address, or for the application of the link that brought here."""
    token = request.args.get("token")
    if token:
        flow.send_again_for_link(token=token)
        return redirect(url_for("apply.sent_again"), 303)
    values = {"email": request.form.get("email", "")}
    try:
        flow.send_again(**AddressForm().load(values))
    except ValidationError as error:
        return render_template("apply/again.html", values=values, errors=first_errors(error)), 422
    return redirect(url_for("apply.sent_again"), 303)


@bp.get("/apply/again/sent")
@public
def sent_again() -> str:
    return render_template("apply/sent_again.html")
