"""What ends with a client: when it is switched off what it was given, when it is deleted everything of it."""

import sqlalchemy as sa

from libs.database import utcnow
from libs.observe.logs import get_logger
from services.oidc.extensions import audit, db
from services.oidc.flows.clients.finding import UnknownClient, lock_client
from services.oidc.flows.clients.metadata import settings_of
from services.oidc.flows.clients.registered import CLIENT_ID, forget
from services.oidc.models import AccessToken, Grant

log = get_logger("OIDC.clients")


def end_what_it_was_given(client_id: str) -> int:
    """End the grants and tokens of a client that is switched off; consents stay. Returns how many grants ended.

    Switched on again it starts anew: whatever of it was stolen meanwhile stays worthless.
    """
    now = utcnow()
    with db.transaction() as session:
        # Locked in one order, as everybody who ends several does.
        found = (
            sa.select(Grant.id)
            .where(Grant.client_id == client_id, Grant.ended_at.is_(None))
            .order_by(Grant.id)
            .with_for_update()
        )
        ended = session.execute(
            sa.update(Grant)
            .where(Grant.id.in_(found.scalar_subquery()))
            .values(ended_at=now, end_cause="client_disabled")
            .returning(Grant.id)
            .execution_options(synchronize_session=False)
        ).all()
        session.execute(
            sa.update(AccessToken)
            .where(AccessToken.client_id == client_id, AccessToken.revoked_at.is_(None))
            .values(revoked_at=now)
            .execution_options(synchronize_session=False)
        )
    log.info("client_grants_ended", client_id=client_id, grants=len(ended))
    return len(ended)


def delete_client(client_id: str) -> None:
    """Remove the client with its secrets, consents, grants, tokens and deliveries. Raises UnknownClient."""
    if not CLIENT_ID.match(client_id):
        raise UnknownClient
    with db.transaction() as session:
        # Before the client itself, which nobody may refer to while it goes: see lock_client.
        theirs = sa.select(Grant.id).where(Grant.client_id == client_id).order_by(Grant.id).with_for_update()
        session.execute(sa.select(sa.func.count()).select_from(theirs.subquery()))
        client = lock_client(session, client_id)
        audit.record("client.deleted", target=f"client:{client_id}", before=settings_of(client))
        # Tokens of its own have no foreign key: who comes later under the same id must not find them alive.
        session.execute(
            sa.delete(AccessToken)
            .where(AccessToken.client_id == client_id)
            .execution_options(synchronize_session=False)
        )
        session.delete(client)
        db.after_commit(lambda: forget(client_id))
