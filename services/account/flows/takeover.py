"""Whoever registered another's address first, and never proved it, loses everything there once its owner does."""

import sqlalchemy as sa
from sqlalchemy.orm import Session as DatabaseSession

from libs.observe.logs import get_logger
from services.account.extensions import audit
from services.account.flows.linking import forget_links
from services.account.models import (
    KnownDevice,
    Passkey,
    RecoveryCode,
    SecondFactorReset,
    SecurityNotice,
    TOTPCredential,
    User,
)

log = get_logger("account.takeover")

CREDENTIALS = (Passkey, TOTPCredential, RecoveryCode)
TRACES = (KnownDevice, SecondFactorReset, SecurityNotice)
"""What opens nothing by itself and speaks for the earlier one."""


def take_over(session: DatabaseSession, user: User) -> bool:
    """Take from an account whose address was never proven all that the earlier one put into it.

    In the transaction under way, in which its owner has proven the address and sets a password of their own; the
    caller ends sessions, grants and what apps were allowed. Whether there was anything; nothing is done where the
    address was proven before.
    """
    if user.email_verified_at is not None:
        return False
    gone = {"linked_identities": forget_links(session, user)}
    for table in (*CREDENTIALS, *TRACES):
        done = session.execute(
            sa.delete(table).where(table.user_id == user.id).execution_options(synchronize_session=False)
        )
        gone[table.__tablename__] = done.rowcount  # type: ignore[attr-defined]
    if user.profile:
        gone["profile"] = len(user.profile)
        user.profile = {}
    taken = {name: count for name, count in gone.items() if count}
    if taken:
        log.info("account_taken_over", sub=user.sub)
        audit.record("user.taken_over", target=f"user:{user.sub}", before=taken)
    return bool(taken)
