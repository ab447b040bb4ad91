"""Authenticator apps (RFC 6238): set up, replaced, used, removed."""

import time
import uuid
from dataclasses import dataclass, field

import pyotp
import sqlalchemy as sa
from flask import current_app
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow, uuid7
from libs.people.sessions import Session
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.extensions import audit, db
from services.account.flows.copies import is_live
from services.account.flows.factors import ONE_TIME_CODE, Evidence, reachable_acr
from services.account.flows.notices import tell
from services.account.flows.recovery_codes import delete_recovery_codes, ensure_recovery_codes
from services.account.flows.sessions import SignIn, begin_session
from services.account.flows.users import lock_user
from services.account.flows.visitor import Visitor
from services.account.models import SignInSession, TOTPCredential, User

ISSUER = "UpdSpace ID"
STEP_S = 30
"""Seconds that a code lives (RFC 6238 §5.2)."""
WINDOW = 1
"""Steps that a clock may be early or late."""
MAX_CODE_LENGTH = 40


class WrongCode(Problem):
    """This is not the code that the app shows now, or it was used already."""

    status, slug, title = 422, "wrong-code", lazy_gettext("This code is not right")


class NothingPending(Problem):
    """No authenticator app waits for its first code: set-up was not begun, took too long, or is done."""

    status, slug, title = 409, "nothing-pending", lazy_gettext("Please start setting up the app again.")


@dataclass(frozen=True, kw_only=True)
class NewApp:
    """An authenticator app being set up: what it has to be told."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)
    """`otpauth://…`, what a QR code holds."""


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A new app works: the session that this raised, and the first recovery codes where there were none."""

    sign_in: SignIn
    recovery_codes: list[str] | None = field(repr=False)


# -- setting up ------------------------------------------------------------------------------------------------


def set_up_totp(*, sub: str) -> None:
    """Make a seed for a new app. It counts for nothing until its first code; an app in use goes on working."""
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        _delete_pending(session, user.id)
        new_id = uuid7()
        sealed = parts_of(current_app).data_keys.seal(pyotp.random_base32().encode(), seed_place(new_id))
        session.add(TOTPCredential(id=new_id, user_id=user.id, seed_sealed=sealed))


def find_new_app(*, sub: str) -> NewApp:
    """What the app being set up must be told. Raises NothingPending."""
    with db.single_statements() as session:
        found = session.execute(
            sa.select(TOTPCredential, User)
            .join(User, User.id == TOTPCredential.user_id)
            .where(User.sub == sub, *_is_pending())
        ).one_or_none()
    if found is None:
        raise NothingPending
    credential, user = found
    secret = _seed_of(credential)
    return NewApp(secret=secret, uri=pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=ISSUER))


def confirm_totp(*, session: Session, code: str, visitor: Visitor) -> Confirmed:
    """The new app has shown a code: it takes the place of an older one, and the person is told by mail.

    The session that this happens in has seen two factors now, and says so from here on, under a new secret; its
    person has not signed in anew by it, and it is no younger. Raises WrongCode, NothingPending.
    """
    with db.transaction() as transaction:
        user = lock_user(transaction, sub=session.sub)
        mine = transaction.scalar(
            sa.select(SignInSession)
            .where(SignInSession.id == session.sid, is_live())
            .execution_options(populate_existing=True)
        )
        if mine is None:
            raise NothingPending  # ended while this was on its way: it must not come back to life
        credential = transaction.scalar(
            sa.select(TOTPCredential).where(TOTPCredential.user_id == user.id, *_is_pending())
        )
        if credential is None:
            raise NothingPending
        step = matching_step(_seed_of(credential), code)
        if step is None:
            raise WrongCode(errors={"code": gettext("This is not the code that the app shows now.")})
        replaced = _delete_confirmed(transaction, user.id)
        now = utcnow()
        credential.confirmed_at = credential.last_used_at = now
        credential.last_step = step
        transaction.flush()
        codes = ensure_recovery_codes(transaction, user)
        audit.record("totp.replaced" if replaced else "totp.added", target=f"user:{user.sub}")
        tell(transaction, user=user, template="second_factor_added", visitor=visitor)
        proven = Evidence(tuple(session.amr), is_person_verified=session.acr == "phr")
        signed_in = begin_session(
            transaction,
            user=user,
            evidence=proven.and_also(ONE_TIME_CODE),
            method="totp",
            visitor=visitor,
            provider=mine.provider,
            auth_time=mine.auth_time,
            is_known_device=True,
        )
    return Confirmed(sign_in=signed_in, recovery_codes=codes)


