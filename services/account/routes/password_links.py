"""/password/set: a mailed link sets a first password."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from libs.people.access import public
from services.account.extensions import limiter
from services.account.flows.password_links import (
    LinkExpired,
    LinkNotValid,
    ask_for_fresh_link,
    look_at_link,
    set_first_password,
)
from services.account.flows.passwords import Hint, PasswordRefused, passwords
from services.account.models import User
from services.account.routes.browser import link_token, sent_on, visitor, wants_change, wants_check

bp = Blueprint("password_links", __name__)

PER_ADDRESS = "30 per hour"
CHECKS = "30 per minute"
"""How often somebody may ask how strong a password would be; no password is hashed for it."""


@bp.get("/password/set")
@public
def show() -> ResponseReturnValue:
    """The form. Looking spends nothing: mail scanners look too."""
    try:
        return _form(look_at_link(token=link_token(), purpose="first"))
    except LinkNotValid as refused:
        return closed(refused, purpose="first")


@bp.post("/password/set")
@limiter.limit("password_link", PER_ADDRESS, when=wants_change)
@limiter.limit("password_check", CHECKS, when=wants_check)
@public
def set_password() -> ResponseReturnValue:
    password = request.form.get("password", "")
    try:
        if "fresh" in request.form:
            return fresh_link_sent(purpose="first")
        owner = look_at_link(token=link_token(), purpose="first")
        if wants_check():
            return _form(owner, strength=strength_of(password, owner))
        try:
            done = set_first_password(token=link_token(), password=password, visitor=visitor())
        except PasswordRefused as refused:
            return _form(owner, error=refused.errors["password"]), refused.status
    except LinkNotValid as refused:
        return closed(refused, purpose="first")
    return sent_on(done, "/account")


def _form(owner: User, *, error: str | None = None, strength: Hint | None = None) -> str:
    return render_template(
        "password_set.html", owner=owner, error=error, strength=strength, min_length=passwords().min_length
    )


# -- what the pages of both kinds of link share ----------------------------------------------------------------


def strength_of(password: str, owner: User) -> Hint:
    return passwords().hint(password, context=[owner.email, owner.name])


def fresh_link_sent(*, purpose: str) -> ResponseReturnValue:
    """One press on the page of an expired link mails a new one. Raises LinkNotValid."""
    ask_for_fresh_link(token=link_token(), purpose=purpose)
    return render_template("password_link_sent.html")


def closed(refused: LinkNotValid, *, purpose: str) -> ResponseReturnValue:
    page = render_template(
        "password_link_closed.html", is_expired=isinstance(refused, LinkExpired), purpose=purpose
    )
    return page, refused.status
