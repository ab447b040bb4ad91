"""The authorization endpoint: a client's request comes in, and the person is led from step to step."""

import dataclasses
from urllib.parse import urlencode

import redis
from flask import Blueprint, current_app, redirect, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.datastructures import MultiDict

from libs.guard.ratelimit import TooManyTries, wait_in_words
from libs.observe.logs import get_logger
from libs.people import sessions
from libs.people.access import SignInUnavailable, protocol, public
from libs.people.handover import InvalidTicket, open_ticket
from libs.service import parts_of
from services.oidc.flows import refusals
from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.protocol.authorization.checks import CHECKS, REPEATABLE, AuthorizationRequest, Refused
from services.oidc.protocol.authorization.codes import SignInRevoked, issue_code
from services.oidc.protocol.authorization.decision import Step, next_step, sign_in_again
from services.oidc.protocol.authorization.interactions import Interaction, Interactions, client_id_of
from services.oidc.protocol.authorization.responses import code_response, error_response
from services.oidc.protocol.limits import TooManyRequests, admit
from services.oidc.routes.authorization_pages import error_page, expired_page, to_client

bp = Blueprint("authorize", __name__)
log = get_logger("OIDC.authorize")


@bp.route("/oauth2/authorize", methods=["GET", "POST"])
@protocol(
    "clients send browsers here, from other sites too; what happens is what following our redirect would do"
)
def receive() -> ResponseReturnValue:
    """Check a request, and answer or keep it (RFC 6749 §3.1, OpenID Connect Core §3.1.2.1)."""
    settings = parts_of(current_app).settings
    try:
        admit("oidc_authorize")
    except TooManyRequests as refusal:
        raise TooManyTries(wait_in_words(refusal.retry_after), retry_after=refusal.retry_after) from refusal
    asked = _read(settings.PUBLIC_URL)
    try:
        for check in CHECKS:
            check(asked)
    except Refused as refused:
        _note(asked.client.client_id if asked.client else None, refused)
        if not asked.may_redirect:
            return error_page(refused)
        return to_client(error_response(asked, issuer=settings.PUBLIC_URL, refused=refused))
    interaction = Interaction.of(asked)
    if request.method == "GET":
        try:
            if session := _who_needs_no_step(interaction, asked.client):
                return _give_code(interaction, session)
        except SignInRevoked as revoked:
            interaction = _after(interaction, revoked)
        except SQLAlchemyError as error:
            # Our failure must not cost the person their way back: the app may not be able to send this once more.
            log.warning("not_answered_at_once", error=type(error).__name__)
    # A GET of our own: the browser then brings its Lax cookie, whichever site sent it here, and however.
    return to_path(interactions().open(interaction), interaction.ui_locales)


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
    way_back = path_of(interaction_id, interaction.ui_locales)
    if step is Step.RESUME:
        return redirect("/login/resume?" + urlencode({"continue": way_back}), 303)
    if step is Step.APPLY:
        return _to_apply(interaction_id, interaction, way_back)
    if step is Step.SIGN_IN:
        return _to_sign_in(interaction_id, sign_in_again(interaction, client, session), way_back)
    if step is Step.CHOOSE:
        return redirect("/login/choose?" + urlencode({"continue": way_back}), 303)
    if step in (Step.BARRED, Step.CONSENT):
        return redirect(way_back.replace("/authorize/", "/consent/", 1), 303)
    assert session is not None
    return issue(interaction_id, session)


def issue(interaction_id: str, session: sessions.Session) -> ResponseReturnValue:
    """End the interaction with a code."""
    interaction = interactions().end(interaction_id)
    if interaction is None:
        return expired_page(find_client(client_id_of(interaction_id)))
    try:
        return _give_code(interaction, session)
    except SignInRevoked as revoked:
        interactions().give_back(interaction_id, _after(interaction, revoked))
        return to_path(interaction_id, interaction.ui_locales)
    except Exception:
        # Our failure must not cost the person their way back; should Redis be away too, the app starts again.
        try:
            interactions().give_back(interaction_id, interaction)
        except redis.RedisError:
            log.warning("interaction_lost", client_id=interaction.client_id)
        raise


