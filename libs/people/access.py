"""Access: every route declares who may enter; nothing undeclared is served."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, overload
from urllib.parse import urlencode

from flask import Flask, current_app, redirect, request
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext

from libs.audit import set_actor
from libs.people import sessions
from libs.people.bearer import authenticate
from libs.web.app import needed_where
from libs.web.problems import Problem
from libs.web.redirects import own_path

View = TypeVar("View", bound=Callable[..., Any])
STEP_UP_LIFETIME = timedelta(minutes=5)
"""How long a sign-in counts as fresh."""


@dataclass(frozen=True)
class Access:
    """Who may enter: kind `public`, `signed_in`, `staff` (one of `roles`), `protocol` (a client of ours), `bearer`."""

    kind: str
    roles: tuple[str, ...] = ()
    why: str = ""
    scope: str = ""
    needs_fresh: bool = False
    """Only a sign-in of the last STEP_UP_LIFETIME will do: for what cannot be undone, or opens more doors."""


class NotAllowed(Problem):
    """The person is signed in, and this is not theirs to see."""

    status, slug, title = 403, "not-allowed", lazy_gettext("You may not open this page")


class SignInUnavailable(Problem):
    """Redis is away, so that nobody can say who is signed in."""

    status, slug = 503, "sign-in-unavailable"
    title = lazy_gettext("We cannot check who you are right now")


def _declare(view: View, access: Access) -> View:
    view.access = access  # type: ignore[attr-defined]
    return view


def public(view: View) -> View:
    """Anyone, signed in or not."""
    return _declare(view, Access("public"))


@overload
def signed_in(view: View) -> View: ...
@overload
def signed_in(*, fresh: bool) -> Callable[[View], View]: ...
def signed_in(view: View | None = None, *, fresh: bool = False) -> Any:
    """Whoever has a sign-in session; others go to sign in and come back. `fresh` asks for a recent one (step-up)."""

    def declare(view: View) -> View:
        return _declare(view, Access("signed_in", needs_fresh=fresh))

    return declare if view is None else declare(view)


def staff(*roles: str, fresh: bool = False) -> Callable[[View], View]:
    """Whoever holds one of the roles; `admin` always does. `staff()` means any role at all."""
    access = Access("staff", roles or ("admin", "reviewer", "support"), needs_fresh=fresh)
    return lambda view: _declare(view, access)


def protocol(why: str) -> Callable[[View], View]:
    """Clients of the issuer, who prove themselves by the protocol: no cookie counts and no CSRF token is asked."""
    return lambda view: _declare(view, Access("protocol", why=why))


def bearer(
    scope: str, *, role: str | tuple[str, ...] | None = None, fresh: bool = False
) -> Callable[[View], View]:
    """Whoever bears an access token of ours with this scope, on /api/* alone; a cookie never counts there.

    With a role a person must hold it too, or one of several (`admin` always does), while a client by itself needs the
    scope alone. Without one the route is the person's own, and no client enters by itself. `fresh` asks a person for
    a recent sign-in (step-up): the answer to an older one says so (RFC 9470).
    """
    roles = (role,) if isinstance(role, str) else role or ()
    access = Access("bearer", roles=roles, scope=scope, needs_fresh=fresh)
    return lambda view: _declare(view, access)


def current_session() -> sessions.Session:
    """The signed-in person, in a view declared @signed_in or @staff."""
    session = sessions.current_session()
    assert session is not None, "only views declared @signed_in or @staff have a person"
    return session


def declared_access(app: Flask, endpoint: str) -> Access | None:
    return getattr(app.view_functions[endpoint], "access", None)


def init_access(app: Flask) -> None:
    """Hold each request to what its route declares."""

    def is_open(endpoint: str) -> bool:
        access = declared_access(app, endpoint)
        return access is not None and access.kind in ("public", "protocol")

    @app.before_request
    @needed_where(lambda endpoint, _: not is_open(endpoint))
    def _check() -> ResponseReturnValue | None:
        if request.endpoint is None:
            return None  # no such path: the 404 page follows
        access = declared_access(app, request.endpoint)
        if access is None:
            raise RuntimeError(
                f"{request.endpoint} declares no access: @public, @signed_in, @staff, @protocol or @bearer"
            )
        if access.kind in ("public", "protocol"):
            return None
        if access.kind == "bearer":
            max_age = STEP_UP_LIFETIME if access.needs_fresh else None
            found = authenticate(request, scope=access.scope, roles=access.roles, max_age=max_age)
            set_actor(f"user:{found.sub}" if found.sub else f"client:{found.client_id}")
            return None
        if request.path.startswith("/api/"):
            raise RuntimeError(
                f"{request.endpoint} would let a cookie authenticate where no CSRF token is asked"
            )
        try:
            session = sessions.current_session()
        except sessions.SessionsUnavailable as error:
            raise SignInUnavailable(retry_after=5) from error
        if session is None:
            return _ask_to_sign_in()
        set_actor(f"user:{session.sub}")
        if access.kind == "staff" and not session.has_role(*access.roles):
            raise NotAllowed
        if access.needs_fresh and session.auth_time < (fresh_after := _fresh_after()):
            return _ask_to_sign_in(fresh_after=fresh_after)
        return None


def _fresh_after() -> int:
    """Epoch seconds: what a sign-in must be as young as to count as fresh now."""
    return int(time.time() - STEP_UP_LIFETIME.total_seconds())


def _ask_to_sign_in(*, fresh_after: int | None = None) -> ResponseReturnValue:
    """To the sign-in page, by way of /login/resume when there is a cookie whose copy is missing.

    A POST gets its own form back, filled in, and signs in meanwhile: what was entered is not lost.
    """
    from libs.service import parts_of
    from libs.web.csrf import show_form_again

    parts = parts_of(current_app)
    if request.method not in ("GET", "HEAD"):
        return show_form_again(must_sign_in=True, fresh_after=fresh_after)
    wishes: dict[str, Any] = {"continue": own_path()}
    if fresh_after is not None:
        return redirect("/login?" + urlencode({**wishes, "fresh_after": fresh_after}), 303)
    may_resume = sessions.has_cookie(parts.settings) and parts.name != "account"
    return redirect(("/login/resume?" if may_resume else "/login?") + urlencode(wishes), 303)
