"""/api/v1/applications for applicants: applying, and the own application by the token of its signed link.

Nobody needs an account or an access token, and no cookie counts. The token comes in a header of its own:
addresses stand in logs, and Authorization is for access tokens (docs/decisions/0026).
"""

from typing import Any

from flask import request
from flask_babel import gettext, lazy_gettext
from marshmallow import ValidationError

from libs.people.access import protocol
from libs.web.api import APIBlueprint
from libs.web.client_address import client_address
from libs.web.problems import Problem
from services.onboarding.extensions import idempotency, limiter
from services.onboarding.flows import apply, ending, status
from services.onboarding.flows.review import questions
from services.onboarding.models import Application
from services.onboarding.routes.api.callers import read_form
from services.onboarding.schemas.forms import AddressForm, AnswerForm, ApplicationForm
from services.onboarding.schemas.own import (
    AnswerSchema,
    NewApplicationSchema,
    StatusSchema,
    StatusTokenSchema,
    TakenSchema,
)

bp = APIBlueprint(
    "own-application",
    __name__,
    limiter=limiter,
    description="Asking to join, and the own application, for programs of applicants.",
)

ANYBODY = "anybody may apply; what is asked for is a matter of what is sent, never of a cookie"
BY_TOKEN = "the token of the applicant's signed link says whose application it is, never a cookie"


class UnknownToken(Problem):
    """The status token is none of ours, or its application is forgotten: nobody learns which."""

    status, slug = 404, "unknown-status-token"
    title = lazy_gettext("No application has this token")


def _address() -> str | None:
    """The address whose mails are counted: one, however it is spelled, as on the page."""
    try:
        sent = request.get_json(silent=True)
    except RecursionError:  # nested without end: refused in a moment
        return None
    typed = sent.get("email") if isinstance(sent, dict) else None
    if not isinstance(typed, str):
        return None
    try:
        address: str = AddressForm().load({"email": typed})["email"]
    except ValidationError:
        return typed or None
    return address


@bp.post("/api/v1/applications")
@limiter.limit("register", "20 per minute")
@limiter.limit("register", "10 per hour", by=_address)
@protocol(ANYBODY)
@idempotency.once("applications.submit")
@bp.arguments(NewApplicationSchema)
@bp.response(202, TakenSchema)
@bp.problems(403)
def submit(body: dict[str, Any]) -> Any:
    """Ask to join. A mail brings the link that confirms the address.

    The answer is the same whatever is known of the address, which has one open application however often this is
    sent. Where nobody can join, or not with such an address, it says so.
    """
    said = {name: body[name] for name in ("email", "name", "why", "answers", "terms_version")}
    apply.submit(
        **read_form(ApplicationForm, said), locale=body["locale"], continue_to=None, ip=client_address()
    )
    return {
        "detail": gettext("Unless the address is confirmed already, a mail with a link is on its way to it.")
    }


@bp.get("/api/v1/applications/status")
@protocol(BY_TOKEN)
@bp.arguments(StatusTokenSchema, location="headers")
@bp.response(200, StatusSchema)
@bp.problems(404)
def show(sent: dict[str, Any]) -> Any:
    """Show where the own application stands."""
    return _status(_application(sent))


@bp.post("/api/v1/applications/status/answer")
@limiter.limit("register", "20 per minute")
@protocol(BY_TOKEN)
@bp.arguments(StatusTokenSchema, location="headers")
@bp.arguments(AnswerSchema)
@bp.response(200, StatusSchema)
@bp.problems(404, 409)
def answer(sent: dict[str, Any], body: dict[str, Any]) -> Any:
    """Answer what a reviewer has asked."""
    application = _application(sent)
    text = read_form(AnswerForm, {"text": body["text"]})["text"]
    questions.answer(application_id=application.id, text=text)
    return _status(_application(sent))


@bp.post("/api/v1/applications/status/withdraw")
@limiter.limit("register", "20 per minute")
@protocol(BY_TOKEN)
@bp.arguments(StatusTokenSchema, location="headers")
@bp.response(200, StatusSchema)
@bp.problems(404, 409)
def withdraw(sent: dict[str, Any]) -> Any:
    """Withdraw the own application; sent again, it stays withdrawn."""
    ending.withdraw(application_id=_application(sent).id)
    return _status(_application(sent))


def _application(sent: dict[str, Any]) -> Application:
    application = status.find(sent["token"])
    if application is None:
        raise UnknownToken
    return application


def _status(application: Application) -> dict[str, Any]:
    is_told = application.state == "rejected" and application.reason_is_shown
    return {
        "state": application.state,
        "submitted_at": application.submitted_at,
        "confirmed_at": application.confirmed_at,
        "decided_at": application.decided_at,
        "activated_at": application.activated_at,
        "reason": application.reason if is_told else None,
        "question": questions.open_of(application.id),
        "may_withdraw": ending.may_be_withdrawn(application),
    }
