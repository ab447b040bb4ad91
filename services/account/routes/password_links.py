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
from services.account.flows.passwords import PasswordRefused, passwords
from services.account.models import User
from services.account.routes.browser import sent_on, visitor

bp = Blueprint("password_links", __name__)


@bp.get("/password/set")
@public
def show() -> ResponseReturnValue:
    """The form. Looking spends nothing: mail scanners look too."""
    try:
        return _form(look_at_link(token=_token()))
    except LinkNotValid as refused:
        return _closed(refused)


@bp.post("/password/set")
@limiter.limit("password_link", "30 per hour")
@public
def set_password() -> ResponseReturnValue:
    try:
        if "fresh" in request.form:
            ask_for_fresh_link(token=_token())
            return render_template("password_link_sent.html")
        owner = look_at_link(token=_token())
        try:
            done = set_first_password(
                token=_token(),
                password=request.form.get("password", ""),
                visitor=visitor(),
            )
        except PasswordRefused as refused:
            return _form(owner, error=refused.errors["password"]), refused.status
    except LinkNotValid as refused:
        return _closed(refused)
    return sent_on(done, "/account")


def _token() -> str:
    return request.args.get("token", "")


def _form(owner: User, error: str | None = None) -> str:
    return render_template("password_set.html", owner=owner, error=error, min_length=passwords().min_length)


def _closed(refused: LinkNotValid) -> ResponseReturnValue:
    page = render_template("password_link_closed.html", is_expired=isinstance(refused, LinkExpired))
    return page, refused.status