def refuse(interaction_id: str, refused: Refused) -> ResponseReturnValue:
    """End the interaction with an error."""
    interaction = interactions().end(interaction_id)
    if interaction is None:
        return expired_page(find_client(client_id_of(interaction_id)))
    _note(interaction.client_id, refused)
    issuer = parts_of(current_app).settings.PUBLIC_URL
    return to_client(error_response(interaction, issuer=issuer, refused=refused))


def interactions() -> Interactions:
    parts = parts_of(current_app)
    return Interactions(parts.redis, parts.settings)


def current_session() -> sessions.Session | None:
    """Who is signed in; a prompt 503 while nobody can say. Raises SignInUnavailable."""
    try:
        return sessions.current_session()
    except sessions.SessionsUnavailable as error:
        raise SignInUnavailable(retry_after=5) from error


def path_of(interaction_id: str, ui_locales: str | None) -> str:
    """Where the person comes back to from wherever they are sent: short, and ASCII."""
    query = "?" + urlencode({"ui_locales": ui_locales}) if ui_locales else ""
    return f"/oauth2/authorize/{interaction_id}{query}"


def to_path(interaction_id: str, ui_locales: str | None) -> ResponseReturnValue:
    return redirect(path_of(interaction_id, ui_locales), 303)


def _who_needs_no_step(interaction: Interaction, client: RegisteredClient) -> sessions.Session | None:
    """Who brought a session for which nothing is left to ask: the answer needs no second request.

    It is what the redirect to ourselves would come to. Whatever else it would come to goes that way.
    """
    if not sessions.has_cookie(parts_of(current_app).settings):
        return None
    session = current_session()
    try:
        step = next_step(interaction, client, session, has_cookie=True)
    except Refused:
        return None
    return session if step is Step.ISSUE else None


def _give_code(interaction: Interaction, session: sessions.Session) -> ResponseReturnValue:
    """Raises SignInRevoked."""
    code = issue_code(interaction, session)
    log.info("code_issued", client_id=interaction.client_id, sub=session.sub)
    issuer = parts_of(current_app).settings.PUBLIC_URL
    return to_client(code_response(interaction, issuer=issuer, code=code))


def _after(interaction: Interaction, revoked: SignInRevoked) -> Interaction:
    """Only a sign-in after that will do; whoever must not be asked hears login_required."""
    return dataclasses.replace(interaction, fresh_after=max(revoked.before, interaction.fresh_after or 0))


def _to_apply(interaction_id: str, interaction: Interaction, way_back: str) -> ResponseReturnValue:
    """To the form for newcomers, once: whoever comes back from it goes on as whoever they are then."""
    interactions().change(interaction_id, dataclasses.replace(interaction, is_apply_shown=True))
    wishes = {"continue": way_back}
    if interaction.ui_locales:
        wishes["ui_locales"] = interaction.ui_locales
    return redirect("/apply?" + urlencode(wishes), 303)


def _to_sign_in(interaction_id: str, interaction: Interaction, way_back: str) -> ResponseReturnValue:
    interactions().change(interaction_id, interaction)
    wishes = {
        "continue": way_back,
        "fresh_after": interaction.fresh_after,
        "acr": interaction.acr_values[0] if interaction.acr_values else None,
        "login_hint": interaction.login_hint,
        "ui_locales": interaction.ui_locales,
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
    return to_path(interaction_id, interaction.ui_locales)


def _read(issuer: str) -> AuthorizationRequest:
    """The parameters of a GET's query or a POST's form; what stands in both counts as sent twice."""
    sent: MultiDict[str, str] = MultiDict(request.args)
    sent.update(request.form)
    parameters = {name: value for name, value in sent.items() if value}
    if resources := " ".join(sent.getlist(REPEATABLE)).strip():
        parameters[REPEATABLE] = resources
    return AuthorizationRequest(
        parameters=parameters,
        repeated=frozenset(name for name, values in sent.lists() if len(values) > 1 and name != REPEATABLE),
        issuer=issuer,
    )


def _note(client_id: str | None, refused: Refused) -> None:
    """For whoever reads the log, and for staff who are asked about this request."""
    log.warning(
        "authorization_refused",
        client_id=client_id,
        error=refused.error,
        reason=refused.description,
        detail=refused.detail or None,
    )
    refusals.remember(
        endpoint="authorize",
        client_id=client_id,
        error=refused.error,
        description=refused.description,
        detail=refused.detail or None,
    )
