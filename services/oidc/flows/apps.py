"""Apps with access: what a person has allowed which app, and taking it back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.database import utcnow
from libs.observe.logs import get_logger
from libs.web.problems import Problem
from services.oidc.extensions import audit, db
from services.oidc.flows.logouts import tell_clients
from services.oidc.models import Client, Consent, Grant, RefreshToken, Subject

log = get_logger("OIDC.apps")


class UnknownApp(Problem):
    """The person has given this app nothing."""

    status, slug, title = 404, "unknown-app", lazy_gettext("This app has no access to your account")


@dataclass(frozen=True, kw_only=True)
class App:
    """A client as a person knows it."""

    client_id: str
    name: str
    scopes: Sequence[str]
    since: datetime
    last_token_at: datetime | None
    """When it was last given a token; None when it never fetched one, or long ago."""
    is_first_party: bool
    client_uri: str | None
    policy_uri: str | None
    tos_uri: str | None


def list_apps(*, sub: str) -> list[App]:
    """The apps that the person has allowed something or that can act for them now, by name."""
    refreshed = (
        sa.select(sa.func.max(RefreshToken.created_at))
        .where(RefreshToken.grant_id == Grant.id)
        .correlate(Grant)
        .scalar_subquery()
    )
    grants = (
        sa.select(
            Grant.client_id,
            sa.func.min(Grant.created_at).label("since"),
            sa.func.max(sa.func.greatest(Grant.code_used_at, refreshed)).label("last_token_at"),
            sa.func.string_agg(Grant.scope, " ").label("scope"),
        )
        .where(Grant.sub == sub, *is_living())
        .group_by(Grant.client_id)
        .subquery()
    )
    consents = sa.select(Consent).where(Consent.sub == sub).subquery()
    rows = db.fetch_all(
        sa.select(
            Client.client_id,
            Client.name,
            Client.is_first_party,
            Client.client_uri,
            Client.policy_uri,
            Client.tos_uri,
            consents.c.scopes,
            sa.func.least(consents.c.created_at, grants.c.since).label("since"),
            grants.c.last_token_at,
            grants.c.scope,
        )
        .outerjoin(consents, consents.c.client_id == Client.client_id)
        .outerjoin(grants, grants.c.client_id == Client.client_id)
        .where(sa.or_(consents.c.client_id.is_not(None), grants.c.client_id.is_not(None)))
        .order_by(sa.func.lower(Client.name), Client.client_id)
    )
    return [
        App(
            client_id=row.client_id,
            name=row.name,
            scopes=sorted({*(row.scopes or ()), *(row.scope or "").split()}),
            since=row.since,
            last_token_at=row.last_token_at,
            is_first_party=row.is_first_party,
            client_uri=row.client_uri,
            policy_uri=row.policy_uri,
            tos_uri=row.tos_uri,
        )
        for row in rows
    ]


def is_living() -> list[sa.ColumnElement[bool]]:
    """What makes a grant one that tokens can still come of or hang on."""
    now = utcnow()
    return [
        Grant.ended_at.is_(None),
        Grant.expires_at > now,
        sa.or_(Grant.code_used_at.is_not(None), Grant.code_expires_at > now),
    ]


def withdraw(*, sub: str, client_id: str) -> str:
    """Take everything back from an app: consent, grants, tokens, and tell it; sign-in sessions stay.

    As docs/architecture.md section 15 has it. Returns its name. Raises UnknownApp, for what was withdrawn already too.
    """
    with db.transaction() as session:
        # By the person's row, as issuing a code does: one under way is found below.
        session.execute(sa.select(Subject.sub).where(Subject.sub == sub).with_for_update())
        consented = session.execute(
            sa.delete(Consent)
            .where(Consent.sub == sub, Consent.client_id == client_id)
            .returning(Consent.scopes)
        ).scalar_one_or_none()
        its = [Grant.sub == sub, Grant.client_id == client_id]
        tell_clients(*its, sub=sub, cause="consent_withdrawn", is_session=False)
        found = sa.select(Grant.id).where(*its, Grant.ended_at.is_(None)).order_by(Grant.id).with_for_update()
        ended = session.execute(
            sa.update(Grant)
            .where(Grant.id.in_(found.scalar_subquery()))
            .values(ended_at=utcnow(), end_cause="consent_withdrawn")
            .returning(Grant.id)
            .execution_options(synchronize_session=False)
        ).all()
        name = session.scalar(sa.select(Client.name).where(Client.client_id == client_id))
        if name is None or (consented is None and not ended):
            raise UnknownApp
        audit.record(
            "consent.withdrawn",
            target=f"client:{client_id}",
            before={"scopes": list(consented or ())},
            after={"sub": sub, "grants": len(ended)},
        )
    log.info("consent_withdrawn", client_id=client_id, sub=sub, grants=len(ended))
    return name
