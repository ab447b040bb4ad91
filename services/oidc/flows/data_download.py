"""What the issuer holds about a person who asks for it; of tokens only that they were given, never their hashes."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from libs.messaging.events import OIDCDataCollected
from services.oidc.extensions import db, outbox
from services.oidc.models import AccessToken, Client, Consent, Grant, RefreshToken, Subject

MOST_GRANTS = 5000


def collect(*, request_id: str, sub: str) -> None:
    """Answer account with everything about the person."""
    with db.transaction():
        outbox.record(OIDCDataCollected(request_id=request_id, content=_everything(sub)))


def _everything(sub: str) -> dict[str, Any]:
    tokens = (
        sa.select(sa.func.count().label("kept"), sa.func.max(RefreshToken.created_at).label("last"))
        .where(RefreshToken.grant_id == Grant.id)
        .lateral()
    )
    opaque = (
        sa.select(sa.func.count())
        .where(AccessToken.grant_id == Grant.id, AccessToken.grant_id.is_not(None))
        .scalar_subquery()
    )
    subject = db.session.execute(
        sa.select(Subject.sub, Subject.status, Subject.roles, Subject.claims, Subject.updated_at).where(
            Subject.sub == sub
        )
    ).one_or_none()
    consents = db.session.execute(
        sa.select(
            Client.name.label("app"),
            Consent.client_id,
            Consent.scopes,
            Consent.created_at,
            Consent.updated_at,
        )
        .join(Client, Client.client_id == Consent.client_id)
        .where(Consent.sub == sub)
        .order_by(Consent.created_at)
    )
    grants = db.session.execute(
        sa.select(
            Client.name.label("app"),
            Grant.client_id,
            Grant.kind,
            Grant.scope,
            Grant.resources,
            Grant.claims_request,
            Grant.sid.label("sign_in_session"),
            Grant.is_offline,
            Grant.auth_time,
            Grant.acr,
            Grant.amr,
            Grant.created_at,
            Grant.code_used_at.label("first_token_at"),
            Grant.expires_at,
            Grant.ended_at,
            Grant.end_cause,
            tokens.c.kept.label("refresh_tokens_kept"),
            tokens.c.last.label("last_refresh_token_at"),
            opaque.label("access_tokens_kept"),
        )
        .join(Client, Client.client_id == Grant.client_id)
        .join(tokens, sa.true())
        .where(Grant.sub == sub)
        .order_by(Grant.created_at.desc())
        .limit(MOST_GRANTS)
    )
    return {
        "subject": _plain(subject) if subject else None,
        "consents": [_plain(row) for row in consents],
        "grants": [_plain(row) for row in grants],
    }


def _plain(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row._mapping.items()
    }
