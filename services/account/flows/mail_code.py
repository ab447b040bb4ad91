"""A code by mail: the second step that enhanced mode asks for, of people who have no second factor of their own.

It is no factor: whoever reads the mail could have the password reset as well. It costs whoever has nothing but a
list of stolen passwords one mailbox per account.
"""

import hashlib
import hmac
import secrets
import unicodedata
import uuid

import sqlalchemy as sa
from flask import current_app
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.guard.keyring import derive
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.extensions import db
from services.account.flows import attempts
from services.account.flows.attempts import AttemptEnded, find_attempt, is_open, spend, wait_for
from services.account.flows.factors import Evidence, Standing, find_standing
from services.account.flows.login_events import count_attempt, record_failure
from services.account.flows.notices import tell
from services.account.flows.throttle import admit
from services.account.flows.visitor import Visitor
from services.account.models import SignInAttempt, User

NEEDS = "mail_code"
DIGITS = 8
GUESSES = 5
"""Wrong codes that end the attempt."""


class WrongCode(Problem):
    """This is not the code that was mailed last; a guess less is left."""

    status, slug, title = 422, "wrong-code", lazy_gettext("You are not signed in")


def begin(
    standing: Standing,
    *,
    evidence: Evidence,
    proof: str | None,
    provider: str | None,
    method: str,
    visitor: Visitor,
) -> uuid.UUID:
    """Keep what was proven, and mail the account's owner a code. Returns the attempt's id.

    An address that nobody has confirmed gets the code too: it stands beside the first factor, never in its place,
    and does not confirm the address. Raises Throttled: mails to one account have limits of their own.
    """
    admit("mail_code", visitor=visitor, standing=standing, method=method)
    with db.transaction() as session:
        session.connection()  # begun, so that the attempt is part of it
        attempt_id = wait_for(
            NEEDS,
            user_id=standing.user.id,
            evidence=evidence,
            proof=proof,
            provider=provider,
            visitor=visitor,
        )
        _mail(session, attempt_id, standing.user, visitor)
    return attempt_id


def look_at(*, attempt_id: uuid.UUID | None, visitor: Visitor) -> str:
    """Where the code was mailed, hinted at: whoever came through a provider need not know. Raises AttemptEnded."""
    return _hint(_standing(find_attempt(attempt_id, needs=NEEDS), visitor).user.email)


def send_again(*, attempt_id: uuid.UUID | None, visitor: Visitor) -> None:
    """Mail another code; the one before stops working, and guesses stay counted. Raises AttemptEnded, Throttled."""
    standing = _standing(find_attempt(attempt_id, needs=NEEDS), visitor)
    admit("mail_code", visitor=visitor, standing=standing, method=NEEDS)
    with db.transaction() as session:
        _mail(session, attempt_id, standing.user, visitor)


def check(*, attempt_id: uuid.UUID | None, code: str, visitor: Visitor) -> SignInAttempt:
    """The attempt whose code this is; login.finish() spends it. Raises WrongCode, AttemptEnded.

    A guess is counted before it is compared, so that many side by side are no more than GUESSES.
    """
    typed = "".join(sign for sign in unicodedata.normalize("NFKC", code[:100]) if sign not in " -\t\u2013")
    attempt = find_attempt(attempt_id, needs=NEEDS)
    if not (len(typed) == DIGITS and typed.isdecimal() and typed.isascii()):
        raise WrongCode(gettext("The code has eight digits. It is in the mail that we have just sent."))
    with db.single_statements() as session:
        counted = session.execute(
            sa.update(SignInAttempt)
            .where(*is_open(attempt.id, NEEDS), SignInAttempt.failures < GUESSES)
            .values(failures=SignInAttempt.failures + 1)
            .returning(SignInAttempt.mail_code_digest, SignInAttempt.failures)
            .execution_options(synchronize_session=False)
        ).one_or_none()
    if counted is None:
        raise AttemptEnded
    digest, guesses = counted
    if any(hmac.compare_digest(digest or "", mine) for mine in _digests(attempt.id, typed)):
        return attempt
    count_attempt()
    record_failure("bad_second_factor", method=NEEDS, visitor=visitor, user_id=attempt.user_id)
    if guesses >= GUESSES:
        with db.transaction():
            spend(attempt)
        raise AttemptEnded
    raise WrongCode(gettext("This is not the code. Please look into the newest of our mails."))


def cancel(*, attempt_id: uuid.UUID | None, visitor: Visitor) -> None:
    """The person gives up: the code is dead. Raises AttemptEnded."""
    attempts.cancel(find_attempt(attempt_id, needs=NEEDS), visitor=visitor)


def _standing(attempt: SignInAttempt, visitor: Visitor) -> Standing:
    standing = find_standing(User.id == attempt.user_id, visitor=visitor)
    if standing is None or not standing.user.is_active:
        raise AttemptEnded
    return standing


def _mail(session: DatabaseSession, attempt_id: uuid.UUID | None, user: User, visitor: Visitor) -> None:
    """Give the attempt a fresh code and mail it, in the transaction under way. Raises AttemptEnded."""
    code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}"
    expires_at = session.execute(
        sa.update(SignInAttempt)
        .where(*is_open(attempt_id, NEEDS))
        .values(mail_code_digest=_digests(attempt_id, code)[0])
        .returning(SignInAttempt.expires_at)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()
    if expires_at is None:
        raise AttemptEnded
    tell(
        session,
        user=user,
        template="sign_in_code",
        visitor=visitor,
        context={"code": code},
        expires_at=expires_at,
    )


def _digests(attempt_id: uuid.UUID | None, code: str) -> list[str]:
    """Under SECRET_KEY, then its fallbacks. Keyed, since eight digits are few: a stolen table tells no code."""
    settings = parts_of(current_app).settings
    keys = [derive(key, "mail-code") for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    return [hmac.new(key, f"{attempt_id}:{code}".encode(), hashlib.sha256).hexdigest() for key in keys]


def _hint(email: str) -> str:
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}•••@{domain}"
