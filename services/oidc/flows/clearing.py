"""Clearing: rows of grants and tokens that have served, a batch at a time."""

from datetime import timedelta

import sqlalchemy as sa

from libs.database import utcnow
from services.oidc.extensions import db
from services.oidc.models import Grant, RefreshToken

BATCH = 1000
KEEP_UNREDEEMED = timedelta(days=1)
KEEP_ENDED = timedelta(days=30)
"""Ended grants stay for whoever looks into an incident."""
KEEP_SPENT = timedelta(days=30)
"""A spent refresh token is known for this long, so that its return ends the family; later it is just unknown."""


def clear_batch() -> int:
    """Delete at most BATCH rows of each kind. Returns how many went, 0 when nothing is left."""
    now = utcnow()
    with db.transaction() as session:
        grants = (
            sa.select(Grant.id)
            .where(
                sa.or_(
                    sa.and_(Grant.code_used_at.is_(None), Grant.code_expires_at < now - KEEP_UNREDEEMED),
                    Grant.ended_at < now - KEEP_ENDED,
                    Grant.expires_at < now - KEEP_ENDED,
                )
            )
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        spent = sa.select(RefreshToken.id).where(RefreshToken.used_at < now - KEEP_SPENT).limit(BATCH)
        gone = 0
        for model, found in ((Grant, grants), (RefreshToken, spent)):
            deleted = session.execute(
                sa.delete(model)
                .where(model.id.in_(found.scalar_subquery()))
                .returning(model.id)
                .execution_options(synchronize_session=False)
            )
            gone += len(deleted.all())
    return gone
