"""/account/sessions: where a person is signed in, and ending it there."""

import re

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext, ngettext

from libs.people.access import current_session, signed_in
from services.account.flows import sessions
from services.account.flows.devices import device_name, way_names
from services.account.flows.places import country_name

bp = Blueprint("sessions", __name__)

_SID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


@bp.get("/account/sessions")
@signed_in
def show() -> ResponseReturnValue:
    session = current_session()
    rows = [row for row, _ in sessions.list_sessions(sub=session.sub)]
    rows.sort(key=lambda row: row.id != session.sid)  # this one first, the others as they were last used
    return render_template(
        "sessions.html",
        rows=rows,
        current_sid=session.sid,
        device_name=device_name,
        way_names=way_names,
        country_name=country_name,
    )


@bp.post("/account/sessions")
@signed_in
def end() -> ResponseReturnValue:
    """End one session (`end` is its sid) or all `others`."""
    session = current_session()
    if "others" in request.form:
        ended = sessions.end_other_sessions(sub=session.sub, keep_sid=session.sid).sessions
        flash(
            ngettext("%(num)s other session was ended.", "%(num)s other sessions were ended.", ended), "good"
        )
        return redirect("/account/sessions", 303)
    sid = request.form.get("end", "")
    if not _SID.match(sid):
        raise sessions.UnknownSession
    sessions.end_session(sub=session.sub, sid=sid)
    if sid == session.sid:
        return redirect("/logout", 303)  # where the dead cookie is cleared
    flash(gettext("That session was ended."), "good")
    return redirect("/account/sessions", 303)
