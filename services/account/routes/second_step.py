"""/login/second-factor: the second step of a sign-in, other ways to take it, and the way back without any."""

import time
from urllib.parse import urlencode

from flask import Blueprint, Response, flash, g, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from flask_limiter.errors import RateLimitExceeded

from libs.guard.ratelimit import too_many
from libs.people.access import public
from libs.web.redirects import own_path
from services.account.extensions import limiter
from services.account.flows.attempts import AttemptEnded
from services.account.flows.second_factor import list_factors
from services.account.flows.second_factor_reset import (
    ResetLinkNotValid,
    look_at_reset,
    remove_lost_factors,
    start_reset,
)
from services.account.flows.second_step import (
    cancel_step,
    find_step,
    is_own_device,
    owner_of_step,
    record_throttled_step,
    take_step,
)
from services.account.flows.totp import WrongCode
from services.account.routes.browser import (
    ATTEMPT,
    allow_way_on,
    attempt_id,
    link_token,
    sent_on,
    visitor,
    wanted_path,
    with_way_on,
)

bp = Blueprint("second_step", __name__)

PAGE = "/login/second-factor"
RESET_PAGE = "/login/second-factor/reset"
GUESSES = ("8 per 5 minutes", "24 per 3 hours", "48 per day")
"""How often a person's code may be tried, by all strange browsers together and by each of their own: only who has
passed the first factor counts."""


def halfway_account() -> str | None:
    """Whose second factor is tried here. A stranger who has passed no first factor uses up nobody's tries."""
    if "halfway_account" not in g:
        owner = owner_of_step(attempt_id=attempt_id())
        g.halfway_account = owner.email_normalised if owner else None
    found: str | None = g.halfway_account
    return found


def own_device() -> str | None:
    """This browser, where it is one of their own: a stranger who has the password uses up none of its tries."""
    if "own_device" not in g:
        me = visitor()
        is_own = is_own_device(attempt_id=attempt_id(), visitor=me)
        g.own_device = (me.device_digest or "")[:32] if is_own else None
    found: str | None = g.own_device
    return found


@bp.get(PAGE)
@public
def show() -> ResponseReturnValue:
    if wanted_path().startswith(RESET_PAGE + "?"):
        return redirect(wanted_path(), 303)  # whoever comes by the mailed link wants to remove, not to enter
    return _form()


@bp.post(PAGE)
@limiter.limit("second_factor", GUESSES[0], by=halfway_account, device=own_device)
@limiter.limit("second_factor", GUESSES[1], by=halfway_account, device=own_device)
@limiter.limit("second_factor", GUESSES[2], by=halfway_account, device=own_device)
@public
def verify() -> ResponseReturnValue:
    """Check the code: of the authenticator app, or a recovery code."""
    try:
        done = take_step(attempt_id=attempt_id(), code=request.form.get("code", "")[:200], visitor=visitor())
    except WrongCode as refused:
        page = _other if request.args.get("from") == "other" else _form
        return page(error=refused.errors["code"]), refused.status
    return sent_on(done, wanted_path())


@bp.get(f"{PAGE}/other")
@public
def show_other() -> ResponseReturnValue:
    return _other()


@bp.post(f"{PAGE}/cancel")
@public
def cancel() -> ResponseReturnValue:
    """Think better of it."""
    cancel_step(attempt_id=attempt_id(), visitor=visitor())
    session.pop(ATTEMPT, None)
    flash(gettext("You are not signed in."), "info")
    return redirect(with_way_on("/login"), 303)


# -- the way back ----------------------------------------------------------------------------------------------


@bp.get(f"{PAGE}/lost")
@public
def show_lost() -> ResponseReturnValue:
    """Where the person stands on the way back."""
    _, standing = find_step(attempt_id=attempt_id(), visitor=visitor())
    reset = list_factors(sub=standing.user.sub).reset
    if reset is None:
        return redirect(with_way_on(f"{PAGE}/other"), 303)
    return render_template("second_factor_lost.html", reset=reset, back=with_way_on(PAGE))


@bp.post(f"{PAGE}/lost")
@limiter.limit("second_factor_reset", "5 per day", by=halfway_account)
@public
def lose() -> ResponseReturnValue:
    """Begin the wait after which the second step can be removed."""
    start_reset(attempt_id=attempt_id(), visitor=visitor())
    return redirect(with_way_on(f"{PAGE}/lost"), 303)


@bp.get(RESET_PAGE)
@public
def show_reset() -> ResponseReturnValue:
    """The mailed link. Looking spends nothing; the button is for whoever has passed the first factor here."""
    try:
        owner = look_at_reset(token=link_token())
    except ResetLinkNotValid as refused:
        return _closed(refused)
    at_the_door = owner_of_step(attempt_id=attempt_id())
    is_owner = at_the_door is not None and at_the_door.id == owner.id
    return render_template(
        "second_factor_reset.html",
        state="ready" if is_owner else "sign_in",
        # As young as now: a session that is there already has not just shown the password.
        sign_in="/login?" + urlencode({"continue": own_path(), "fresh_after": int(time.time())}),
    )


@bp.post(RESET_PAGE)
@limiter.limit("second_factor_reset", "30 per hour")
@public
def remove() -> ResponseReturnValue:
    try:
        remove_lost_factors(token=link_token(), attempt_id=attempt_id(), visitor=visitor())
    except ResetLinkNotValid as refused:
        return _closed(refused)
    session.pop(ATTEMPT, None)
    flash(gettext("The second step was removed, and you were signed out everywhere. Please sign in."), "good")
    return redirect("/login?continue=%2Faccount%2Fsecond-factor", 303)


# -- what they share -------------------------------------------------------------------------------------------


@bp.errorhandler(AttemptEnded)
def _begin_again(error: AttemptEnded) -> ResponseReturnValue:
    """A step sent first, too late, or from another browser: nothing is learned, and the sign-in begins anew."""
    session.pop(ATTEMPT, None)
    flash(error.title, "bad")
    return redirect(with_way_on("/login"), 303)


@bp.errorhandler(RateLimitExceeded)
def _throttled(error: RateLimitExceeded) -> Response:
    if request.path == PAGE:
        record_throttled_step(attempt_id=attempt_id(), visitor=visitor())
    return too_many(error)


def _closed(refused: ResetLinkNotValid) -> ResponseReturnValue:
    """The way on: to the second step for whoever waits at it, else to the sign-in page."""
    sign_in = PAGE if owner_of_step(attempt_id=attempt_id()) is not None else "/login"
    return render_template("second_factor_reset.html", state="closed", sign_in=sign_in), refused.status


def _form(error: str | None = None) -> str:
    return _page("second_step.html", error)


def _other(error: str | None = None) -> str:
    return _page("second_step_other.html", error)


def _page(template: str, error: str | None) -> str:
    _, standing = find_step(attempt_id=attempt_id(), visitor=visitor())
    allow_way_on()
    return render_template(template, standing=standing, error=error, way_on=with_way_on(""))
