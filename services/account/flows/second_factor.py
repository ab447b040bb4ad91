"""Second factors as a whole: what a person has, and the removal of all of them."""

from dataclasses import dataclass

import sqlalchemy as sa
from flask_babel import lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.web.problems import Problem
from services.account.extensions import audit, db
from services.account.flows.notices import tell
from services.account.flows.recovery_codes import count_left, delete_recovery_codes
from services.account.flows.revoking import revoke_access
from services.account.flows.totp import delete_totp
from services.account.flows.users import lock_user, outdate_sign_ins
from services.account.flows.ways_in import begins_without_passkey
from services.account.models import (
    Passkey,
    SecondFactorReset,
    TOTPCredential,
    User,
)


@dataclass(frozen=True, kw_only=True)
class Factors:
    """What the page about second factors shows."""

    totp: TOTPCredential | None
    has_passkey: bool
    codes_left: int
    reset: SecondFactorReset | None
    """The way back without any of them, under way."""


def list_factors(*, sub: str) -> Factors:
    """A person's second factors."""
    with db.transaction() as session:
        user_id = session.scalar(sa.select(User.id).where(User.sub == sub))
        assert user_id is not None
        totp = session.scalar(
            sa.select(TOTPCredential).where(
                TOTPCredential.user_id == user_id, TOTPCredential.confirmed_at.is_not(None)
            )
        )
        reset = session.scalar(
            sa.select(SecondFactorReset).where(
                SecondFactorReset.user_id == user_id, SecondFactorReset.ended_at.is_(None)
            )
        )
        has_passkey = session.scalar(sa.select(sa.exists().where(Passkey.user_id == user_id)))
        return Factors(
            totp=totp,
            has_passkey=bool(has_passkey),
            codes_left=count_left(session, user_id=user_id),
            reset=reset,
        )


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What a person's second factors were. Passkeys stay where they are the only way in."""

    totp: bool
    recovery_codes: int
    passkeys: int
    kept_passkeys: int


class NoReason(Problem):
    """Whoever takes a lock away says why."""

    status, slug, title = (
        422,
        "no-reason",
        lazy_gettext("Nothing was removed: say how you know that it is them."),
    )


def reset_second_factor(*, sub: str, reason: str | None) -> Removed:
    """Staff remove a person's second factors: sessions and grants end, and the person is told by mail.

    Raises UnknownUser, NoReason.
    """
    if not (reason or "").strip():
        raise NoReason
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        removed = remove_all_factors(session, user, cause="staff", reason=reason)
        tell(session, user=user, template="second_factor_reset_by_staff")
    return removed


def remove_all_factors(
    session: DatabaseSession, user: User, *, cause: str, reason: str | None = None
) -> Removed:
    """Remove app, recovery codes and passkeys, and end all access, in the transaction under way.

    `cause` says who: `staff`, or `lost` for the way back. The user's row is locked.
    """
    totp = delete_totp(session, user_id=user.id)
    codes = delete_recovery_codes(session, user_id=user.id)
    mine = Passkey.user_id == user.id
    removed = kept = 0
    if begins_without_passkey(session, user.id):
        removed = session.execute(sa.delete(Passkey).where(mine)).rowcount  # type: ignore[attr-defined]
    else:
        kept = session.scalar(sa.select(sa.func.count()).where(mine)) or 0
    session.execute(
        sa.update(SecondFactorReset)
        .where(SecondFactorReset.user_id == user.id, SecondFactorReset.ended_at.is_(None))
        .values(ended_at=utcnow(), end_cause="used" if cause == "lost" else "cancelled")
        .execution_options(synchronize_session=False)
    )
    outdate_sign_ins(user)
    result = Removed(totp=totp, recovery_codes=codes, passkeys=removed, kept_passkeys=kept)
    revoke_access(sub=user.sub, cause="sessions_revoked")
    audit.record(
        "second_factor.reset",
        target=f"user:{user.sub}",
        before={"totp": totp, "recovery_codes": codes, "passkeys": removed + kept},
        after={"totp": False, "recovery_codes": 0, "passkeys": kept},
        reason=reason or cause,
    )
    return result
