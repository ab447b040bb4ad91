"""Authorization codes: a new grant, whose code is its first column."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import current_app

from libs.database import utcnow, uuid7
from libs.guard import single_use
from libs.people.sessions import Session
from libs.prepared import Prepared
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.clients.finding import still_there
from services.oidc.flows.subjects import access_revoked_before, remember_subject
from services.oidc.models import Grant, Subject
from services.oidc.protocol.authorization import strength
from services.oidc.protocol.authorization.interactions import Interaction
from services.oidc.scopes import OFFLINE_ACCESS, held_by


class SignInRevoked(Exception):
    """All of the person's sessions ended since this one was read; `before` is when, in epoch seconds."""

    def __init__(self, before: int):
        super().__init__()
        self.before = before


def issue_code(interaction: Interaction, session: Session) -> str:
    """Store what the person gave and return the code for it.

    A grant without offline_access lives as long as the session can. Raises SignInRevoked.
    """
    settings = parts_of(current_app).settings
    acr = session.acr
    if interaction.is_acr_essential:
        # Whoever insists on certain words gets one of them (OpenID Connect Core §5.5.1.1).
        acr = strength.strongest_met(session.acr, interaction.acr_values) or acr
    code, digest = single_use.make()
    store_grant(
        session,
        client_id=interaction.client_id,
        scopes=held_by(interaction.scopes, roles=session.roles),
        code_digest=digest,
        code_lifetime=settings.CODE_LIFETIME,
        resources=interaction.resources,
        claims_request=interaction.claims_request,
        acr=acr,
        nonce=interaction.nonce,
        redirect_uri=interaction.redirect_uri if interaction.is_redirect_uri_sent else None,
        code_challenge=interaction.code_challenge,
    )
    return code


def store_grant(
    session: Session,
    *,
    client_id: str,
    scopes: Sequence[str],
    code_digest: str,
    code_lifetime: timedelta,
    **more: Any,
) -> None:
    """Store what a person gave a client, under the hash of the code for it; `more` are further columns.

    Raises SignInRevoked, UnknownClient, and IntegrityError where the code has a grant already.
    """
    settings = parts_of(current_app).settings
    now = utcnow()
    is_offline = OFFLINE_ACCESS in scopes
    session_end = datetime.fromtimestamp(session.absolute_end, UTC)
    grant = {
        "id": uuid7(),
        "kind": "authorization_code",
        "client_id": client_id,
        "sub": session.sub,
        "sid": session.sid,
        "is_offline": is_offline,
        "scope": " ".join(scopes),
        "resources": [],
        "claims_request": None,
        "auth_time": session.auth_time,
        "acr": session.acr,
        "amr": session.amr,
        "roles": session.roles,
        "nonce": None,
        "redirect_uri": None,
        "code_challenge": None,
        "code_digest": code_digest,
        "code_expires_at": now + code_lifetime,
        "created_at": now,
        "expires_at": now + settings.REFRESH_ABSOLUTE_LIFETIME if is_offline else session_end,
        **more,
    }
    with still_there(client_id):
        if db.fetch_one(_STORE_FOR_KNOWN, {**grant, "known_version": session.claims_version}) is None:
            _store_with_snapshot(grant, session)


_COLUMNS = (
    *("id", "kind", "client_id", "sub", "sid", "is_offline", "scope", "resources", "claims_request"),
    *("auth_time", "acr", "amr", "roles", "nonce", "redirect_uri", "code_challenge"),
    *("code_digest", "code_expires_at", "created_at", "expires_at"),
)


def _store_for_known() -> sa.Insert:
    """The usual case as one statement: a person of whom nothing newer is in the session, and whose sign-in holds.

    Its lock on the person's row is the one that ending all access (flows/revoking.py) and withdrawing consent
    (flows/apps.py) wait for, and find what is stored here; where they were first this waits, looks at the row
    as they left it, and stores nothing. docs/decisions/0015.
    """
    values = {
        name: sa.cast(sa.bindparam(name, type_=Grant.__table__.c[name].type), Grant.__table__.c[name].type)
        for name in _COLUMNS
    }
    person = (
        sa.select(Subject.sub)
        .where(
            Subject.sub == values["sub"],
            Subject.version >= sa.bindparam("known_version", type_=sa.Integer),
            Subject.status == "active",
            Subject.revoked_before <= values["auth_time"],
        )
        .with_for_update(read=True)
        .cte("person")
    )
    return (
        sa.insert(Grant)
        .from_select(_COLUMNS, sa.select(*values.values()).select_from(person), include_defaults=False)
        .returning(Grant.id)
    )


_STORE_FOR_KNOWN = Prepared(_store_for_known())


def _store_with_snapshot(grant: dict[str, Any], session: Session) -> None:
    """Take the session's own claims over first, so that userinfo can answer before user_changed has arrived.

    Raises SignInRevoked.
    """
    with db.transaction() as transaction:
        remember_subject(
            sub=session.sub,
            version=session.claims_version,
            status=session.status,
            roles=session.roles,
            claims=session.claims,
            is_from_session=True,
        )
        revoked_before = access_revoked_before(session.sub)
        if session.auth_time < revoked_before:
            raise SignInRevoked(revoked_before)
        transaction.execute(sa.insert(Grant).values(**grant))
