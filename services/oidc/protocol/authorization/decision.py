"""What comes next for an interaction: restore the session, apply, sign in, choose, ask for consent, issue the code."""

import dataclasses
from enum import Enum

from libs.people.sessions import Session
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.flows.consent import has_consented
from services.oidc.flows.pairwise import subject_for
from services.oidc.protocol.authorization import strength
from services.oidc.protocol.authorization.checks import Refused
from services.oidc.protocol.authorization.interactions import Interaction
from services.oidc.scopes import held_by


class Step(Enum):
    RESUME = "resume"
    """There is a cookie whose copy is missing: account may know it."""
    APPLY = "apply"
    """The request wants the person to open an account first (Initiating User Registration 1.0 §4)."""
    SIGN_IN = "sign_in"
    CHOOSE = "choose"
    """Somebody is signed in, and the request wants the person to say as whom they go on."""
    BARRED = "barred"
    """The app is for people with roles that this person does not have."""
    CONSENT = "consent"
    ISSUE = "issue"


def who_is_there(
    interaction: Interaction, client: RegisteredClient, session: Session | None, *, has_cookie: bool
) -> Step | None:
    """What is missing about the person, None when nothing. Raises Refused (OpenID Connect Core §3.1.2.6)."""
    is_silent = "none" in interaction.prompts
    if session is None and has_cookie:
        return Step.RESUME
    if session is None and is_silent:
        raise Refused("login_required", "Nobody is signed in.")
    if _wants_to_apply(interaction, session):
        return Step.APPLY
    if session is None:
        return Step.SIGN_IN
    if "select_account" in interaction.prompts and not _has_chosen(interaction, session):
        return Step.CHOOSE
    if not _is_fresh(interaction, client, session):
        if is_silent:
            raise Refused("login_required", "The person has to sign in again.")
        return Step.SIGN_IN
    if not _is_named(interaction, client, session):
        # Somebody else signed in although asked for by name.
        raise Refused("login_required", "Another person is signed in than the request names.")
    return _missing_strength(interaction, session)


def next_step(
    interaction: Interaction, client: RegisteredClient, session: Session | None, *, has_cookie: bool
) -> Step:
    """The next step. Raises Refused."""
    missing = who_is_there(interaction, client, session, has_cookie=has_cookie)
    if missing is not None:
        return missing
    assert session is not None
    if not client.may_be_used_by(session.roles):
        if "none" in interaction.prompts:
            raise Refused("access_denied", "The person may not use this app.")
        return Step.BARRED
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
    scopes = held_by(interaction.consent_scopes, roles=session.roles)
    return not has_consented(sub=session.sub, client_id=client.client_id, scopes=scopes)


def sign_in_again(interaction: Interaction, client: RegisteredClient, session: Session | None) -> Interaction:
    """The interaction as it is kept while the person signs in: how young that sign-in must be.

    A session that is there but too old, or somebody else's, is outdated by at least a second, the grain of
    `auth_time`, so that account does not accept it either. One that is only too weak is left to account, which
    knows whether the person has anything stronger to show; that is asked for once. Where nothing else will do it
    is asked for once more of whoever had to sign in anyway, and may have taken the wrong way.
    """
    bounds = [interaction.fresh_after] if interaction.fresh_after is not None else []
    if session is None and "select_account" in interaction.prompts:
        # Whoever signs in where nobody was has chosen by it.
        bounds.append(interaction.created_at)
    if _wants_new_sign_in(interaction) or (
        session is not None and not _is_named(interaction, client, session)
    ):
        bounds.append(interaction.created_at)
    if interaction.max_age is not None:
        bounds.append(interaction.created_at - interaction.max_age)
    if bounds and session is not None and not _is_fresh(interaction, client, session):
        bounds.append(session.auth_time + 1)
    asks_for_acr = bool(interaction.acr_values) and (session is not None or not interaction.is_acr_essential)
    return dataclasses.replace(
        interaction,
        fresh_after=max(bounds, default=None),
        is_acr_asked=interaction.is_acr_asked or asks_for_acr,
    )


def _wants_to_apply(interaction: Interaction, session: Session | None) -> bool:
    """Once; whoever signed in since the request came has an account, and said so."""
    if "create" not in interaction.prompts or interaction.is_apply_shown:
        return False
    return session is None or session.auth_time <= interaction.created_at


def _is_fresh(interaction: Interaction, client: RegisteredClient, session: Session) -> bool:
    if interaction.fresh_after is not None:
        return session.auth_time >= interaction.fresh_after
    if _wants_new_sign_in(interaction) or not _is_named(interaction, client, session):
        return False
    return interaction.max_age is None or interaction.created_at - session.auth_time <= interaction.max_age


def _wants_new_sign_in(interaction: Interaction) -> bool:
    return "login" in interaction.prompts or interaction.max_age == 0


def _has_chosen(interaction: Interaction, session: Session) -> bool:
    """Chosen on account's page, or signed in since the request came, or since we asked for a sign-in."""
    if interaction.chosen_sid == session.sid or session.auth_time > interaction.created_at:
        return True
    since = interaction.fresh_after
    return since is not None and session.auth_time >= max(since, interaction.created_at)


def _is_named(interaction: Interaction, client: RegisteredClient, session: Session) -> bool:
    """Whether this is somebody as whom the request wants the person, by the number that the client knows."""
    return interaction.named_subs is None or subject_for(client, session.sub) in interaction.named_subs


def _missing_strength(interaction: Interaction, session: Session) -> Step | None:
    """A stronger sign-in, where it is asked for and was not tried yet. Raises Refused (Core §5.5.1.1)."""
    if not interaction.acr_values:
        return None
    if interaction.is_acr_essential:
        if strength.strongest_met(session.acr, interaction.acr_values) is not None:
            return None
        if "none" in interaction.prompts:
            raise Refused("login_required", "The person has to sign in more strongly.")
        if interaction.is_acr_asked:
            raise Refused(
                "unmet_authentication_requirements", "The person cannot sign in as strongly as this."
            )
        return Step.SIGN_IN
    if strength.is_as_strong(session.acr, interaction.acr_values[0]) or interaction.is_acr_asked:
        return None
    return None if "none" in interaction.prompts else Step.SIGN_IN
