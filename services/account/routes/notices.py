"""/account/not-me: the link "It wasn't me" of a security mail."""

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from libs.people.access import public
from services.account.extensions import limiter
from services.account.flows.securing import NoticeNotValid, disavow, look_at_notice, what_happened
from services.account.routes.browser import link_token
from services.account.routes.password_links import PER_ADDRESS

bp = Blueprint("notices", __name__)


@bp.get("/account/not-me")
@public
def show() -> ResponseReturnValue:
    """What happened, and the button. Looking spends nothing: mail scanners look too.

    `done` says how pressing it ended: `mailed`, or without a mail.
    """
    if "done" in request.args:
        return render_template("not_me.html", state="done", is_mailed=request.args["done"] == "mailed")
    try:
        notice = look_at_notice(token=link_token())
    except NoticeNotValid as refused:
        return render_template("not_me.html", state="closed"), refused.status
    return render_template("not_me.html", state="open", notice=notice, what=what_happened(notice))


@bp.post("/account/not-me")
@limiter.limit("password_link", PER_ADDRESS)
@public
def secure() -> ResponseReturnValue:
    try:
        secured = disavow(token=link_token())
    except NoticeNotValid as refused:
        return render_template("not_me.html", state="closed"), refused.status
    return redirect(f"/account/not-me?done={'mailed' if secured.is_mailed else 'closed'}", 303)
