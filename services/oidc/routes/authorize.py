"""The authorization endpoint: a client's request comes in, and the person is led from step to step."""

import dataclasses
from urllib.parse import urlencode, urlsplit

import redis
from flask import Blueprint, Response, current_app, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from werkzeug.datastructures import MultiDict

from libs.observe.logs import correlation_id, get_logger
from libs.people import sessions
from libs.people.access import SignInUnavailable, protocol, public
from libs.people.handover import InvalidTicket, open_ticket
from libs.service import parts_of
from services.oidc.extensions import limiter
from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.protocol.authorization.checks import CHECKS, AuthorizationRequest, Refused
from services.oidc.protocol.authorization.codes import SignInRevoked, issue_code
from services.oidc.protocol.authorization.decision import Step, next_step, sign_in_again
from services.oidc.protocol.authorization.interactions import Interaction, Interactions, client_id_of
from services.oidc.protocol.authorization.responses import code_response, error_response

bp = Blueprint("authorize", __name__)
log = get_logger("OIDC.authorize")


@bp.route("/oauth2/authorize", methods=["GET", "POST"])
@limiter.limit("oidc_authorize", "600 per minute")
@protocol("clients send browsers here, from other sites too; nothing happens yet")
def receive() -> ResponseReturnValue:
    """Check a request and keep it (RFC 6749 §3.1, OpenID Connect Core §3.1.2.1)."""
    settings = parts_of(current_app).settings
    asked = _read(settings.PUBLIC_URL)
    try:
        for check in CHECKS:
            check(asked)
    except Refused as refused:
        _log(asked.get("client_id") if asked.client else None, refused)
        if not asked.may_redirect:
            return error_page(refused)
        return to_client(
            error_response(asked.redirect_uri, issuer=settings.PUBLIC_URL, state=asked.state, refused=refused)
        )
    interaction_id = interactions().open(Interaction.of(asked))
    # A GET of our own: the browser then brings its Lax cookie, whichever site sent it here, and however.
    return to_path(interaction_id, asked.get("ui_locales"))


@bp.get("/oauth2/authorize/<interaction_id>")
@public
def go_on(interaction_id: str) -> ResponseReturnValue:
    """Find the next step and take it."""
    interaction = interactions().find(interaction_id)
    client = find_client(client_id_of(interaction_id))
    if interaction is None or client is None:
        return expired_page(client)
    session = current_session()
    if session is not None and "ticket" in request.args:
        return _note_choice(interaction_id, interaction, session)
    has_cookie = sessions.has_cookie(parts_of(current_app).settings)
    try:
        step = next_step(interaction, client, session, has_cookie=has_cookie)
    except Refused as refused:
        return refuse(interaction_id, refused)
    if step is Step.RESUME:
        return redirect("/login/resume?" + urlencode({"continue": _here()}), 303)
    if step is Step.SIGN_IN:
        return _to_sign_in(interaction_id, interaction, session)
    if step is Step.CHOOSE:
        return redirect("/login/choose?" + urlencode({"continue": _here()}), 303)
    if step is Step.CONSENT:
        return redirect(request.full_path.rstrip("?").replace("/authorize/", "/consent/", 1), 303)
    assert session is not None
    return issue(interaction_id, session)


def issue(interaction_id: str, session: sessions.Session) -> ResponseReturnValue:
    """End the interaction with a code."""
    interaction = interactions().end(interaction_id)
    if interaction is None:
        return expired_page(find_client(client_id_of(interaction_id)))
    try:
        code = issue_code(interaction, session)
    except SignInRevoked as revoked:
        # Only a sign-in after that will do; whoever must not be asked hears login_required.
        fresh_after = max(revoked.before, interaction.fresh_after or 0)
        interactions().give_back(interaction_id, dataclasses.replace(interaction, fresh_after=fresh_after))
        return to_path(interaction_id, interaction.ui_locales)
    except Exception:
        # Our failure must not cost the person their way back; should Redis be away too, the app starts again.
        try:
            interactions().give_back(interaction_id, interaction)
        except redis.RedisError:
            log.warning("interaction_lost", client_id=interaction.client_id)
        raise
    log.info("code_issued", client_id=interaction.client_id, sub=session.sub)
    issuer = parts_of(current_app).settings.PUBLIC_URL
    return to_client(
        code_response(interaction.redirect_uri, issuer=issuer, state=interaction.state, code=code)
    )


