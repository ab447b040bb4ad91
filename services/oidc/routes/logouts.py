"""Logouts for staff: which client was told that somebody signed out, which could not be, and why."""

import uuid

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext

from libs.people.access import staff
from services.oidc.extensions import limiter
from services.oidc.flows import logouts

bp = Blueprint("logouts", __name__)

STATE_WORDS = {
    "queued": lazy_gettext("Waiting"),
    "sending": lazy_gettext("On its way"),
    "delivered": lazy_gettext("Delivered"),
    "parked": lazy_gettext("Parked"),
}
CAUSE_WORDS = {
    "sign_out": lazy_gettext("The person signed out"),
    "session_ended": lazy_gettext("A session was ended"),
    "sessions_revoked": lazy_gettext("All sessions were ended"),
    "disabled": lazy_gettext("The account was disabled"),
    "erased": lazy_gettext("The account is being erased"),
    "password_changed": lazy_gettext("The password was changed"),
    "taken_over": lazy_gettext("The account was taken back"),
    "second_factor_required": lazy_gettext("Staff need a second step now"),
    "consent_withdrawn": lazy_gettext("Access was taken back from the app"),
    "tokens_revoked": lazy_gettext("All tokens were ended by command"),
}


@bp.get("/admin/clients/logouts")
@staff("support")
def index() -> ResponseReturnValue:
    """The newest first, by state and client."""
    state, client_id = request.args.get("state", ""), request.args.get("client", "").strip()[:100]
    rows = logouts.list_deliveries(
        state=state, client_id=client_id, before=_uuid(request.args.get("before")), limit=logouts.PAGE + 1
    )
    page = rows[: logouts.PAGE]
    older = None
    if rows[len(page) :]:
        older = url_for(
            "logouts.index", state=state or None, client=client_id or None, before=page[-1].LogoutDelivery.id
        )
    return render_template(
        "logouts.html",
        rows=page,
        state=state,
        client_id=client_id,
        states=[("", gettext("All")), *STATE_WORDS.items()],
        state_words=STATE_WORDS,
        cause_words=CAUSE_WORDS,
        older=older,
    )


@bp.post("/admin/clients/logouts")
@limiter.limit("logout_retry", "60 per minute")
@staff("support")
def retry() -> ResponseReturnValue:
    """Send one again, or all that are parked (of the client that is shown)."""
    chosen = _uuid(request.form.get("retry"))
    client_id = request.args.get("client", "").strip()[:100]
    if chosen is not None:
        try:
            logouts.retry(chosen)
            flash(gettext("It is on its way again."), "good")
        except (logouts.NothingToRetry, logouts.UnknownDelivery):
            flash(gettext("Somebody was faster: this logout is no longer parked."), "info")
    elif request.form.get("retry") == "parked":
        logouts.retry_parked(client_id=client_id or None)
        flash(gettext("All that were parked are on their way again."), "good")
    state = request.args.get("state") or None
    return redirect(url_for("logouts.index", state=state, client=client_id or None), 303)


def _uuid(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None
