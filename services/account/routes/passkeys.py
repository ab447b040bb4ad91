"""/account/passkeys: a person's passkeys: what they are, one more, another name, one less."""

from uuid import UUID

from flask import Blueprint, Response, flash, jsonify, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.people.access import current_session, signed_in
from libs.web.problems import Problem
from services.account.extensions import limiter
from services.account.flows import passkeys
from services.account.flows.devices import device_name
from services.account.flows.ways_in import LastWayIn
from services.account.routes.browser import browser_mark, visitor
from services.account.routes.second_factor import codes_page

bp = Blueprint("passkeys", __name__, url_prefix="/account/passkeys")

ASKING = "300 per minute"
"""How often an address may ask for a challenge: the sign-in page asks whenever it is opened."""


def as_json(question: passkeys.Question) -> Response:
    """The question in the form that passkeys.js understands; nobody may keep it."""
    response = jsonify(ticket=question.ticket, publicKey=question.options)
    response.headers["Cache-Control"] = "no-store"
    return response


def refused_new(refused: Problem) -> str:
    """Why a passkey was not added, in one line."""
    return f"{refused.title}. {refused.detail or ''}".strip()


@bp.get("")
@signed_in
def index() -> ResponseReturnValue:
    return render_template("passkeys.html", passkeys=passkeys.list_passkeys(sub=current_session().sub))


@bp.get("/add")
@signed_in(fresh=True)
def show_new() -> ResponseReturnValue:
    return render_template("passkey_add.html", device=device_name(visitor().user_agent))


@bp.post("/add/options")
@limiter.limit("passkey", ASKING)
@signed_in(fresh=True)
def ask() -> ResponseReturnValue:
    return as_json(passkeys.ask_for_new(sub=current_session().sub, browser=browser_mark()))


@bp.post("/add")
@limiter.limit("passkey", ASKING)
@signed_in(fresh=True)
def add() -> ResponseReturnValue:
    try:
        added = passkeys.add_passkey(
            sub=current_session().sub,
            name=request.form.get("name", ""),
            ticket=request.form.get("ticket", ""),
            response=request.form.get("passkey", ""),
            browser=browser_mark(),
            visitor=visitor(),
        )
    except (
        passkeys.ChallengeEnded,
        passkeys.PasskeyNotTaken,
        passkeys.AlreadyAdded,
        passkeys.TooManyPasskeys,
    ) as refused:
        flash(refused_new(refused), "bad")
        return redirect("/account/passkeys/add", 303)
    words = gettext(
        "The passkey “%(name)s” was added. You can sign in with it from now on.", name=added.passkey.name
    )
    flash(words, "good")
    if added.recovery_codes:
        return codes_page(added.recovery_codes, is_first=True)
    return redirect("/account/passkeys", 303)


@bp.get("/<uuid:passkey_id>")
@signed_in
def show(passkey_id: UUID) -> ResponseReturnValue:
    passkey = passkeys.get_passkey(sub=current_session().sub, passkey_id=passkey_id)
    return render_template("passkey.html", passkey=passkey)


@bp.post("/<uuid:passkey_id>")
@signed_in
def rename(passkey_id: UUID) -> ResponseReturnValue:
    name = request.form.get("name", "")
    if passkeys.rename_passkey(sub=current_session().sub, passkey_id=passkey_id, name=name):
        flash(gettext("The passkey has its new name."), "good")
    return redirect("/account/passkeys", 303)


@bp.get("/<uuid:passkey_id>/remove")
@signed_in(fresh=True)
def ask_to_remove(passkey_id: UUID) -> ResponseReturnValue:
    passkey = passkeys.get_passkey(sub=current_session().sub, passkey_id=passkey_id)
    return render_template("passkey_remove.html", passkey=passkey)


@bp.post("/<uuid:passkey_id>/remove")
@signed_in(fresh=True)
def remove(passkey_id: UUID) -> ResponseReturnValue:
    try:
        removed = passkeys.remove_passkey(sub=current_session().sub, passkey_id=passkey_id, visitor=visitor())
    except LastWayIn as refused:
        flash(refused_new(refused), "bad")
    else:
        flash(gettext("The passkey “%(name)s” was removed.", name=removed.name), "good")
    return redirect("/account/passkeys", 303)
