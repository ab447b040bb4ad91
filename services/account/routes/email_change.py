"""/account/email: another e-mail address, and the mailed link that makes it count."""

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from libs.people.access import current_session, signed_in
from services.account.extensions import limiter
from services.account.flows.email_change import (
    ChangeEnded,
    OtherAccount,
    ask_for_change,
    confirm_change,
    look_at_change,
)
from services.account.flows.users import BadUser, EmailTaken, get_user, normalise_email
from services.account.routes.browser import asker, link_token, visitor

bp = Blueprint("email_change", __name__)


def _typed() -> str | None:
    """The address that is asked for: nobody's mailbox is filled from here, whoever asks."""
    return normalise_email(request.form.get("email", "")) or None


@bp.get("/account/email")
@signed_in(fresh=True)
def show() -> ResponseReturnValue:
    return _form()


@bp.post("/account/email")
@limiter.limit("email_change", "10 per hour", by=asker)
@limiter.limit("email_change", "5 per day", by=_typed)
@signed_in(fresh=True)
def ask() -> ResponseReturnValue:
    email = request.form.get("email", "")
    try:
        ask_for_change(sub=current_session().sub, email=email)
    except BadUser as refused:
        return _form(email=email, error=refused.errors["email"]), refused.status
    return redirect("/account/email/sent", 303)


@bp.get("/account/email/sent")
@signed_in
def sent() -> ResponseReturnValue:
    return render_template("email_change/sent.html")


@bp.get("/account/email/confirm")
@signed_in
def look() -> ResponseReturnValue:
    """The button. Looking spends nothing: mail scanners look too, though not signed in as the owner."""
    try:
        return _confirm()
    except (ChangeEnded, OtherAccount) as refused:
        return _closed(refused)


@bp.post("/account/email/confirm")
@limiter.limit("email_confirm", "30 per hour", by=asker)
@signed_in
def confirm() -> ResponseReturnValue:
    try:
        user = confirm_change(sub=current_session().sub, token=link_token(), visitor=visitor())
    except (ChangeEnded, OtherAccount, EmailTaken) as refused:
        return _closed(refused)
    return render_template("email_change/done.html", email=user.email)


def _form(*, email: str = "", error: str | None = None) -> str:
    user = get_user(sub=current_session().sub)
    return render_template("email_change/form.html", user=user, email=email[:254], error=error)


def _confirm() -> str:
    email = look_at_change(sub=current_session().sub, token=link_token())
    return render_template("email_change/confirm.html", email=email)


def _closed(refused: ChangeEnded | OtherAccount | EmailTaken) -> ResponseReturnValue:
    page = render_template(
        "email_change/closed.html",
        why=refused.slug,
        again=f"/account/email/confirm?token={link_token()}",
    )
    return page, refused.status
