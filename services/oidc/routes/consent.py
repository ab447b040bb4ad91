"""The consent page: what an app wants to do, in words, and the person's answer; and the logos that it shows."""

from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from libs.audit import set_actor
from libs.people.access import public
from libs.people.sessions import Session
from libs.web.headers import allow_form_target
from services.oidc.extensions import limiter
from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.flows.consent import allowed_scopes, give_consent
from services.oidc.flows.logos import find_logo
from services.oidc.flows.resources import in_words
from services.oidc.protocol.authorization.checks import Refused
from services.oidc.protocol.authorization.decision import who_is_there
from services.oidc.protocol.authorization.interactions import Interaction, client_id_of
from services.oidc.routes.authorization_pages import expired_page
from services.oidc.routes.authorize import (
    current_session,
    interactions,
    issue,
    path_of,
    refuse,
    to_path,
)
from services.oidc.scopes import OFFLINE_ACCESS, held_by

bp = Blueprint("consent", __name__)


@bp.route("/oauth2/consent/<interaction_id>", methods=["GET", "POST"])
@public
def ask(interaction_id: str) -> ResponseReturnValue:
    """Show what is asked; a POST carries the answer. Whoever is not signed in as it needs goes back a step."""
    interaction = interactions().find(interaction_id)
    client = find_client(client_id_of(interaction_id))
    if interaction is None or client is None:
        return expired_page(client)
    session = current_session()
    if session is None or not _is_accepted(interaction, client, session):
        return to_path(interaction_id, interaction.ui_locales)
    set_actor(f"user:{session.sub}")
    if not client.may_be_used_by(session.roles):
        return _bar(interaction_id, interaction, client, session)
    scopes = held_by(interaction.consent_scopes, roles=session.roles)
    if request.method == "GET":
        return _question(interaction, client, session, scopes)
    if request.form.get("sub") != session.sub:
        # Another account was chosen in a second tab: ask that person anew.
        return to_path(interaction_id, interaction.ui_locales)
    if request.form.get("answer") != "allow":
        return refuse(interaction_id, Refused("access_denied", "The person did not allow this."))
    give_consent(sub=session.sub, client_id=client.client_id, scopes=scopes)
    return issue(interaction_id, session)


@bp.get("/oauth2/consent/logo/<client_id>")
@limiter.limit("oidc_logo", "300 per minute")
@public
def logo(client_id: str) -> ResponseReturnValue:
    """The picture of an app, from our own origin; where there is none, the first letter of its name."""
    client = find_client(client_id)
    if client is None:
        abort(404)
    found = find_logo(client)
    if found is not None:
        return Response(found.data, mimetype=found.kind, headers={"Cache-Control": "private, max-age=3600"})
    first = next((letter for letter in client.name if letter.isalnum()), "?").upper()
    drawn = render_template("letter.svg", letter=first)
    return Response(drawn, mimetype="image/svg+xml", headers={"Cache-Control": "private, max-age=60"})


def _question(
    interaction: Interaction, client: RegisteredClient, session: Session, scopes: list[str]
) -> ResponseReturnValue:
    """The page, with what was allowed before told apart from what is new."""
    allowed = allowed_scopes(sub=session.sub, client_id=client.client_id)
    plain = [scope for scope in scopes if scope != OFFLINE_ACCESS]
    allow_form_target(interaction.redirect_uri)
    return render_template(
        "consent.html",
        client=client,
        session=session,
        wishes=in_words(scope for scope in plain if scope not in allowed),
        allowed_before=in_words(scope for scope in plain if scope in allowed),
        keeps_access=OFFLINE_ACCESS in scopes,
        app_host=urlsplit(interaction.redirect_uri).hostname,
    )


def _bar(
    interaction_id: str, interaction: Interaction, client: RegisteredClient, session: Session
) -> ResponseReturnValue:
    """Tell the person why they cannot use this app; the way back tells the app."""
    if request.method == "POST":
        return refuse(interaction_id, Refused("access_denied", "The person may not use this app."))
    allow_form_target(interaction.redirect_uri)
    way_back = path_of(interaction_id, interaction.ui_locales)
    return render_template("barred.html", client=client, session=session, way_back=way_back), 403


def _is_accepted(interaction: Interaction, client: RegisteredClient, session: Session) -> bool:
    try:
        return who_is_there(interaction, client, session, has_cookie=False) is None
    except Refused:
        return False
