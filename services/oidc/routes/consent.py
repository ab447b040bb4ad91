"""The consent page: what an app wants to do, in words, and the person's answer."""

from urllib.parse import urlsplit

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from libs.audit import set_actor
from libs.people.access import public
from libs.people.sessions import Session
from libs.web.headers import allow_form_target
from services.oidc.flows.clients.registered import find_client
from services.oidc.flows.consent import give_consent
from services.oidc.flows.resources import in_words
from services.oidc.protocol.authorization.checks import Refused
from services.oidc.protocol.authorization.decision import who_is_there
from services.oidc.protocol.authorization.interactions import Interaction, client_id_of
from services.oidc.routes.authorize import (
    current_session,
    expired_page,
    interactions,
    issue,
    refuse,
    to_path,
)
from services.oidc.scopes import held_by

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
    if session is None or not _is_accepted(interaction, session):
        return to_path(interaction_id, interaction.ui_locales)
    set_actor(f"user:{session.sub}")
    scopes = held_by(interaction.scopes, roles=session.roles)
    if request.method == "GET":
        allow_form_target(interaction.redirect_uri)
        return render_template(
            "consent.html",
            client=client,
            session=session,
            wishes=in_words(scopes),
            app_host=urlsplit(interaction.redirect_uri).hostname,
        )
    if request.form.get("sub") != session.sub:
        # Another account was chosen in a second tab: ask that person anew.
        return to_path(interaction_id, interaction.ui_locales)
    if request.form.get("answer") != "allow":
        return refuse(interaction_id, Refused("access_denied", "The person did not allow this."))
    give_consent(sub=session.sub, client_id=client.client_id, scopes=scopes)
    return issue(interaction_id, session)


def _is_accepted(interaction: Interaction, session: Session) -> bool:
    try:
        return who_is_there(interaction, session, has_cookie=False) is None
    except Refused:
        return False
