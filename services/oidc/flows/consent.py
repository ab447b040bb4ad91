"""Consent: what a person has allowed an app, remembered per app and scope."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from libs.database import utcnow
from services.oidc.extensions import audit, db
from services.oidc.flows.clients.finding import still_there
from services.oidc.models import Consent


def allowed_scopes(*, sub: str, client_id: str) -> frozenset[str]:
    """What the person has allowed the app so far."""
    row = db.fetch_one(sa.select(Consent.scopes).where(Consent.sub == sub, Consent.client_id == client_id))
    return frozenset(row.scopes if row is not None else ())


def has_consented(*, sub: str, client_id: str, scopes: Iterable[str]) -> bool:
    """Whether the person has allowed the app all of these already."""
    return set(scopes) <= allowed_scopes(sub=sub, client_id=client_id)


def give_consent(*, sub: str, client_id: str, scopes: Iterable[str]) -> None:
    """Remember that the person allows the app these, beside what they allowed before. Raises UnknownClient."""
    wanted = set(scopes)
    with still_there(client_id), db.transaction() as session:
        # Locked, so that two pages allowed side by side leave the union of both.
        known = session.execute(
            sa.select(Consent.scopes)
            .where(Consent.sub == sub, Consent.client_id == client_id)
            .with_for_update()
        ).scalar_one_or_none()
        if known is not None and wanted <= set(known):
            return
        allowed = sorted(wanted | set(known or ()))
        statement = insert(Consent).values(sub=sub, client_id=client_id, scopes=allowed)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=[Consent.sub, Consent.client_id],
                set_={"scopes": statement.excluded.scopes, "updated_at": utcnow()},
            )
        )
        audit.record(
            "consent.given",
            target=f"client:{client_id}",
            before={"scopes": sorted(known or ())},
            after={"sub": sub, "scopes": allowed},
        )
