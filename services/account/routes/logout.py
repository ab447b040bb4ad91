"""/logout: the question and its answer, and the way out that an app asked for at the issuer."""

from typing import NamedTuple

from flask import Blueprint, current_app, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from werkzeug.wrappers import Response as AnyResponse

from libs.people.access import public
from libs.people.handover import InvalidTicket, open_ticket
from libs.service import parts_of
from libs.web.headers import allow_form_target
from libs.web.redirects import safe_path
from services.account.flows import sessions
from services.account.flows.revoking import revoke_access
from services.account.routes.browser import brings_cookie, give_sessions, held_secrets

bp = Blueprint("logout", __name__)


@bp.get("/logout")
@public
def ask() -> ResponseReturnValue:
    """Ask, unless the issuer has: its ticket names the session that ends, if this browser holds it."""
    held = sessions.held_sessions(secrets=held_secrets())
    ticket = _ticket()
    if ticket is not None and ticket.sid is not None:
        return _end(held, [one for one in held if one.session.sid == ticket.sid], ticket.return_to)
    if not held:
        response = redirect(ticket.return_to, 303) if ticket else _page("signed_out.html")
        return give_sessions(response, []) if brings_cookie() else response
    if ticket is not None:
        allow_form_target(ticket.return_to)  # from there the issuer may send the browser on to the app
    return _page("logout.html", accounts=[one.session for one in held])


@bp.post("/logout")
@public
def sign_out() -> ResponseReturnValue:
    """End what this browser is signed in to: everything, or the current account `only`."""
    held = sessions.held_sessions(secrets=held_secrets())
    ticket = _ticket()
    target = ticket.return_to if ticket else "/logout"
    if "only" not in request.form or len(held) < 2:
        return _end(held, held, target)
    if ticket is None:
        target = "/account"
        flash(gettext("You signed out of %(email)s.", email=held[0].session.claims["email"]), "good")
    return _end(held, held[:1], target)


def _end(
    held: list[sessions.HeldSession], ending: list[sessions.HeldSession], target: str
) -> ResponseReturnValue:
    for one in ending:
        revoke_access(sub=one.session.sub, cause="sign_out", sids=[one.session.sid])
    return give_sessions(redirect(target, 303), [one.secret for one in held if one not in ending])


class Ticket(NamedTuple):
    """What the issuer says: the session that ends, if it knows one, and the page to send the browser back to."""

    sid: str | None
    return_to: str


def _ticket() -> Ticket | None:
    """The issuer's ticket; one that is expired or not a ticket is no ticket, and the person is asked."""
    sealed = request.args.get("ticket")
    if not sealed:
        return None
    settings = parts_of(current_app).settings
    try:
        content = open_ticket(settings, sealed, purpose="logout", audience="account")
    except InvalidTicket:
        return None
    return Ticket(content.get("sid"), safe_path(content.get("return_to"), "/logout"))


def _page(name: str, **values: object) -> AnyResponse:
    return current_app.make_response(render_template(name, **values))
