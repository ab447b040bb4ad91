"""RP-initiated logout: a client's wish, our question where it is needed, and the last word."""

from flask import Blueprint, current_app, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from libs.observe.logs import get_logger
from libs.people import sessions
from libs.people.access import protocol, public
from libs.service import parts_of
from libs.web.headers import allow_form_target
from services.oidc.flows.clients.registered import find_client
from services.oidc.flows.logout import account_path, done_path, open_done, open_question, question_path
from services.oidc.protocol.logout import read_wish

bp = Blueprint("logout", __name__)
log = get_logger("OIDC.logout")


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
    return redirect(question_path(departure, ui_locales=sent.get("ui_locales")), 303)


@bp.route("/oauth2/logout/question", methods=["GET", "POST"])
@public
def ask() -> ResponseReturnValue:
    """Ask, unless the client has shown by a hint that this person is its user, or nobody is signed in."""
    departure = open_question(request.args.get("ticket", ""))
    if departure is None:
        return redirect("/logout", 303)
    try:
        session = sessions.current_session()
    except sessions.SessionsUnavailable:
        session = None
    if session is None and not sessions.has_cookie(parts_of(current_app).settings):
        return redirect(done_path(departure), 303)
    if session is None:
        # account knows from its rows who this is, and asks by itself where the client could not name the session.
        return redirect(account_path(departure, sid=departure.sid), 303)
    if request.method == "POST" or departure.sub == session.sub:
        return redirect(account_path(departure, sid=session.sid), 303)
    allow_form_target(departure.redirect_uri or "/")
    client = find_client(departure.client_id)
    return render_template("logout_question.html", client=client)


@bp.get("/oauth2/logout/done")
@public
def done() -> ResponseReturnValue:
    """Back to the app where it asked for that, else "Signed out"."""
    target = open_done(request.args.get("ticket", ""))
    if target is not None:
        return redirect(target, 303)
    try:
        if sessions.current_session() is not None:
            return redirect("/logout", 303)  # nobody has signed out yet
    except sessions.SessionsUnavailable:
        pass
    return render_template("signed_out.html")
