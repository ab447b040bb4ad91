"""/login: sign in with e-mail and password; /login/resume: bring a session's copy back."""

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from libs.people.access import public
from libs.people.sessions import Session, current_session
from libs.web.headers import allow_form_target
from services.account.flows import linking, sessions
from services.account.flows.factors import strongest_way
from services.account.flows.login import LoginRefused, log_in
from services.account.flows.throttle import Throttled
from services.account.routes.browser import (
    brings_cookie,
    give_sessions,
    held_secrets,
    sent_on,
    visitor,
    wanted_path,
)

bp = Blueprint("login", __name__)

STRENGTH = ("1", "2", "phr")
"""The words of `acr`, weakest first."""


@bp.get("/login")
@public
def show() -> ResponseReturnValue:
    """The form; whoever signed in recently enough is sent on instead.

    `continue` is a path of ours, `fresh_after` (epoch seconds) asks for a sign-in newer than that, `acr` for one
    at least as strong, `login_hint` fills in the address, `another` asks for one more account.
    """
    session = current_session()
    is_again = session is not None and "another" not in request.args
    if is_again and session is not None and _is_enough(session):
        return _send_on()
    return _form(email=request.args.get("login_hint", ""), is_again=is_again)


@bp.post("/login")
@public
def sign_in() -> ResponseReturnValue:
    email = request.form.get("email", "")
    password = request.form.get("password", "")
    try:
        done = log_in(email=email, password=password, visitor=visitor())
    except LoginRefused as refused:
        return _form(email=email, error=refused.detail), refused.status
    except Throttled as refused:
        page = _form(email=email, error=refused.detail)
        return page, refused.status, {"Retry-After": str(refused.retry_after)}
    return sent_on(done, wanted_path())


@bp.get("/login/resume")
@public
def resume() -> ResponseReturnValue:
    """Bring back the copy of the session behind the cookie, and the browser to where it was.

    A cookie that no live session knows is cleared, so that the page it returns to asks for a sign-in, or answers
    `prompt=none` by itself.
    """
    if not brings_cookie():
        return redirect(wanted_path(), 303)
    held = held_secrets()
    resumed = sessions.resume(secrets=held)
    response = redirect(wanted_path(), 303)
    if resumed.secrets != held or not held:
        give_sessions(response, resumed.secrets)
    return response


def _send_on() -> ResponseReturnValue:
    """On to the page wanted. One of another service reads the copy, so that must be there: else it would ask again."""
    target = wanted_path()
    if not target.startswith("/account"):
        sessions.resume(secrets=held_secrets())
    return redirect(target, 303)


def _is_enough(session: Session) -> bool:
    """Whether the sign-in that is there is as young and as strong as this page was asked for."""
    wanted = request.args.get("fresh_after", "0")
    youngest = int(wanted) if wanted.isdecimal() and len(wanted) <= 12 else 0
    if session.auth_time < youngest:
        return False
    strongest = max(map(_strength, request.args.get("acr", "").split()), default=0)
    if _strength(session.acr) >= strongest:
        return True
    # Signing in again changes nothing for somebody who has nothing more to show.
    return _strength(session.acr) >= _strength(strongest_way(sub=session.sub))


def _strength(acr: str) -> int:
    return STRENGTH.index(acr) if acr in STRENGTH else 0


def _form(*, email: str, error: str | None = None, is_again: bool = False) -> str:
    choices = linking.choices()
    if choices or wanted_path().startswith("/oauth2/"):
        # A provider's button, or the issuer on the way back to the app, leads away: a redirect like any other.
        allow_form_target(wanted_path())
    return render_template(
        "login.html",
        email=email[:254],
        error=error,
        is_again=is_again,
        wanted=wanted_path(default=""),
        choices=choices,
    )
