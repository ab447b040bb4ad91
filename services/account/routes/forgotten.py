"""/password/forgot, /password/reset: a person who forgot their password is mailed a link that sets a new one."""

from flask import Blueprint, current_app, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.people.access import public
from libs.service import parts_of
from libs.web.languages import current_language
from services.account.extensions import limiter
from services.account.flows.forgotten import NoAddress, ask_for_reset, reset_password
from services.account.flows.password_links import LinkNotValid, look_at_link
from services.account.flows.passwords import Hint, PasswordRefused, passwords
from services.account.models import User
from services.account.routes.browser import link_token, sent_on, visitor, wants_change, wants_check
from services.account.routes.password_links import (
    CHECKS,
    PER_ADDRESS,
    closed,
    fresh_link_sent,
    strength_of,
)

bp = Blueprint("forgotten", __name__)


@bp.get("/password/forgot")
@public
def show_request() -> ResponseReturnValue:
    """The form (`email` fills it in), or after it was sent the words that are the same for every address."""
    return _request_form(email=request.args.get("email", ""), is_sent="sent" in request.args)


@bp.post("/password/forgot")
@limiter.limit("password_link", PER_ADDRESS)
@public
def ask() -> ResponseReturnValue:
    # No limit by what was typed: a stranger could use it up. How many mails an account gets, the flow decides.
    email = request.form.get("email", "")
    try:
        ask_for_reset(email=email, locale=current_language())
    except NoAddress as refused:
        return _request_form(email=email, error=refused.errors["email"]), refused.status
    return redirect("/password/forgot?sent=yes", 303)


@bp.get("/password/reset")
@public
def show() -> ResponseReturnValue:
    """The form. Looking spends nothing: mail scanners look too."""
    try:
        return _form(look_at_link(token=link_token(), purpose="reset"))
    except LinkNotValid as refused:
        return closed(refused, purpose="reset")


@bp.post("/password/reset")
@limiter.limit("password_link", PER_ADDRESS, when=wants_change)
@limiter.limit("password_check", CHECKS, when=wants_check)
@public
def reset() -> ResponseReturnValue:
    password = request.form.get("password", "")
    try:
        if "fresh" in request.form:
            return fresh_link_sent(purpose="reset")
        owner = look_at_link(token=link_token(), purpose="reset")
        if wants_check():
            return _form(owner, strength=strength_of(password, owner))
        try:
            done = reset_password(token=link_token(), password=password, visitor=visitor())
        except PasswordRefused as refused:
            return _form(owner, error=refused.errors["password"]), refused.status
    except LinkNotValid as refused:
        return closed(refused, purpose="reset")
    flash(gettext("Your password is set, and you are signed out everywhere else."), "good")
    return sent_on(done, "/account")


def _request_form(*, email: str = "", error: str | None = None, is_sent: bool = False) -> str:
    life = parts_of(current_app).settings.RESET_LINK_LIFETIME
    return render_template(
        "forgotten.html",
        email=email[:254],
        error=error,
        is_sent=is_sent,
        minutes=int(life.total_seconds() // 60),
    )


def _form(owner: User, *, error: str | None = None, strength: Hint | None = None) -> str:
    return render_template(
        "password_reset.html", owner=owner, error=error, strength=strength, min_length=passwords().min_length
    )
