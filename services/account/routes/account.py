"""/account: a person's own overview, and the accounts this browser is signed in to."""

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from werkzeug.exceptions import NotFound

from libs.people.access import current_session, signed_in
from services.account.flows.sessions import held_sessions
from services.account.flows.users import get_user
from services.account.providers import providers
from services.account.routes.browser import give_sessions, held_secrets

bp = Blueprint("account", __name__)


@bp.get("/account")
@signed_in
def show() -> ResponseReturnValue:
    session = current_session()
    held = held_sessions(secrets=held_secrets())
    return render_template(
        "account.html",
        has_providers=bool(providers()),
        user=get_user(sub=session.sub),
        others=[one.session for one in held if one.session.sid != session.sid],
    )


@bp.post("/account")
@signed_in
def change() -> ResponseReturnValue:
    """Go on as another account of this browser (`switch` is its sid)."""
    held = held_sessions(secrets=held_secrets())
    chosen = [one for one in held if one.session.sid == request.form.get("switch")]
    if not chosen:
        raise NotFound
    flash(gettext("You go on as %(email)s.", email=chosen[0].session.claims["email"]), "good")
    others = [one for one in held if one not in chosen]
    return give_sessions(redirect("/account", 303), [one.secret for one in chosen + others])
