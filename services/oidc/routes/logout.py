"""RP-initiated logout: a client's wish, our question where it is needed, and the last word."""

import redis
from flask import Blueprint, current_app, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from libs.observe.logs import get_logger
from libs.people import sessions
from libs.people.access import protocol, public
from libs.people.sessions import Session
from libs.service import parts_of
from libs.web.headers import allow_form_target, allow_frames
from services.oidc.flows.clients.registered import find_client
from services.oidc.flows.logout import (
    account_path,
    done_path,
    open_done,
    open_ended,
    open_question,
    question_path,
)
from services.oidc.protocol.frontchannel_logout import frames_of
from services.oidc.protocol.logout import read_wish, who_is_asked, who_leaves

bp = Blueprint("logout", __name__)
log = get_logger("OIDC.logout")

FRAMES_S = 3
"""How long the frames of the last page have before it goes on by itself."""


@bp.route("/oauth2/logout", methods=["GET", "POST"])
@protocol("clients send browsers here, from other sites too; nothing ends yet")
def receive() -> ResponseReturnValue:
    """Read a client's wish and go on by a GET of our own, which brings the Lax cookie."""
    sent: MultiDict[str, str] = MultiDict(request.args)
    sent.update(request.form)
    departure = read_wish(
        {name: value for name, value in sent.items() if value},
        repeated=any(len(values) > 1 for _, values in sent.lists()),
        issuer=parts_of(current_app).settings.PUBLIC_URL,
    )
    log.info("logout_requested", client_id=departure.client_id, has_hint=departure.sub is not None)
    return redirect(question_path(departure), 303)


@bp.route("/oauth2/logout/question", methods=["GET", "POST"])
@public
def ask() -> ResponseReturnValue:
    """Ask, unless the client has shown by a hint that this person is its user, or nobody is signed in."""
    departure = open_question(request.args.get("ticket", ""))
    if departure is None:
        return redirect("/logout", 303)
    held = _held()
    if not held and not sessions.has_cookie(parts_of(current_app).settings):
        return redirect(done_path(departure), 303)
    client = find_client(departure.client_id)
    if not held:
        # account knows from its rows who this is, and asks by itself where the client could not name the session.
        sid = departure.sid if client is not None and client.subject_type == "public" else None
        return redirect(account_path(departure, sid=sid, is_hint=True), 303)
    leaving = who_leaves(departure, client, held)
    if leaving is None and request.method == "POST":
        # The account that the page named, whatever became the current one since.
        leaving = next((one for one in held if one.sid == request.form.get("sid")), None)
    if leaving is not None:
        return redirect(account_path(departure, sid=leaving.sid), 303)
    allow_form_target(departure.redirect_uri or "/")
    account = who_is_asked(departure, client, held)
    return render_template("logout_question.html", client=client, account=account)


@bp.get("/oauth2/logout/done")
@public
def done() -> ResponseReturnValue:
    """The last word: apps are told in frames, then back to the app where it asked for that, else "Signed out"."""
    ended = open_ended(request.args.get("ended", ""))
    target = open_done(request.args.get("ticket", "")) or ended.return_to
    frames = allow_frames(frames_of(ended.sessions, issuer=parts_of(current_app).settings.PUBLIC_URL))
    if target is not None and not frames:
        return redirect(target, 303)
    if target is None and not ended.sessions and _held():
        return redirect("/logout", 303)  # nobody has signed out yet
    page = make_response(render_template("signed_out.html", frames=frames, target=target, seconds=FRAMES_S))
    page.headers["Referrer-Policy"] = "no-referrer"  # the address holds a ticket
    return page


def _held() -> list[Session]:
    """The accounts that this browser is signed in to, as far as their copies can be read; the current one first."""
    parts = parts_of(current_app)
    try:
        copies = [
            sessions.read_copy(parts.redis, sessions.secret_digest(secret), parts.settings)
            for secret in sessions.cookie_secrets(parts.settings)
        ]
    except redis.RedisError:
        return []
    return [one for one in copies if one is not None and one.status == "active"]
