"""/admin/invitations: reviewers invite people by mail or by a link; administrators give roles along.

The link of a mailed invitation is for its mailbox alone; one to hand out is shown once, on the page that follows.
"""

import uuid
from collections.abc import Mapping
from datetime import timedelta

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext, ngettext
from marshmallow import ValidationError
from werkzeug.wrappers import Response as AnyResponse

from libs.people.access import current_session, staff
from libs.service import parts_of
from libs.web import shown_once
from libs.web.languages import LANGUAGES, current_language
from services.onboarding.extensions import limiter
from services.onboarding.flows import people
from services.onboarding.flows.invitations import keeping as flow
from services.onboarding.flows.invitations.uses import state_of
from services.onboarding.models import ROLES
from services.onboarding.schemas.forms import AddressForm, first_errors

bp = Blueprint("invitation_desk", __name__, url_prefix="/admin/invitations")

SHOWN_ONCE = "invitation"
LIFETIMES_D = (1, 7, 14, 30, 90)
STATE_WORDS = {
    "open": lazy_gettext("Open"),
    "used": lazy_gettext("Used up"),
    "expired": lazy_gettext("Expired"),
    "withdrawn": lazy_gettext("Withdrawn by staff"),
}
ROLE_WORDS = {
    "admin": lazy_gettext("Administrator"),
    "reviewer": lazy_gettext("Reviewer"),
    "support": lazy_gettext("Support"),
}
TROUBLE_WORDS = {
    "failed": lazy_gettext("The mail could not be delivered"),
    "suppressed": lazy_gettext("Mail to this address is suppressed"),
    "too_late": lazy_gettext("The mail could not leave in time"),
}
SENT_PER_HOUR = "120 per hour"


def _who() -> str:
    return current_session().sub


@bp.app_template_filter("role_name")
def role_name(role: str) -> str:
    return str(ROLE_WORDS[role])


@bp.get("")
@staff("reviewer")
def index() -> str:
    state, search = request.args.get("state", "all"), request.args.get("q", "")
    state = state if state in flow.FILTERS else "all"
    after = _uuid(request.args.get("after", ""))
    page = flow.find(state=state, search=search, after=after)
    return render_template(
        "invitation_desk/index.html",
        page=page,
        rows=[(invitation, state_of(invitation)) for invitation in page.invitations],
        names=people.names_of(invitation.created_by for invitation in page.invitations),
        may_give_roles=current_session().has_role("admin"),
        filters=[("all", gettext("All")), *STATE_WORDS.items()],
        chosen={"state": state, "q": search},
        is_first=after is None,
        state_words=STATE_WORDS,
        trouble_words=TROUBLE_WORDS,
        # Last of what may fail: it is there only once.
        new_link=shown_once.take(SHOWN_ONCE),
    )


@bp.get("/new")
@staff("reviewer")
def show_form() -> str:
    usual = {
        "uses": "1",
        "lifetime": str(parts_of(current_app).settings.INVITATION_LIFETIME.days),
        "locale": current_language(),
    }
    return _form(usual, {})


@bp.post("/new")
@limiter.limit("invitations", SENT_PER_HOUR, by=_who)
@staff("reviewer")
def create() -> ResponseReturnValue:
    """Invite to plain membership; what gives roles goes on to its own, stricter door."""
    if request.form.getlist("roles"):
        return redirect(url_for("invitation_desk.create_with_roles"), 307)
    return _create()


@bp.post("/new/with-roles")
@limiter.limit("invitations", SENT_PER_HOUR, by=_who)
@staff("admin", fresh=True)
def create_with_roles() -> ResponseReturnValue:
    return _create()


def _create() -> ResponseReturnValue:
    values = {name: request.form.get(name, "") for name in ("email", "uses", "lifetime", "locale", "note")}
    roles = request.form.getlist("roles")
    try:
        made = flow.create(
            email=AddressForm().load({"email": values["email"]})["email"] if values["email"].strip() else "",
            most_uses=_number(values["uses"]),
            lifetime=_lifetime(values["lifetime"]),
            roles=roles,
            locale=values["locale"],
            note=values["note"],
        )
    except ValidationError as error:
        return _form(values, first_errors(error), roles), 422
    except flow.BadInvitation as error:
        return _form(values, error.errors, roles), error.status
    return _show_made(made)


@bp.post("/<uuid:invitation_id>/resend")
@limiter.limit("invitations", SENT_PER_HOUR, by=_who)
@staff("reviewer")
def resend(invitation_id: uuid.UUID) -> ResponseReturnValue:
    """A new link, by mail or to hand out; with roles it is given as they are."""
    if flow.get(invitation_id=invitation_id).roles:
        return redirect(url_for("invitation_desk.resend_with_roles", invitation_id=invitation_id), 307)
    return _resend(invitation_id)


@bp.post("/<uuid:invitation_id>/resend/with-roles")
@limiter.limit("invitations", SENT_PER_HOUR, by=_who)
@staff("admin", fresh=True)
def resend_with_roles(invitation_id: uuid.UUID) -> ResponseReturnValue:
    return _resend(invitation_id)


def _resend(invitation_id: uuid.UUID) -> ResponseReturnValue:
    try:
        return _show_made(flow.resend(invitation_id=invitation_id))
    except flow.InvitationOver as over:
        flash(str(over.title), "bad")
        return _back()


@bp.post("/<uuid:invitation_id>/withdraw")
@staff("reviewer")
def withdraw(invitation_id: uuid.UUID) -> ResponseReturnValue:
    flow.withdraw(invitation_id=invitation_id)
    flash(gettext("The invitation is withdrawn: its link opens nothing any more."), "good")
    return _back()


def _show_made(made: flow.Made) -> AnyResponse:
    if made.link is None:
        flash(gettext("The invitation is on its way to %(email)s.", email=made.invitation.email), "good")
    else:
        shown_once.keep(SHOWN_ONCE, made.link)
    return _back()


def _back() -> AnyResponse:
    return redirect(url_for("invitation_desk.index"), 303)


def _number(text: str) -> int:
    """How many people a link is for; what is no number is for nobody."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) < 6 else 0


def _lifetime(text: str) -> timedelta | None:
    return timedelta(days=int(text)) if text in map(str, LIFETIMES_D) else None


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _form(values: Mapping[str, str], errors: Mapping[str, object], roles: list[str] | None = None) -> str:
    return render_template(
        "invitation_desk/new.html",
        values=values,
        errors=errors,
        given=roles or [],
        roles=ROLES if current_session().has_role("admin") else (),
        lifetimes=[(str(days), ngettext("%(num)s day", "%(num)s days", days)) for days in LIFETIMES_D],
        languages_to_choose=list(LANGUAGES.items()),
    )
