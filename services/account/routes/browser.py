"""What account's doors read from a browser and give back to it: its cookie, its name, where it wants to go."""

import re
from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from flask import Response, current_app, redirect, request, session
from werkzeug.wrappers import Response as AnyResponse

from libs.guard.single_use import digest
from libs.people.access import current_session
from libs.people.sessions import cookie_secrets, has_cookie, set_cookie
from libs.service import parts_of
from libs.web.client_address import client_address
from libs.web.headers import allow_form_target
from libs.web.redirects import safe_path
from services.account.flows.login import Halfway
from services.account.flows.sessions import SignIn
from services.account.flows.visitor import Visitor

ATTEMPT = "attempt"
"""Where the browser's session keeps the id of its half-done sign-in."""
NEXT_STEPS = {"second_factor": "/login/second-factor", "mail_code": "/login/code"}
DEVICE_LIFETIME = timedelta(days=400)
"""As long as browsers keep a cookie at all."""
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}\Z")


def held_secrets() -> list[str]:
    """The session secrets in the browser's cookie, current first."""
    return cookie_secrets(parts_of(current_app).settings)


def brings_cookie() -> bool:
    """Whether the browser sent a session cookie at all, be it garbage."""
    return has_cookie(parts_of(current_app).settings)


def visitor() -> Visitor:
    """Whoever is at this browser, as flows know them."""
    device = request.cookies.get(device_cookie(), "")
    return Visitor(
        ip=client_address(),
        user_agent=request.headers.get("User-Agent", ""),
        held=tuple(held_secrets()),
        device=device if _SECRET.match(device) else None,
    )


def wants_check() -> bool:
    """Whether "Check its strength" was pressed on a form that sets a password: it changes nothing."""
    return "check" in request.form


def wants_change() -> bool:
    return not wants_check()


def device_cookie() -> str:
    """The name of the cookie by which a person's own browsers are known; it signs nobody in."""
    return "__Host-id_device" if parts_of(current_app).settings.is_secure else "id_device"


def browser_mark() -> str:
    """What tells this browser from every other: only where its CSRF token was checked, which needs the secret."""
    return digest(session["csrf_token"])


def wanted_path(default: str = "/account") -> str:
    """Where the browser wants to go next: a path of ours, never another origin."""
    return safe_path(request.args.get("continue"), default)


def with_way_on(path: str) -> str:
    """The path of another step, which leads on to where the browser wants to go."""
    wanted = wanted_path(default="")
    return f"{path}?{urlencode({'continue': wanted})}" if wanted else path


def allow_way_on() -> None:
    """Let this page's forms lead to an app: the issuer may send the browser straight on to it."""
    if wanted_path().startswith("/oauth2/"):
        allow_form_target(wanted_path())


def link_token() -> str:
    """The token of the mailed link that the browser followed."""
    return request.args.get("token", "")


def asker() -> str:
    """Whose tries a limit counts where somebody is signed in: the person's, in whatever browser."""
    return current_session().sub


def give_sessions(response: AnyResponse, secrets: list[str]) -> AnyResponse:
    """Let the browser hold these sessions, current first; none clears its cookie."""
    settings = parts_of(current_app).settings
    assert isinstance(response, Response)
    set_cookie(response, settings, secrets, life=settings.SESSION_ABSOLUTE_LIFETIME)
    return response


def sent_on(done: SignIn | Halfway, target: str) -> AnyResponse:
    """The answer to a step of signing in: the cookies and on to where the person wanted to go, or the next step."""
    if isinstance(done, Halfway):
        session[ATTEMPT] = str(done.attempt_id)
        return redirect(f"{NEXT_STEPS[done.needs]}?{urlencode({'continue': target})}", 303)
    session.pop(ATTEMPT, None)
    if done.is_leaving:
        target = f"/account/erase?{urlencode({'continue': target})}"
    response = give_sessions(redirect(target, 303), done.secrets)
    assert isinstance(response, Response)
    response.set_cookie(
        device_cookie(),
        done.device,
        max_age=int(DEVICE_LIFETIME.total_seconds()),
        path="/",
        secure=parts_of(current_app).settings.is_secure,
        httponly=True,
        samesite="Lax",
    )
    return response


def asked_before() -> UUID | None:
    """Where a list is to go on: `before` of the address. What is no id is as none, and shows the list's start."""
    try:
        return UUID(request.args.get("before", ""))
    except ValueError:
        return None


def attempt_id() -> UUID | None:
    """The half-done sign-in of this browser."""
    try:
        return UUID(session.get(ATTEMPT, ""))
    except ValueError:
        return None
