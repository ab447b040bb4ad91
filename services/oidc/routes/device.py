"""/device: a person types the code that a device shows, sees what it asks for, and answers."""

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.guard.ratelimit import wait_in_words
from libs.people.access import current_session, signed_in
from libs.web.client_address import client_address
from services.oidc.flows.clients.registered import find_client
from services.oidc.flows.resources import in_words
from services.oidc.protocol import device as flow
from services.oidc.scopes import held_by

bp = Blueprint("device", __name__)


@bp.get("/device")
@signed_in
def show() -> ResponseReturnValue:
    """The field for the code; with a right code (the complete link, §3.3.1) what is asked, and two buttons."""
    typed = request.args.get("user_code", "")
    return _question(typed) if typed else _form()


@bp.post("/device")
@signed_in
def answer() -> ResponseReturnValue:
    """A typed code, or the answer to the question of one."""
    typed = request.form.get("user_code", "")
    answered = request.form.get("answer")
    session = current_session()
    if answered not in ("allow", "deny") or request.form.get("sub") != session.sub:
        # Another account was chosen in a second tab: ask that person anew.
        return _question(typed)
    try:
        if answered == "allow":
            flow.confirm(typed, session=session, ip=client_address())
        else:
            flow.deny(typed, session=session, ip=client_address())
    except flow.NoSuchCode as error:
        return _refused(typed, error)
    return redirect(f"/device/done?answer={answered}", 303)


@bp.get("/device/done")
@signed_in
def done() -> ResponseReturnValue:
    return render_template("device/done.html", is_allowed=request.args.get("answer") == "allow")


def _question(typed: str) -> ResponseReturnValue:
    session = current_session()
    try:
        found = flow.look_up(typed, session=session, ip=client_address())
    except flow.NoSuchCode as error:
        return _refused(typed, error)
    return render_template(
        "device/question.html",
        client=find_client(found.request.client_id),
        user_code=flow.in_groups(found.user_code),
        wishes=in_words(held_by(found.request.scopes, roles=session.roles)),
        session=session,
    )


def _refused(typed: str, error: flow.NoSuchCode) -> ResponseReturnValue:
    if error.retry_after:
        words = gettext("Too many wrong codes.") + " " + wait_in_words(error.retry_after)
        return _form(typed, words), 429, {"Retry-After": str(error.retry_after)}
    return _form(typed, error.reason), 422


def _form(typed: str = "", error: str | None = None) -> str:
    return render_template("device/form.html", user_code=typed[:20], error=error)
