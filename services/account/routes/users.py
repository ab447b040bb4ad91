"""/admin/users: staff find a person, see what happened to their account, and act on it; never on a password.

Support looks at everybody, and ends sessions of whoever is no administrator; what changes who may do what is an
administrator's. flows/staff.py has the rules that a role alone does not say.
"""

from urllib.parse import urlencode
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import format_datetime, gettext, ngettext
from werkzeug.wrappers import Response as AnyResponse

from libs.people.access import current_session, staff
from libs.web.languages import LANGUAGES
from services.account.flows import search, sessions, users
from services.account.flows.devices import device_name, method_name, outcome_name, way_names
from services.account.flows.erasure import erase_user, is_address_of, keep_account
from services.account.flows.overview import look_at
from services.account.flows.password_links import send_password_link
from services.account.flows.places import country_name
from services.account.flows.revoking import revoke_access
from services.account.flows.second_factor import NoReason, reset_second_factor
from services.account.flows.securing import secure_account
from services.account.flows.staff import get_for_change, get_other_for_change
from services.account.models import ROLES, User
from services.account.routes.browser import asked_before

bp = Blueprint("users", __name__, url_prefix="/admin/users")

LISTED = 50
REASON_LENGTH = 500


@bp.get("")
@staff("support")
def index() -> ResponseReturnValue:
    text, state = request.args.get("q", "").strip(), request.args.get("state", "")
    state = state if state in search.STATES else ""
    page = search.search_users(text=text, state=state or None, before=asked_before(), limit=LISTED)
    named = {name: value for name, value in (("q", text), ("state", state)) if value}
    return render_template(
        "users.html",
        page=page,
        text=text,
        state=state,
        states=_states(),
        named=named,
        is_first=asked_before() is None,
        next_url=f"{request.path}?{urlencode({**named, 'before': str(page.before)})}",
    )


def _states() -> list[tuple[str, str]]:
    words = {
        "active": gettext("active"),
        "disabled": gettext("disabled"),
        "erasing": gettext("about to be erased"),
        "no_password": gettext("without a password"),
        "second_factor": gettext("with a second factor"),
        "no_second_factor": gettext("without a second factor"),
        "staff": gettext("staff"),
    }
    return [("", gettext("Any")), *((state, words[state]) for state in search.STATES)]


@bp.get("/<uuid:sub>")
@staff("support")
def show(sub: UUID) -> ResponseReturnValue:
    user, me = users.get_user(sub=str(sub)), current_session()
    is_admin = me.has_role("admin")
    sessions.fold_uses(sub=user.sub)
    return render_template(
        "user.html",
        user=user,
        overview=look_at(user),
        roles=ROLES,
        is_me=me.sub == user.sub,
        is_admin=is_admin,
        may_touch=is_admin or me.sub == user.sub or "admin" not in user.roles,
        device_name=device_name,
        way_names=way_names,
        method_name=method_name,
        outcome_name=outcome_name,
        country_name=country_name,
        language_names=LANGUAGES,
    )


# -- support ---------------------------------------------------------------------------------------------------


@bp.post("/<uuid:sub>/revoke")
@staff("support")
def revoke(sub: UUID) -> ResponseReturnValue:
    """End all sessions and tokens of the person."""
    user = _person(sub)
    ended = revoke_access(sub=user.sub, cause="sessions_revoked").sessions
    flash(ngettext("%(num)s session was ended.", "%(num)s sessions were ended.", ended), "good")
    return _back(sub)


@bp.post("/<uuid:sub>/sessions/<uuid:sid>/end")
@staff("support")
def end_session(sub: UUID, sid: UUID) -> ResponseReturnValue:
    """End one session, and what lives by it."""
    sessions.end_session(sub=_person(sub).sub, sid=str(sid))
    flash(gettext("That session was ended."), "good")
    return _back(sub)


