"""/login/code: the code that was mailed, while limits are enhanced."""

from flask import Blueprint, flash, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.people.access import public
from services.account.extensions import limiter
from services.account.flows import mail_code
from services.account.flows.attempts import AttemptEnded
from services.account.flows.login import LoginRefused, finish_by_mail_code
from services.account.flows.throttle import Throttled
from services.account.routes.browser import (
    ATTEMPT,
    allow_way_on,
    attempt_id,
    sent_on,
    visitor,
    wanted_path,
    with_way_on,
)

bp = Blueprint("mail_code", __name__)


@bp.get("/login/code")
@public
def show() -> ResponseReturnValue:
    """The form. A browser in which no sign-in waits for a code begins one."""
    try:
        return _form()
    except AttemptEnded:
        return _begin_again()


@bp.post("/login/code")
@limiter.limit("mail_code_page", "60 per minute")
@public
def answer() -> ResponseReturnValue:
    """Take the code, mail another (`again`), or give up (`cancel`)."""
    try:
        if "cancel" in request.form:
            mail_code.cancel(attempt_id=attempt_id(), visitor=visitor())
            return _begin_again()
        if "again" in request.form:
            mail_code.send_again(attempt_id=attempt_id(), visitor=visitor())
            flash(gettext("Another code is on its way. The one before does not work any more."), "good")
            return redirect(with_way_on("/login/code"), 303)
        code = request.form.get("code", "")
        done = finish_by_mail_code(attempt_id=attempt_id(), code=code, visitor=visitor())
    except mail_code.WrongCode as refused:
        return _form(error=refused.detail), refused.status
    except Throttled as refused:
        # Another mail has to wait; the code of the last one works on.
        return _form(error=refused.detail), refused.status, {"Retry-After": str(refused.retry_after)}
    except (AttemptEnded, LoginRefused) as refused:
        flash(str(refused.detail or refused.title), "bad")
        return _begin_again()
    return sent_on(done, wanted_path())


def _form(error: str | None = None) -> str:
    hint = mail_code.look_at(attempt_id=attempt_id(), visitor=visitor())
    allow_way_on()
    return render_template("mail_code.html", hint=hint, error=error)


def _begin_again() -> ResponseReturnValue:
    session.pop(ATTEMPT, None)
    return redirect(with_way_on("/login"), 303)
