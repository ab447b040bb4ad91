"""What account's doors read from a browser and give back to it: its cookie, its name, where it wants to go."""

from flask import Response, current_app, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from libs.people.sessions import cookie_secrets, has_cookie, set_cookie
from libs.service import parts_of
from libs.web.redirects import safe_path
from services.account.flows.sessions import SignIn


def held_secrets() -> list[str]:
    """The session secrets in the browser's cookie, current first."""
    return cookie_secrets(parts_of(current_app).settings)


def brings_cookie() -> bool:
    """Whether the browser sent a session cookie at all, be it garbage."""
    return has_cookie(parts_of(current_app).settings)


def user_agent() -> str:
    return request.headers.get("User-Agent", "")


def wanted_path(default: str = "/account") -> str:
    """Where the browser wants to go next: a path of ours, never another origin."""
    return safe_path(request.args.get("continue"), default)


def give_sessions(response: AnyResponse, secrets: list[str]) -> AnyResponse:
    """Let the browser hold these sessions, current first; none clears its cookie."""
    settings = parts_of(current_app).settings
    assert isinstance(response, Response)
    set_cookie(response, settings, secrets, life=settings.SESSION_ABSOLUTE_LIFETIME)
    return response


def sent_on(sign_in: SignIn, target: str) -> AnyResponse:
    """The answer to a sign-in: the cookie, and on to where the person wanted to go."""
    return give_sessions(redirect(target, 303), sign_in.secrets)
