"""/account/password: a person changes their password with the old one, or sets one where there is none."""

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.people.access import current_session, public, signed_in
from services.account.extensions import limiter
from services.account.flows.password_change import PasswordChanged, WrongPassword, change_password
from services.account.flows.passwords import PasswordRefused, passwords
from services.account.flows.throttle import Throttled
from services.account.flows.users import get_user, has_password
from services.account.models import User
from services.account.routes.browser import give_sessions, visitor, wants_change, wants_check
from services.account.routes.password_links import CHECKS, strength_of

bp = Blueprint("password_change", __name__)

PER_ADDRESS = "60 per minute"


@bp.get("/.well-known/change-password")
@public
def well_known() -> ResponseReturnValue:
    """Where password managers lead (W3C, A Well-Known URL for Changing Passwords)."""
    return redirect("/account/password", 302)


@bp.get("/account/password")
@signed_in
def show() -> ResponseReturnValue:
    user = get_user(sub=current_session().sub)
    if not has_password(user):
        return redirect("/account/password/new", 303)
    return _form(user, has_one=True)


@bp.post("/account/password")
@limiter.limit("password_change", PER_ADDRESS, when=wants_change)
@limiter.limit("password_check", CHECKS, when=wants_check)
@signed_in
def change() -> ResponseReturnValue:
    user = get_user(sub=current_session().sub)
    if not has_password(user):
        return redirect("/account/password/new", 303)
    return _change(user, old_password=request.form.get("old_password", ""))


@bp.get("/account/password/new")
@signed_in(fresh=True)
def show_first() -> ResponseReturnValue:
    """For whoever has no password: nothing else than a fresh sign-in shows that it is them."""
    user = get_user(sub=current_session().sub)
    if has_password(user):
        return redirect("/account/password", 303)
    return _form(user, has_one=False)


@bp.post("/account/password/new")
@limiter.limit("password_change", PER_ADDRESS, when=wants_change)
@limiter.limit("password_check", CHECKS, when=wants_check)
@signed_in(fresh=True)
def set_first() -> ResponseReturnValue:
    user = get_user(sub=current_session().sub)
    if has_password(user):
        return redirect("/account/password", 303)
    return _change(user, old_password=None)


def _change(user: User, *, old_password: str | None) -> ResponseReturnValue:
    new_password = request.form.get("new_password", "")
    has_one = old_password is not None
    if wants_check():
        return _form(user, has_one=has_one, strength=strength_of(new_password, user))
    session = current_session()
    try:
        changed = change_password(
            sub=session.sub,
            sid=session.sid,
            old_password=old_password,
            new_password=new_password,
            visitor=visitor(),
        )
    except WrongPassword as refused:
        return _form(user, has_one=has_one, old_password=refused.errors["old_password"]), refused.status
    except Throttled as refused:
        page = _form(user, has_one=has_one, old_password=refused.detail)
        return page, refused.status, {"Retry-After": str(refused.retry_after)}
    except PasswordRefused as refused:
        return _form(user, has_one=has_one, new_password=refused.errors["password"]), refused.status
    except PasswordChanged as refused:
        flash(refused.detail, "bad")
        return redirect("/account/password", 303)
    flash(gettext("Your password is set, and you are signed out everywhere else."), "good")
    return give_sessions(redirect("/account", 303), changed.secrets)


def _form(
    user: User,
    *,
    has_one: bool,
    old_password: str | None = None,
    new_password: str | None = None,
    strength: Any = None,
) -> str:
    return render_template(
        "password_change.html",
        email=user.email,
        has_password=has_one,
        errors={"old_password": old_password, "new_password": new_password},
        strength=strength,
        min_length=passwords().min_length,
    )
