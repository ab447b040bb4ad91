"""Recovery codes: ten words on paper, each a second factor once, for whoever has lost the other ones."""

import secrets
import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.guard import single_use
from services.account.extensions import audit, db
from services.account.flows.factors import reachable_acr
from services.account.flows.notices import tell
from services.account.flows.users import lock_user
from services.account.flows.visitor import Visitor
from services.account.models import RecoveryCode, User

COUNT = 10
SIGNS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Those of Crockford's base 32: none looks like another."""
LENGTH = 16
"""80 bits: too many to guess even for whoever holds the hashes."""
_MISREAD = str.maketrans("ilo", "110")


class NothingToRecover(Exception):
    """Somebody without a second factor has no use for recovery codes."""


def ensure_recovery_codes(session: DatabaseSession, user: User) -> list[str] | None:
    """A first set of codes with the first second factor, in the transaction under way; the user's row is locked.

    Returns them, for the one time that they are shown; None when the person has codes that still work.
    """
    if count_left(session, user_id=user.id):
        return None
    return _replace(session, user)


def make_recovery_codes(*, sub: str, visitor: Visitor) -> list[str]:
    """A new set, which ends the old one, and a mail that says so. Returns it, for the one time that it is shown.

    Raises NothingToRecover, UnknownUser.
    """
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        if reachable_acr(session, user_id=user.id) == "1":
            raise NothingToRecover
        tell(session, user=user, template="recovery_codes_made", visitor=visitor)
        return _replace(session, user)


def _replace(session: DatabaseSession, user: User) -> list[str]:
    delete_recovery_codes(session, user_id=user.id)
    codes = [_make() for _ in range(COUNT)]
    session.add_all(RecoveryCode(user_id=user.id, digest=_digest(user.id, code)) for code in codes)
    audit.record("recovery_codes.made", target=f"user:{user.sub}", after={"count": COUNT})
    return codes


def _make() -> str:
    signs = "".join(secrets.choice(SIGNS) for _ in range(LENGTH))
    return "-".join(signs[start : start + 4] for start in range(0, LENGTH, 4))


def delete_recovery_codes(session: DatabaseSession, *, user_id: uuid.UUID) -> int:
    """Delete all codes of a person, in the transaction under way. Returns how many still worked."""
    left = count_left(session, user_id=user_id)
    session.execute(sa.delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    return left


def count_left(session: DatabaseSession, *, user_id: uuid.UUID) -> int:
    """How many codes the person has not used yet."""
    query = sa.select(sa.func.count()).where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    return session.scalar(query) or 0


def use_recovery_code(*, user: User, code: str, visitor: Visitor) -> bool:
    """Spend one code, once, and tell its owner by mail how many are left. False when it is none that works."""
    with db.transaction() as session:
        spent = session.scalar(
            sa.update(RecoveryCode)
            .where(
                RecoveryCode.user_id == user.id,
                RecoveryCode.digest == _digest(user.id, code),
                RecoveryCode.used_at.is_(None),
            )
            .values(used_at=utcnow())
            .returning(RecoveryCode.id)
            .execution_options(synchronize_session=False)
        )
        if spent is None:
            return False
        left = count_left(session, user_id=user.id)
        audit.record("recovery_code.used", target=f"user:{user.sub}", after={"left": left})
        context = {"left": str(left)}
        tell(session, user=user, template="recovery_code_used", visitor=visitor, context=context)
    return True


def are_codes_of(*, sub: str, codes: list[str]) -> bool:
    """Whether all of these are codes of the person that still work: what a page may hand out as a file."""
    with db.single_statements() as session:
        rows = session.execute(
            sa.select(RecoveryCode.user_id, RecoveryCode.digest)
            .join(User, User.id == RecoveryCode.user_id)
            .where(User.sub == sub, RecoveryCode.used_at.is_(None))
        ).all()
    known = {row.digest for row in rows}
    return bool(rows) and bool(codes) and {_digest(rows[0].user_id, code) for code in codes} <= known


def _digest(user_id: uuid.UUID, code: str) -> str:
    """What is stored of a code: bound to its owner, and the same however it was typed."""
    typed = code[: 4 * LENGTH].casefold().translate(_MISREAD)
    signs = "".join(sign for sign in typed if sign in SIGNS)
    return single_use.digest(f"{user_id}:{signs}")
