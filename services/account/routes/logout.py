"""/logout: the question and its answer, and the way out that an app asked for at the issuer.

What has ended the browser itself tells the issuer, by a sealed ticket: its last page visits the apps of that session.
"""

from typing import NamedTuple
from urllib.parse import urlencode

from flask import Blueprint, current_app, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from werkzeug.wrappers import Response as AnyResponse

from libs.people.access import public
from libs.people.handover import InvalidTicket, open_ticket, seal_ticket
from libs.service import parts_of
from libs.web.headers import allow_form_target
from libs.web.redirects import safe_path
from services.account.flows import sessions
from services.account.flows.revoking import revoke_access
from services.account.routes.browser import brings_cookie, give_sessions, held_secrets

bp = Blueprint("logout", __name__)

LAST_WORD = "/oauth2/logout/done"
"""The issuer's page after a sign-out."""


@bp.get("/logout")
@public
def ask() -> ResponseReturnValue:
    """Ask, unless the issuer has: its ticket names the session that ends, if this browser holds it."""
    held = sessions.held_sessions(secrets=held_secrets())
    ticket = _ticket()
    if ticket is not None and ticket.sid is not None:
        named = [one for one in held if one.session.sid == ticket.sid]
        if named or not ticket.is_hint:
            return _end(held, named, ticket.return_to)
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
    target = ticket.return_to if ticket else LAST_WORD
    if "only" not in request.form or len(held) < 2:
        return _end(held, held, target if held or ticket else "/logout")
    if ticket is None:
        flash(gettext("You signed out of %(email)s.", email=held[0].session.claims["email"]), "good")
    return _end(held, held[:1], target, return_to=None if ticket else "/account")


def _end(
    held: list[sessions.HeldSession],
    ending: list[sessions.HeldSession],
    target: str,
    *,
    return_to: str | None = None,
) -> ResponseReturnValue:
    for one in ending:
        revoke_access(sub=one.session.sub, cause="sign_out", sids=[one.session.sid])
    if ending:
        target += ("&" if "?" in target else "?") + urlencode({"ended": _ended(ending, return_to)})
    return give_sessions(redirect(target, 303), [one.secret for one in held if one not in ending])


def _ended(ending: list[sessions.HeldSession], return_to: str | None) -> str:
    """What the issuer's last page relies on: the sessions that are over, and where to go on to after it."""
    content = {
        "sessions": [{"sub": one.session.sub, "sid": one.session.sid} for one in ending],
        "return_to": return_to,
    }
    return seal_ticket(
        parts_of(current_app).settings, purpose="logout-ended", audience="oidc", content=content
    )


class Ticket(NamedTuple):
    """What the issuer says: the session that ends, if it knows one, and the page to send the browser back to."""

    sid: str | None
    return_to: str
    is_hint: bool
    """Nobody has looked whether this browser holds that session."""


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
    return_to = safe_path(content.get("return_to"), LAST_WORD)
    return Ticket(content.get("sid"), return_to, bool(content.get("is_hint")))


def _page(name: str, **values: object) -> AnyResponse:
    return current_app.make_response(render_template(name, **values))
