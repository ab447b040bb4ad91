"""Pages for reviewers: the queue, an application, the decision."""

import uuid
from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext
from marshmallow import ValidationError

from libs.people.access import staff
from services.onboarding.flows import people, states
from services.onboarding.flows import review as flow
from services.onboarding.models import Application
from services.onboarding.schemas import RejectionForm, first_errors

bp = Blueprint("review", __name__)

STATES = {
    "submitted": lazy_gettext("Submitted"),
    "confirmed": lazy_gettext("Address confirmed"),
    "in_review": lazy_gettext("In review"),
    "approved": lazy_gettext("Approved"),
    "rejected": lazy_gettext("Rejected"),
    "expired": lazy_gettext("Expired"),
    "withdrawn": lazy_gettext("Withdrawn"),
    "activated": lazy_gettext("Activated"),
}
FILTERS = {"undecided": lazy_gettext("Undecided"), **STATES, "all": lazy_gettext("All")}
KINDS = {"approved": "good", "activated": "good", "rejected": "bad"}
ACTIONS = {
    "application.submitted": lazy_gettext("Application submitted"),
    "application.answers_changed": lazy_gettext("Answers changed before the address was confirmed"),
    "application.mail_repeated": lazy_gettext("A fresh mail was asked for"),
    "application.address_confirmed": lazy_gettext("Address confirmed"),
    "application.approved": lazy_gettext("Approved"),
    "application.rejected": lazy_gettext("Rejected"),
    "application.link_printed": lazy_gettext("Activation link made by command"),
    "application.directly_activated": lazy_gettext("Activated directly by command"),
    "application.mail_ended": lazy_gettext("A mail did not arrive"),
    "application.activated": lazy_gettext("Account opened"),
}


@bp.get("/admin/applications")
@staff("reviewer")
def queue() -> str:
    state = request.args.get("state", "undecided")
    search = request.args.get("q", "")
    order = request.args.get("order", "oldest")
    try:
        after = uuid.UUID(request.args.get("after", ""))
    except ValueError:
        after = None
    if state not in flow.FILTERS:
        state = "undecided"
    page = flow.queue(state=state, search=search, newest_first=order == "newest", after=after)
    return render_template(
        "review/queue.html",
        page=page,
        filters=list(FILTERS.items()),
        states=STATES,
        kinds=KINDS,
        chosen={"state": state, "q": search, "order": order},
        is_first=after is None,
    )


@bp.get("/admin/applications/<uuid:application_id>")
@staff("reviewer")
def show(application_id: uuid.UUID) -> str:
    return _page(_get(application_id))


@bp.post("/admin/applications/<uuid:application_id>")
@staff("reviewer")
def decide(application_id: uuid.UUID) -> ResponseReturnValue:
    application = _get(application_id)
    decision = request.form.get("decision")
    reason = request.form.get("reason", "")
    try:
        if decision == "approve":
            application = flow.approve(application_id=application_id)
        elif decision == "reject":
            words = RejectionForm().load({"reason": reason})["reason"]
            application = flow.reject(application_id=application_id, reason=words or None)
        else:
            abort(400)
    except ValidationError as error:
        return _page(application, reason=reason, errors=first_errors(error)), 422
    except flow.AlreadyDecided as error:
        return _page(error.application, told=error.detail), error.status
    flash(_outcome(application), "good")
    return redirect(url_for("review.show", application_id=application_id), 303)


def _outcome(application: Application) -> str:
    if application.state == "rejected":
        return gettext("Rejected. The applicant is told by mail.")
    if application.confirmed_at is None:
        return gettext("Approved. The activation mail leaves as soon as the address is confirmed.")
    return gettext("Approved. The activation mail is on its way.")


def _get(application_id: uuid.UUID) -> Application:
    try:
        return states.get(application_id)
    except states.NoSuchApplication:
        abort(404)


def _page(
    application: Application, *, reason: str = "", errors: dict[str, Any] | None = None, told: Any = None
) -> str:
    return render_template(
        "review/application.html",
        application=application,
        history=flow.history(application_id=application.id),
        others=[other for other in flow.of_address(application.email) if other.id != application.id],
        names=people.names_of([application.decided_by]),
        states=STATES,
        kinds=KINDS,
        actions=ACTIONS,
        reason=reason,
        errors=errors or {},
        told=told,
    )
