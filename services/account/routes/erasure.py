"""/account/erase: leaving, and thinking better of it."""

from flask import Blueprint, current_app, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import format_date, gettext

from libs.database import utcnow
from libs.people.access import public, signed_in
from libs.service import parts_of
from services.account.extensions import limiter
from services.account.flows.erasure import NotTheAddress, ask_to_leave, keep_account
from services.account.flows.sessions import held_sessions
from services.account.flows.users import LastAdministrator, get_user
from services.account.routes.browser import (
    allow_way_on,
    asker,
    give_sessions,
    held_secrets,
    visitor,
    wanted_path,
)

bp = Blueprint("erasure", __name__)


ERASING = "20 per hour"
"""How often a person may try, on the page and by their apps together."""


@bp.get("/account/erase")
@signed_in(fresh=True)
def show() -> ResponseReturnValue:
    return _page()


@bp.post("/account/erase")
@limiter.limit("erase", ERASING, by=asker)
@signed_in(fresh=True)
def erase() -> ResponseReturnValue:
    """Have the account erased after the time of grace; the browser is signed out of it at once."""
    typed = request.form.get("email", "")
    try:
        moment = ask_to_leave(sub=asker(), typed_email=typed, visitor=visitor())
    except NotTheAddress as refused:
        return _page(typed=typed, error=refused.errors["email"]), refused.status
    except LastAdministrator as refused:
        return _page(typed=typed, error=f"{refused.title}. {refused.detail}"), refused.status
    flash(gettext("Your account will be erased on %(day)s.", day=format_date(moment, "long")), "info")
    # What is left in this browser are other people's accounts, or the person's own other ones.
    left = [held.secret for held in held_sessions(secrets=held_secrets())]
    return give_sessions(redirect("/account/erase/scheduled", 303), left)


@bp.get("/account/erase/scheduled")
@public
def scheduled() -> ResponseReturnValue:
    return render_template("erasure/scheduled.html")


@bp.post("/account/erase/keep")
@signed_in
def keep() -> ResponseReturnValue:
    """Keep the account. Signing in was the proof; nothing is lost by it."""
    if keep_account(sub=asker(), visitor=visitor()):
        flash(gettext("Your account stays."), "good")
    return redirect(wanted_path(), 303)


def _page(*, typed: str = "", error: str | None = None) -> str:
    allow_way_on()
    return render_template(
        "erasure/erase.html",
        user=get_user(sub=asker()),
        typed=typed[:254],
        error=error,
        day=format_date(utcnow() + parts_of(current_app).settings.ERASE_GRACE, "long"),
        wanted=wanted_path(default=""),
    )
