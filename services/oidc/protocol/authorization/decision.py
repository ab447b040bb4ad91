"""What comes next for an interaction: restore the session, sign in, ask for consent, or issue the code."""

import dataclasses
from enum import Enum

from libs.people.sessions import Session
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.flows.consent import has_consented
from services.oidc.protocol.authorization.checks import Refused
from services.oidc.protocol.authorization.interactions import Interaction
from services.oidc.scopes import held_by


class Step(Enum):
    RESUME = "resume"
    """There is a cookie whose copy is missing: account may know it."""
    SIGN_IN = "sign_in"
    CHOOSE = "choose"
    """Somebody is signed in, and the request wants the person to say as whom they go on."""
    CONSENT = "consent"
    ISSUE = "issue"


def who_is_there(interaction: Interaction, session: Session | None, *, has_cookie: bool) -> Step | None:
    """What is missing about the person, None when nothing. Raises Refused (OpenID Connect Core §3.1.2.6)."""
    is_silent = "none" in interaction.prompts
    if session is None:
        if has_cookie:
            return Step.RESUME
        if is_silent:
            raise Refused("login_required", "Nobody is signed in.")
        return Step.SIGN_IN
    if "select_account" in interaction.prompts and not _has_chosen(interaction, session):
        return Step.CHOOSE
    if not _is_fresh(interaction, session):
        if is_silent:
            raise Refused("login_required", "The person has to sign in again.")
        return Step.SIGN_IN
    if interaction.hint_sub is not None and interaction.hint_sub != session.sub:
        # Somebody else signed in although asked for by name.
        raise Refused("login_required", "Another person is signed in than the id_token_hint names.")
    return None


def next_step(
    interaction: Interaction, client: RegisteredClient, session: Session | None, *, has_cookie: bool
) -> Step:
    """The next step. Raises Refused."""
    missing = who_is_there(interaction, session, has_cookie=has_cookie)
    if missing is not None:
        return missing
    assert session is not None
    if not held_by(interaction.scopes, roles=session.roles):
        raise Refused("access_denied", "The person has no role that this needs.")
    if not needs_consent(interaction, client, session):
        return Step.ISSUE
    if "none" in interaction.prompts:
        raise Refused("consent_required", "The person has not allowed this yet.")
    return Step.CONSENT


def needs_consent(interaction: Interaction, client: RegisteredClient, session: Session) -> bool:
    """Whether the person has to be asked. `prompt=consent` asks always, our own apps never else."""
    if "consent" in interaction.prompts:
        return True
    if client.is_first_party:
        return False
    if client.application_type == "native" and not interaction.redirect_uri.startswith("https://"):
        # Another app on the device could pose as this one (RFC 8252 §8.6).
        return True
    scopes = held_by(interaction.scopes, roles=session.roles)
    return not has_consented(sub=session.sub, client_id=client.client_id, scopes=scopes)


def sign_in_again(interaction: Interaction, session: Session | None) -> Interaction:
    """The interaction as it is kept while the person signs in: how young that sign-in must be.

    A session that is there but not accepted is outdated by at least a second, the grain of `auth_time`,
    so that account does not accept it either.
    """
    fresh_after = None
    if session is None and "select_account" in interaction.prompts:
        # Whoever signs in where nobody was has chosen by it.
        fresh_after = interaction.created_at
    if _wants_new_sign_in(interaction) or (session is not None and not _is_hinted(interaction, session)):
        fresh_after = interaction.created_at
    elif interaction.max_age is not None:
        fresh_after = interaction.created_at - interaction.max_age
    if interaction.fresh_after is not None:
        fresh_after = max(fresh_after or 0, interaction.fresh_after)
    if fresh_after is not None and session is not None:
        fresh_after = max(fresh_after, session.auth_time + 1)
    return dataclasses.replace(interaction, fresh_after=fresh_after)


def _is_fresh(interaction: Interaction, session: Session) -> bool:
    if interaction.fresh_after is not None:
        return session.auth_time >= interaction.fresh_after
    if _wants_new_sign_in(interaction) or not _is_hinted(interaction, session):
        return False
    return interaction.max_age is None or interaction.created_at - session.auth_time <= interaction.max_age


def _wants_new_sign_in(interaction: Interaction) -> bool:
    return "login" in interaction.prompts or interaction.max_age == 0


def _has_chosen(interaction: Interaction, session: Session) -> bool:
    """Chosen on account's page, or signed in since the request came, or since we asked for a sign-in."""
    if interaction.chosen_sid == session.sid or session.auth_time > interaction.created_at:
        return True
    return interaction.fresh_after is not None and session.auth_time >= interaction.fresh_after


def _is_hinted(interaction: Interaction, session: Session) -> bool:
    return interaction.hint_sub is None or interaction.hint_sub == session.sub
