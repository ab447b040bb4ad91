"""The second step of a sign-in: a code of the person's app, or one of their recovery codes."""

import re
import uuid

import sqlalchemy as sa
from flask_babel import gettext

from libs.audit import acting_as
from services.account.extensions import db
from services.account.flows import attempts
from services.account.flows.attempts import AttemptEnded, claim_try, find_attempt, spend
from services.account.flows.factors import ONE_TIME_CODE, Standing, find_standing
from services.account.flows.login import finish
from services.account.flows.login_events import count_attempt, record_failure
from services.account.flows.recovery_codes import use_recovery_code
from services.account.flows.sessions import SignIn
from services.account.flows.totp import WrongCode, use_totp
from services.account.flows.visitor import Visitor
from services.account.models import KnownDevice, SignInAttempt, User

NEEDS = "second_factor"
_DIGITS = re.compile(r"[0-9]{6}\Z")


def find_step(*, attempt_id: uuid.UUID | None, visitor: Visitor) -> tuple[SignInAttempt, Standing]:
    """A sign-in that waits for its second factor, and what its owner could bring. Raises AttemptEnded, KeptOut."""
    attempt = find_attempt(attempt_id, needs=NEEDS)
    standing = find_standing(User.id == attempt.user_id, visitor=visitor)
    if standing is None:
        raise AttemptEnded
    return attempt, standing


def take_step(*, attempt_id: uuid.UUID | None, code: str, visitor: Visitor) -> SignIn:
    """Sign in with a code of the app or a recovery code; either works once.

    Raises WrongCode, AttemptEnded, AccountDisabled, KeptOut.
    """
    attempt, standing = find_step(attempt_id=attempt_id, visitor=visitor)
    left = claim_try(attempt)
    typed = "".join(code.split())
    if _DIGITS.match(typed):
        method, is_right = "totp", use_totp(user_id=standing.user.id, code=typed)
    else:
        method = "recovery_code"
        with acting_as(f"user:{standing.user.sub}"):
            is_right = use_recovery_code(user=standing.user, code=code, visitor=visitor)
    if is_right:
        return finish(attempt, evidence=ONE_TIME_CODE, method=method, visitor=visitor)
    count_attempt()
    record_failure("bad_second_factor", method=method, visitor=visitor, user_id=standing.user.id)
    if not left:
        with db.transaction():
            spend(attempt)
        raise AttemptEnded
    raise WrongCode(errors={"code": gettext("This code is not right, or it was used already.")})


def cancel_step(*, attempt_id: uuid.UUID | None, visitor: Visitor) -> None:
    """End the half-done sign-in. Raises AttemptEnded."""
    attempts.cancel(find_attempt(attempt_id, needs=NEEDS), visitor=visitor)


def owner_of_step(*, attempt_id: uuid.UUID | None) -> User | None:
    """Who has passed the first factor in this browser, for counting their tries."""
    if attempt_id is None:
        return None
    query = (
        sa.select(User)
        .join(SignInAttempt, SignInAttempt.user_id == User.id)
        .where(*attempts.is_open(attempt_id, NEEDS))
    )
    with db.single_statements() as session:
        return session.scalar(query)


def is_own_device(*, attempt_id: uuid.UUID | None, visitor: Visitor) -> bool:
    """Whether who has passed the first factor has signed in at this browser before."""
    if attempt_id is None or visitor.device is None:
        return False
    query = sa.select(
        sa.exists()
        .where(
            KnownDevice.user_id == SignInAttempt.user_id, KnownDevice.device_digest == visitor.device_digest
        )
        .where(*attempts.is_open(attempt_id, NEEDS))
    )
    with db.single_statements() as session:
        return bool(session.scalar(query))


def record_throttled_step(*, attempt_id: uuid.UUID | None, visitor: Visitor) -> None:
    """A try that a limit refused before it was checked."""
    owner = owner_of_step(attempt_id=attempt_id)
    count_attempt()
    record_failure("throttled", method="totp", visitor=visitor, user_id=owner.id if owner else None)
