"""The mailed activation link: a page with a button, and the way over to account."""

from urllib.parse import urlencode

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from libs.people.access import public
from services.onboarding.flows import activation as flow
from services.onboarding.flows.links import LinkEnded
from services.onboarding.routes.links import show_ended

bp = Blueprint("activation", __name__)
bp.register_error_handler(LinkEnded, show_ended)


@bp.get("/activate")
@public
def show_button() -> str:
    """A mail scanner that follows links ends here, and nothing has happened."""
    application = flow.look_at_activation(token=request.args.get("token", ""))
    return render_template("activation/activate.html", application=application)


@bp.post("/activate")
@public
def go_on() -> ResponseReturnValue:
    ticket = flow.seal_enrolment(token=request.args.get("token", ""))
    return redirect("/enrol?" + urlencode({"ticket": ticket}), 303)
