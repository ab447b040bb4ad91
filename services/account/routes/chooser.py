"""/login/choose: which of the accounts open in this browser to go on as."""

from urllib.parse import urlencode, urlsplit

from flask import Blueprint, current_app, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.people.access import public
from libs.people.handover import seal_ticket
from libs.service import parts_of
from services.account.flows.revoking import revoke_access
from services.account.flows.sessions import HeldSession, UnknownSession, held_sessions
from services.account.routes.browser import allow_way_on, give_sessions, held_secrets, wanted_path

bp = Blueprint("chooser", __name__)

INTERACTIONS = "/oauth2/authorize/"


@bp.get("/login/choose")
@public
def show() -> ResponseReturnValue:
    """The accounts of this browser, the current one first; without any, the sign-in page."""
    held = held_sessions(secrets=held_secrets())
    if not held:
        return redirect("/login?" + urlencode({"continue": wanted_path()}), 303)
    allow_way_on()
    another = "/login?" + urlencode({"another": "yes", "continue": wanted_path()})
    return render_template("chooser.html", accounts=[one.session for one in held], another=another)


@bp.post("/login/choose")
@public
def choose() -> ResponseReturnValue:
    """Go on as the account `choose`, or sign out of the account `remove`; both are a sid of this browser."""
    held = held_sessions(secrets=held_secrets())
    if "remove" in request.form:
        removed = _named(held, request.form["remove"])
        revoke_access(sub=removed.session.sub, cause="sign_out", sids=[removed.session.sid])
        flash(gettext("You signed out of %(email)s.", email=removed.session.claims["email"]), "good")
        here = redirect("/login/choose?" + urlencode({"continue": wanted_path()}), 303)
        return give_sessions(here, [one.secret for one in held if one is not removed])
    chosen = _named(held, request.form.get("choose", ""))
    others = [one for one in held if one is not chosen]
    response = redirect(_way_on(chosen), 303)
    return give_sessions(response, [one.secret for one in (chosen, *others)])


def _named(held: list[HeldSession], sid: str) -> HeldSession:
    """The session of this browser that a button names. Raises UnknownSession."""
    found = next((one for one in held if one.session.sid == sid), None)
    if found is None:
        raise UnknownSession
    return found


def _way_on(chosen: HeldSession) -> str:
    """Where the person wanted to go. The issuer, who asked for a choice, hears by a ticket that there was one."""
    target = wanted_path()
    path = urlsplit(target).path
    if not path.startswith(INTERACTIONS):
        return target
    ticket = seal_ticket(
        parts_of(current_app).settings,
        purpose="account_chosen",
        audience="oidc",
        content={"path": path, "sid": chosen.session.sid},
    )
    return target + ("&" if urlsplit(target).query else "?") + urlencode({"ticket": ticket})
