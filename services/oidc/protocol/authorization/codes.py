"""Authorization codes: a new grant, whose code is its first column."""

from datetime import UTC, datetime

import sqlalchemy as sa
from flask import current_app

from libs.database import utcnow, uuid7
from libs.guard import single_use
from libs.people.sessions import Session
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.subjects import access_revoked_before, remember_subject
from services.oidc.models import Grant
from services.oidc.protocol.authorization.interactions import Interaction
from services.oidc.scopes import OFFLINE_ACCESS, held_by


class SignInRevoked(Exception):
    """All of the person's sessions ended since this one was read; `before` is when, in epoch seconds."""

    def __init__(self, before: int):
        super().__init__()
        self.before = before


def issue_code(interaction: Interaction, session: Session) -> str:
    """Store what the person gave and return the code for it.

    The session's own claims are taken over, so that userinfo can answer before user_changed has arrived.
    A grant without offline_access lives as long as the session can. Raises SignInRevoked.
    """
    settings = parts_of(current_app).settings
    now = utcnow()
    scopes = held_by(interaction.scopes, roles=session.roles)
    is_offline = OFFLINE_ACCESS in scopes
    session_end = datetime.fromtimestamp(session.absolute_end, UTC)
    code, digest = single_use.make()
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
        transaction.execute(
            sa.insert(Grant).values(
                id=uuid7(),
                client_id=interaction.client_id,
                sub=session.sub,
                sid=session.sid,
                is_offline=is_offline,
                scope=" ".join(scopes),
                auth_time=session.auth_time,
                acr=session.acr,
                amr=session.amr,
                roles=session.roles,
                nonce=interaction.nonce,
                redirect_uri=interaction.redirect_uri if interaction.is_redirect_uri_sent else None,
                code_challenge=interaction.code_challenge,
                code_digest=digest,
                code_expires_at=now + settings.CODE_LIFETIME,
                created_at=now,
                expires_at=now + settings.REFRESH_ABSOLUTE_LIFETIME if is_offline else session_end,
            )
        )
    return code
