"""Pages for applicants: apply, confirm the address, ask for a lost mail again."""

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from marshmallow import ValidationError

from libs.people.access import public
from libs.web.languages import current_language
from libs.web.redirects import safe_path
from services.onboarding.extensions import limiter
from services.onboarding.flows import apply as flow
from services.onboarding.flows.links import LinkEnded
from services.onboarding.routes.links import show_ended
from services.onboarding.schemas import AddressForm, ApplicationForm, first_errors

bp = Blueprint("apply", __name__)
bp.register_error_handler(LinkEnded, show_ended)

LONGEST_CONTINUE = 500
"""A longer way on is dropped: it travels in the ticket's address and then in a cookie, which hold 4 kB."""


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
    return render_template("apply/form.html", values={}, errors={}, way_on=way_on())


@bp.post("/apply")
@limiter.limit("register", "20 per minute")
@limiter.limit("register", "10 per hour", by=typed_address)
@public
def submit() -> ResponseReturnValue:
    values = {name: request.form.get(name, "") for name in ("email", "name", "why")}
    try:
        answers = ApplicationForm().load(values)
    except ValidationError as error:
        page = render_template("apply/form.html", values=values, errors=first_errors(error), way_on=way_on())
        return page, 422
    flow.submit(
        **answers,
        locale=current_language(),
        continue_to=way_on(),
    )
    return redirect(url_for("apply.sent"), 303)


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
    """The button of a living link; what became of the application behind a used one."""
    application, why = flow.look_at_confirmation(token=request.args.get("token", ""))
    if why is None:
        return render_template("apply/confirm.html", application=application)
    if why == "used":
        return render_template(
            "apply/status.html", application=application, token=request.args.get("token", "")
        )
    return render_template("links/ended.html", why=why, token=request.args.get("token", "")), LinkEnded.status


@bp.post("/apply/confirm")
@public
def confirm() -> ResponseReturnValue:
    token = request.args.get("token", "")
    try:
        activation_link = flow.confirm_address(token=token)
        if activation_link:
            return redirect(activation_link, 303)
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