def refuse(interaction_id: str, refused: Refused) -> ResponseReturnValue:
    """End the interaction with an error."""
    interaction = interactions().end(interaction_id)
    if interaction is None:
        return expired_page(find_client(client_id_of(interaction_id)))
    _log(interaction.client_id, refused)
    issuer = parts_of(current_app).settings.PUBLIC_URL
    return to_client(
        error_response(interaction.redirect_uri, issuer=issuer, state=interaction.state, refused=refused)
    )


def interactions() -> Interactions:
    parts = parts_of(current_app)
    return Interactions(parts.redis, parts.settings)


def current_session() -> sessions.Session | None:
    """Who is signed in; a prompt 503 while nobody can say. Raises SignInUnavailable."""
    try:
        return sessions.current_session()
    except sessions.SessionsUnavailable as error:
        raise SignInUnavailable(retry_after=5) from error


def to_path(interaction_id: str, ui_locales: str | None) -> ResponseReturnValue:
    query = "?" + urlencode({"ui_locales": ui_locales}) if ui_locales else ""
    return redirect(f"/oauth2/authorize/{interaction_id}{query}", 303)


def to_client(address: str) -> ResponseReturnValue:
    """303, so that a POST's body is never sent on (RFC 9700 §4.12)."""
    response = Response("", 303, {"Location": address, "Cache-Control": "no-store"})
    response.autocorrect_location_header = False
    return response


def error_page(refused: Refused) -> ResponseReturnValue:
    """Until the address to return to is proven, nobody is sent anywhere (RFC 6749 §4.1.2.1)."""
    reasons = {
        "The app that sent you here is not registered.": gettext(
            "The app that sent you here is not registered."
        ),
        "The app did not register the address that it wants to return to.": gettext(
            "The app did not register the address that it wants to return to."
        ),
    }
    reason = reasons.get(refused.description) or gettext("The app sent a request that cannot be understood.")
    page = render_template("authorize_error.html", reason=reason, correlation_id=correlation_id())
    return page, 400, {"Cache-Control": "no-store"}


def expired_page(client: RegisteredClient | None) -> ResponseReturnValue:
    """The interaction has ended or is too old: the way on leads back to the app."""
    return render_template("authorize_expired.html", client=client, app_url=_app_url(client)), 410


def _app_url(client: RegisteredClient | None) -> str | None:
    """Where the app lives, as far as its registered addresses tell."""
    for uri in client.redirect_uris if client else ():
        parts = urlsplit(uri)
        if parts.scheme in ("http", "https"):
            return f"{parts.scheme}://{parts.netloc}/"
    return None


def _to_sign_in(
    interaction_id: str, interaction: Interaction, session: sessions.Session | None
) -> ResponseReturnValue:
    changed = sign_in_again(interaction, session)
    if changed != interaction:
        interactions().change(interaction_id, changed)
    wishes = {
        "continue": _here(),
        "fresh_after": changed.fresh_after,
        "login_hint": changed.login_hint,
        "ui_locales": changed.ui_locales,
    }
    return redirect(
        "/login?" + urlencode({name: value for name, value in wishes.items() if value is not None}), 303
    )


def _note_choice(
    interaction_id: str, interaction: Interaction, session: sessions.Session
) -> ResponseReturnValue:
    """Back from account's page of accounts, with a ticket that says which one was chosen there, for this request.

    A ticket that is none is no choice, and the person is asked again.
    """
    try:
        chosen = open_ticket(
            parts_of(current_app).settings,
            request.args["ticket"],
            purpose="account_chosen",
            audience="oidc",
        )
    except InvalidTicket:
        chosen = {}
    if chosen.get("path") == request.path and chosen.get("sid") == session.sid:
        changed = dataclasses.replace(interaction, chosen_sid=session.sid, login_hint=session.claims["email"])
        interactions().change(interaction_id, changed)
    return to_path(interaction_id, request.args.get("ui_locales"))


def _here() -> str:
    return request.full_path.rstrip("?")


def _read(issuer: str) -> AuthorizationRequest:
    """The parameters of a GET's query or a POST's form; what stands in both counts as sent twice."""
    sent: MultiDict[str, str] = MultiDict(request.args)
    sent.update(request.form)
    return AuthorizationRequest(
        parameters={name: value for name, value in sent.items() if value},
        repeated=frozenset(name for name, values in sent.lists() if len(values) > 1),
        issuer=issuer,
    )


def _log(client_id: str | None, refused: Refused) -> None:
    log.warning(
        "authorization_refused",
        client_id=client_id,
        error=refused.error,
        reason=refused.description,
        detail=refused.detail or None,
    )