# -- using -----------------------------------------------------------------------------------------------------


def use_totp(*, user_id: uuid.UUID, code: str) -> bool:
    """Spend a code of the person's app, once. False when it is none that works now."""
    with db.single_statements() as session:
        credential = session.scalar(
            sa.select(TOTPCredential)
            .where(TOTPCredential.user_id == user_id, TOTPCredential.confirmed_at.is_not(None))
            .execution_options(populate_existing=True)
        )
        if credential is None:
            return False
        step = matching_step(_seed_of(credential), code)
        if step is None:
            return False
        spent = session.scalar(
            sa.update(TOTPCredential)
            .where(TOTPCredential.id == credential.id, TOTPCredential.last_step < step)
            .values(last_step=step, last_used_at=utcnow())
            .returning(TOTPCredential.id)
            .execution_options(synchronize_session=False)
        )
    return spent is not None


def matching_step(seed: str, code: str) -> int | None:
    """The time step within the window whose code this is; every step is tried, whichever matches."""
    app, now = pyotp.TOTP(seed), int(time.time()) // STEP_S
    typed = "".join(code[:MAX_CODE_LENGTH].split())
    found = None
    for step in range(now - WINDOW, now + WINDOW + 1):
        if pyotp.utils.strings_equal(app.generate_otp(step), typed):
            found = step
    return found


# -- removing --------------------------------------------------------------------------------------------------


def remove_totp(*, sub: str, visitor: Visitor) -> bool:
    """Forget the app, and with the last second factor the recovery codes. False when there was none."""
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        if not delete_totp(session, user_id=user.id):
            return False
        forget_codes_without_factor(session, user)
        audit.record("totp.removed", target=f"user:{user.sub}")
        tell(session, user=user, template="second_factor_removed", visitor=visitor)
    return True


def forget_codes_without_factor(session: DatabaseSession, user: User) -> None:
    """Recovery codes go with the last second factor that they could stand in for; in the transaction under way."""
    if reachable_acr(session, user_id=user.id) == "1":
        delete_recovery_codes(session, user_id=user.id)


def delete_totp(session: DatabaseSession, *, user_id: uuid.UUID) -> bool:
    """Forget the app, and one being set up, in the transaction under way. Whether there was one in use."""
    _delete_pending(session, user_id)
    return _delete_confirmed(session, user_id)


def _delete_confirmed(session: DatabaseSession, user_id: uuid.UUID) -> bool:
    done = session.execute(
        sa.delete(TOTPCredential).where(
            TOTPCredential.user_id == user_id, TOTPCredential.confirmed_at.is_not(None)
        )
    )
    return bool(done.rowcount)  # type: ignore[attr-defined]


def _delete_pending(session: DatabaseSession, user_id: uuid.UUID) -> None:
    session.execute(
        sa.delete(TOTPCredential).where(
            TOTPCredential.user_id == user_id, TOTPCredential.confirmed_at.is_(None)
        )
    )


def _is_pending() -> tuple[sa.ColumnElement[bool], ...]:
    life = parts_of(current_app).settings.TOTP_SETUP_LIFETIME
    return TOTPCredential.confirmed_at.is_(None), TOTPCredential.created_at > utcnow() - life


def _seed_of(credential: TOTPCredential) -> str:
    return parts_of(current_app).data_keys.open(credential.seed_sealed, seed_place(credential.id)).decode()


def seed_place(credential_id: uuid.UUID) -> str:
    """Where a seed belongs, for the key ring."""
    return f"totp_credentials.seed:{credential_id}"
