"""/login/code: the code that was mailed, while limits are enhanced."""

from urllib.parse import urlencode

from flask import Blueprint, flash, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.people.access import public
from libs.web.headers import allow_form_target
from services.account.extensions import limiter
from services.account.flows import mail_code
from services.account.flows.attempts import AttemptEnded
from services.account.flows.login import LoginRefused, finish_by_mail_code
from services.account.flows.throttle import Throttled
from services.account.routes.browser import ATTEMPT, attempt_id, sent_on, visitor, wanted_path

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
            return redirect(_with_target("/login/code"), 303)
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
    if wanted_path().startswith("/oauth2/"):
        # The issuer may send the browser straight on to the app: a redirect of this form like any other.
        allow_form_target(wanted_path())
    return render_template("mail_code.html", hint=hint, error=error)


def _begin_again() -> ResponseReturnValue:
    session.pop(ATTEMPT, None)
    return redirect(_with_target("/login"), 303)


def _with_target(path: str) -> str:
    target = wanted_path(default="")
    return f"{path}?{urlencode({'continue': target})}" if target else path
