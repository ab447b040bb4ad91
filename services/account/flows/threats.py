"""What the issuer saw that a person must hear of: somebody used what only their app should have."""

from datetime import timedelta

import sqlalchemy as sa

from libs.database import utcnow
from libs.observe.logs import get_logger
from services.account.extensions import db
from services.account.flows.notices import tell
from services.account.models import SecurityNotice, User

log = get_logger("account.threats")

TOLD_ONCE_IN = timedelta(hours=1)
TEMPLATE = "sign_in_threatened"


def warn_of_threat(*, sub: str, cause: str) -> None:
    """Tell a person by mail, at most once in TOLD_ONCE_IN: a thief who tries again must not fill a mailbox."""
    with db.transaction() as session:
        user = session.scalar(
            sa.select(User)
            .where(User.sub == sub)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
        if user is None or not user.is_active:
            log.info("threat_to_nobody", sub=sub, cause=cause)
            return
        lately = sa.exists().where(
            SecurityNotice.user_id == user.id,
            SecurityNotice.kind == TEMPLATE,
            SecurityNotice.created_at > utcnow() - TOLD_ONCE_IN,
        )
        if not session.scalar(sa.select(lately)):
            tell(session, user=user, template=TEMPLATE)
