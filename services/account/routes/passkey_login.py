"""/login/passkey, and /login/second-factor/passkey: signing in with a passkey, alone or as the second step."""

from flask import Blueprint, Response, flash, redirect, request
from flask.typing import ResponseReturnValue
from flask_limiter.errors import RateLimitExceeded

from libs.guard.ratelimit import too_many
from libs.people.access import public
from services.account.extensions import limiter
from services.account.flows import passkeys
from services.account.flows.attempts import AttemptEnded, find_attempt
from services.account.flows.login import AccountDisabled, LoginRefused, finish
from services.account.flows.login_events import count_attempt, record_failure
from services.account.routes.browser import attempt_id, browser_mark, sent_on, visitor, wanted_path
from services.account.routes.passkeys import ASKING, as_json

bp = Blueprint("passkey_login", __name__)

PER_ADDRESS = "60 per minute"
"""Nobody guesses a passkey: this keeps the work within bounds."""


@bp.post("/login/passkey/options")
@limiter.limit("passkey", ASKING)
@public
def ask() -> ResponseReturnValue:
    """What the browser needs to ask whoever sits there for a passkey. Nothing is written."""
    return as_json(passkeys.ask_to_sign_in(browser=browser_mark()))


@bp.post("/login/passkey")
@limiter.limit("login", PER_ADDRESS)
@public
def sign_in() -> ResponseReturnValue:
    try:
        done = passkeys.sign_in_with_passkey(
            ticket=request.form.get("ticket", ""),
            response=request.form.get("passkey", ""),
            browser=browser_mark(),
            visitor=visitor(),
        )
    except LoginRefused as refused:
        return _back_to("/login", refused)
    return sent_on(done, wanted_path())


@bp.post("/login/second-factor/passkey/options")
@limiter.limit("passkey", ASKING)
@public
def ask_half_signed_in() -> ResponseReturnValue:
    attempt = find_attempt(attempt_id(), needs="second_factor")
    return as_json(passkeys.ask_for_second_factor(attempt, browser=browser_mark()))


@bp.post("/login/second-factor/passkey")
@limiter.limit("login", PER_ADDRESS)
@public
def give_second_factor() -> ResponseReturnValue:
    try:
        attempt = find_attempt(attempt_id(), needs="second_factor")
        evidence = passkeys.verify_second_factor(
            attempt,
            request.form.get("passkey", ""),
            ticket=request.form.get("ticket", ""),
            browser=browser_mark(),
            visitor=visitor(),
        )
        done = finish(attempt, evidence=evidence, method="passkey", visitor=visitor())
    except (AttemptEnded, AccountDisabled) as refused:
        return _back_to("/login", refused)
    except LoginRefused as refused:
        return _back_to("/login/second-factor", refused)
    return sent_on(done, wanted_path())


@bp.errorhandler(RateLimitExceeded)
def _throttled(error: RateLimitExceeded) -> Response:
    if not request.path.endswith("/options"):
        count_attempt()
        record_failure("throttled", method="passkey", visitor=visitor())
    return too_many(error)


def _back_to(path: str, refused: LoginRefused | AttemptEnded) -> ResponseReturnValue:
    """The page that the answer came from, which says why it did not do; it goes on to where it would have gone."""
    flash(str(refused.detail or refused.title), "bad")
    query = request.query_string.decode("utf-8", "replace")
    return redirect(f"{path}?{query}" if query else path, 303)
