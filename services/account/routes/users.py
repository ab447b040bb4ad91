"""/admin/users: staff find a person, see what they may do and where they are signed in, and end it."""

from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, ngettext

from libs.people.access import NotAllowed, current_session, staff
from libs.web.languages import LANGUAGES
from services.account.flows import sessions, users
from services.account.flows.devices import device_name, way_names
from services.account.flows.places import country_name
from services.account.flows.revoking import revoke_access

bp = Blueprint("users", __name__, url_prefix="/admin/users")

LISTED = 50
REASON_LENGTH = 500


@bp.get("")
@staff("support")
def index() -> ResponseReturnValue:
    text = request.args.get("q", "")
    return render_template(
        "users.html", people=users.search_users(text=text, limit=LISTED), text=text, limit=LISTED
    )


@bp.get("/<uuid:sub>")
@staff("support")
def show(sub: UUID) -> ResponseReturnValue:
    user = users.get_user(sub=str(sub))
    sessions.fold_uses(sub=user.sub)
    return render_template(
        "user.html",
        user=user,
        has_password=users.has_password(user),
        rows=[row for row, _ in sessions.list_sessions(sub=user.sub)],
        device_name=device_name,
        way_names=way_names,
        country_name=country_name,
        language_names=LANGUAGES,
    )


@bp.post("/<uuid:sub>/revoke")
@staff("support")
def revoke(sub: UUID) -> ResponseReturnValue:
    """End all sessions and tokens of the person."""
    user = users.get_user(sub=str(sub))
    ended = revoke_access(sub=user.sub, cause="sessions_revoked").sessions
    flash(ngettext("%(num)s session was ended.", "%(num)s sessions were ended.", ended), "good")
    return redirect(url_for("users.show", sub=sub), 303)


@bp.post("/<uuid:sub>/disable")
@staff("admin")
def disable(sub: UUID) -> ResponseReturnValue:
    """Let nobody sign in as this person. Nobody disables themselves: another administrator must be left to undo it."""
    if str(sub) == current_session().sub:
        raise NotAllowed(gettext("You cannot disable your own account."))
    users.disable_user(sub=str(sub), reason=_reason())
    flash(gettext("The account is disabled, and signed out everywhere."), "good")
    return redirect(url_for("users.show", sub=sub), 303)


@bp.post("/<uuid:sub>/enable")
@staff("admin")
def enable(sub: UUID) -> ResponseReturnValue:
    users.enable_user(sub=str(sub), reason=_reason())
    flash(gettext("The person may sign in again."), "good")
    return redirect(url_for("users.show", sub=sub), 303)


def _reason() -> str | None:
    return " ".join(request.form.get("reason", "").replace("\x00", "").split())[:REASON_LENGTH] or None