@bp.post("/<uuid:sub>/secure")
@staff("support")
def secure(sub: UUID) -> ResponseReturnValue:
    """Close the account to everybody but its owner. Nobody does it to themselves: their password would be gone."""
    secured = secure_account(sub=_other(sub).sub, reason=_reason())
    if secured.is_mailed:
        words = gettext(
            "The account is secured, and a link that sets a new password was mailed to its owner."
        )
    else:
        words = gettext("The account is secured. No link was mailed: it is disabled.")
    flash(words, "good")
    return _back(sub)


@bp.post("/<uuid:sub>/password-link")
@staff("support")
def password_link(sub: UUID) -> ResponseReturnValue:
    """Mail the person a link that sets a password; staff never see or choose one."""
    send_password_link(sub=_person(sub).sub, reason=_reason())
    flash(gettext("A link that sets a password was mailed."), "good")
    return _back(sub)


# -- administrators --------------------------------------------------------------------------------------------


@bp.post("/<uuid:sub>/disable")
@staff("admin")
def disable(sub: UUID) -> ResponseReturnValue:
    """Let nobody sign in as this person. Nobody disables themselves: another administrator must be left to undo it."""
    users.disable_user(sub=_other(sub).sub, reason=_reason())
    flash(gettext("The account is disabled, and signed out everywhere."), "good")
    return _back(sub)


@bp.post("/<uuid:sub>/enable")
@staff("admin")
def enable(sub: UUID) -> ResponseReturnValue:
    users.enable_user(sub=_other(sub).sub, reason=_reason())
    flash(gettext("The person may sign in again."), "good")
    return _back(sub)


@bp.post("/<uuid:sub>/roles")
@staff("admin", fresh=True)
def change_roles(sub: UUID) -> ResponseReturnValue:
    """Give a role (`give`), or take one away (`take`). Nobody takes roles from themselves, nor gives themselves any."""
    user = _other(sub)
    if "give" in request.form:
        users.add_role(sub=user.sub, role=request.form["give"])
        flash(gettext("The role was given."), "good")
    else:
        users.remove_role(sub=user.sub, role=request.form.get("take", ""))
        flash(gettext("The role was taken away, and access tokens that carry it with it."), "good")
    return _back(sub)


@bp.post("/<uuid:sub>/second-factor")
@staff("admin", fresh=True)
def remove_second_factor(sub: UUID) -> ResponseReturnValue:
    """For somebody who has lost app, codes and passkeys, and whom staff have recognised by another way."""
    try:
        reset_second_factor(sub=_other(sub).sub, reason=_reason())
    except NoReason as refused:
        flash(str(refused.title), "bad")
        return _back(sub)
    flash(gettext("The second factors are removed; the person is signed out everywhere, and told."), "good")
    return _back(sub)


@bp.post("/<uuid:sub>/erase")
@staff("admin", fresh=True)
def erase(sub: UUID) -> ResponseReturnValue:
    """Erase the account after the time of grace; whoever does it types its address, so that it is no slip."""
    user = _other(sub)
    if not is_address_of(user, request.form.get("email", "")):
        flash(gettext("Nothing was erased: that is not the address of this account."), "bad")
        return _back(sub)
    moment = erase_user(sub=user.sub, reason=_reason())
    flash(
        gettext("The account will be erased on %(moment)s.", moment=format_datetime(moment, "medium")), "good"
    )
    return _back(sub)


@bp.post("/<uuid:sub>/keep")
@staff("admin")
def keep(sub: UUID) -> ResponseReturnValue:
    """Let an account stay that was about to be erased."""
    keep_account(sub=_other(sub).sub)
    flash(gettext("The account stays."), "good")
    return _back(sub)


def _person(sub: UUID) -> User:
    me = current_session()
    return get_for_change(sub=str(sub), actor=me.sub, roles=me.roles)


def _other(sub: UUID) -> User:
    me = current_session()
    return get_other_for_change(sub=str(sub), actor=me.sub, roles=me.roles)


def _back(sub: UUID) -> AnyResponse:
    return redirect(url_for("users.show", sub=sub), 303)


def _reason() -> str | None:
    return " ".join(request.form.get("reason", "").replace("\x00", "").split())[:REASON_LENGTH] or None
