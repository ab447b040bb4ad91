"""/enrol: where an approved person sets a password or makes a passkey, and is signed in."""

import json
import time
from typing import Any

from flask import Blueprint, current_app, flash, redirect, render_template, request, session
from flask.typing import ResponseReturnValue

from libs.guard.keyring import CannotOpen
from libs.people.access import public
from libs.people.handover import InvalidTicket, open_ticket
from libs.service import parts_of
from libs.web.headers import allow_form_target
from libs.web.redirects import safe_path
from services.account.extensions import limiter
from services.account.flows.enrolment import (
    AlreadyEnrolled,
    FirstPasskey,
    FirstPassword,
    FirstWayIn,
    ask_for_passkey,
    enrol,
    find_enrolled,
)
from services.account.flows.passkeys import AlreadyAdded, ChallengeEnded, PasskeyNotTaken
from services.account.flows.passwords import Hint, PasswordRefused, passwords
from services.account.flows.users import EmailTaken
from services.account.routes.browser import browser_mark, sent_on, visitor, wants_change, wants_check
from services.account.routes.passkeys import ASKING, as_json, refused_new
from services.account.routes.password_links import CHECKS

bp = Blueprint("enrolment", __name__)

STEP = "enrolment"
PER_ADDRESS = "60 per minute"
PER_APPLICATION = "20 per 5 minutes"


def enrolling_application() -> str | None:
    """Whose tries are counted here: not the address's, which a stranger at the sign-in page could use up."""
    step = _open_step()
    return step["application_id"] if step else None


@bp.get("/enrol")
@public
def show() -> ResponseReturnValue:
    """Take the ticket out of the address, then show the page. Looking changes nothing."""
    parts = parts_of(current_app)
    if "ticket" in request.args:
        try:
            content = open_ticket(parts.settings, request.args["ticket"], purpose="enrol", audience="account")
        except InvalidTicket:
            session.pop(STEP, None)
            return _closed("expired"), 410
        _keep_step(content)
        return redirect("/enrol", 303)
    step = _open_step()
    if step is None:
        return _closed("expired"), 410
    if find_enrolled(application_id=step["application_id"]):
        return _closed("enrolled", step), 409
    return _form(step)


@bp.post("/enrol")
@limiter.limit("enrolment", PER_ADDRESS, when=wants_change)
@limiter.limit("enrolment", PER_APPLICATION, by=enrolling_application, when=wants_change)
@limiter.limit("password_check", CHECKS, when=wants_check)
@public
def set_password() -> ResponseReturnValue:
    step = _open_step()
    if step is None:
        return _closed("expired"), 410
    password = request.form.get("password", "")
    if wants_check():
        return _form(step, strength=passwords().hint(password, context=[step["email"], step["name"]]))
    return _enrol(step, FirstPassword(password=password))


@bp.post("/enrol/passkey/options")
@limiter.limit("passkey", ASKING)
@public
def ask() -> ResponseReturnValue:
    """What the browser needs to make a passkey for the account that there will be."""
    step = _open_step()
    if step is None:
        raise ChallengeEnded
    question = ask_for_passkey(
        application_id=step["application_id"],
        email=step["email"],
        name=step["name"],
        browser=browser_mark(),
    )
    return as_json(question)


@bp.post("/enrol/passkey")
@limiter.limit("enrolment", PER_ADDRESS)
@limiter.limit("enrolment", PER_APPLICATION, by=enrolling_application)
@public
def set_passkey() -> ResponseReturnValue:
    """Open the account with the passkey that the browser made."""
    step = _open_step()
    if step is None:
        return _closed("expired"), 410
    try:
        first = FirstPasskey.verified(
            application_id=step["application_id"],
            ticket=request.form.get("ticket", ""),
            response=request.form.get("passkey", ""),
            browser=browser_mark(),
        )
        return _enrol(step, first)
    except (ChallengeEnded, PasskeyNotTaken, AlreadyAdded) as refused:
        flash(refused_new(refused), "bad")
        return redirect("/enrol", 303)


def _enrol(step: dict[str, Any], first: FirstWayIn) -> ResponseReturnValue:
    try:
        done = enrol(
            application_id=step["application_id"],
            email=step["email"],
            name=step["name"],
            locale=step["locale"],
            roles=step["roles"],
            is_email_verified=step["email_verified"],
            first=first,
            visitor=visitor(),
        )
    except PasswordRefused as refused:
        return _form(step, error=refused.errors["password"]), refused.status
    except AlreadyEnrolled as refused:
        return _closed("enrolled", step), refused.status
    except EmailTaken as refused:
        return _closed("taken", step), refused.status
    return sent_on(done, safe_path(step.get("continue"), "/account"))


def _keep_step(content: dict[str, Any]) -> None:
    """Move the ticket's content into the browser's session, sealed, with time to think of a password."""
    parts = parts_of(current_app)
    end = int(time.time() + parts.settings.ENROLMENT_LIFETIME.total_seconds())
    session[STEP] = parts.data_keys.seal(
        json.dumps({"exp": end, "content": content}).encode(), "browser.enrolment"
    )


def _open_step() -> dict[str, Any] | None:
    try:
        body = json.loads(parts_of(current_app).data_keys.open(session.get(STEP, ""), "browser.enrolment"))
    except CannotOpen:
        return None
    content: dict[str, Any] | None = body["content"] if body["exp"] > time.time() else None
    return content


def _form(step: dict[str, Any], *, error: str | None = None, strength: Hint | None = None) -> str:
    target = safe_path(step.get("continue"), "/account")
    if target.startswith("/oauth2/"):
        allow_form_target(target)  # the issuer may send the browser straight on to the app
    return render_template(
        "enrolment.html", step=step, error=error, strength=strength, min_length=passwords().min_length
    )


def _closed(why: str, step: dict[str, Any] | None = None) -> str:
    return render_template("enrolment_closed.html", why=why, email=step["email"] if step else "")
