"""The link of an invitation: who invites whom to what, the application by it, the way on.

Looking spends nothing. A mailed invitation leads whoever has the mailbox straight on to /activate; with a link that
was handed out, or with another address, the address is confirmed by mail first.
"""

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from marshmallow import ValidationError

from libs.people.access import public
from libs.web.client_address import client_address
from libs.web.languages import current_language
from services.onboarding.extensions import limiter
from services.onboarding.flows.apply import NotTaken
from services.onboarding.flows.invitations import accepting as flow
from services.onboarding.flows.invitations.uses import InvitationEnded
from services.onboarding.routes.apply import entered, form_context, read_application, typed_address, way_on
from services.onboarding.schemas.forms import first_errors

bp = Blueprint("invitations", __name__, url_prefix="/invitations")


@bp.get("")
@public
def show_form() -> ResponseReturnValue:
    return _form({}, {})


@bp.post("")
@limiter.limit("register", "20 per minute")
@limiter.limit("register", "10 per hour", by=typed_address)
@public
def submit() -> ResponseReturnValue:
    values = entered()
    try:
        activation_link = flow.accept(
            token=_token(),
            **read_application(values),
            locale=current_language(),
            continue_to=way_on(),
            ip=client_address(),
        )
    except ValidationError as error:
        return _form(values, first_errors(error))
    except NotTaken as refused:
        if not refused.errors:
            raise
        return _form(values, refused.errors)
    return redirect(activation_link or url_for("invitations.sent"), 303)


@bp.post("/go-on")
@limiter.limit("register", "20 per minute")
@public
def go_on() -> ResponseReturnValue:
    """Whoever applied by a mailed invitation and left the page opens the account with a fresh link."""
    return redirect(flow.go_on(token=_token()), 303)


@bp.get("/sent")
@public
def sent() -> str:
    return render_template("invitations/sent.html")


@bp.errorhandler(InvitationEnded)
def show_ended(error: InvitationEnded) -> ResponseReturnValue:
    return _ended(error.why, may_go_on=False), error.status


def _token() -> str:
    return request.args.get("token", "")


def _form(values: dict[str, str], errors: dict[str, object]) -> ResponseReturnValue:
    """The form of a living link, empty or with what is wrong in it; else why the link has ended."""
    sight = flow.look_at(token=_token())
    if sight.why is not None:
        return _ended(sight.why, may_go_on=sight.may_go_on), InvitationEnded.status
    page = render_template(
        "invitations/form.html",
        sight=sight,
        values=values or {"email": sight.invitation.email},
        errors=errors,
        way_on=way_on(),
        **form_context(),
    )
    return page, 422 if errors else 200


def _ended(why: str, *, may_go_on: bool) -> str:
    return render_template("invitations/ended.html", why=why, may_go_on=may_go_on, token=_token())
