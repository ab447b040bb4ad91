"""Proving who one is with a passkey: alone, or as the second step after something else."""

import uuid
from datetime import timedelta
from typing import NoReturn

import sqlalchemy as sa
from flask_babel import gettext, lazy_gettext

from libs.database import utcnow
from libs.observe.logs import get_logger
from services.account.extensions import db
from services.account.flows.factors import Evidence
from services.account.flows.login import Halfway, LoginRefused, sign_in
from services.account.flows.login_events import count_attempt, record_failure
from services.account.flows.notices import tell
from services.account.flows.passkeys.ceremonies import (
    Answer,
    NotGenuine,
    read_answer,
    request_options,
    verify_answer,
)
from services.account.flows.passkeys.challenges import (
    SECOND_FACTOR,
    SIGN_IN,
    Challenge,
    ChallengeEnded,
    Question,
    make_challenge,
    open_challenge,
    seal_challenge,
    spending,
)
from services.account.flows.sessions import SignIn
from services.account.flows.users import find_and_lock
from services.account.flows.visitor import Visitor
from services.account.models import Passkey, SecurityNotice, SignInAttempt, SpentChallenge, User

log = get_logger("account.passkeys")

COPY_TOLD_EVERY = timedelta(hours=1)
"""Whoever holds the copy of a passkey cannot fill its owner's mailbox."""


class PasskeyRefused(LoginRefused):
    """The passkey opens nothing: not known, not genuine, too late, or perhaps a copy."""

    slug, title = "passkey-refused", lazy_gettext("The passkey was not accepted")


def ask_to_sign_in(*, browser: str) -> Question:
    """What a browser needs to let whoever sits there pick a passkey. Writes nothing."""
    challenge = make_challenge()
    return Question(
        options=request_options(challenge, must_verify=True),
        ticket=seal_challenge(challenge, use=SIGN_IN, browser=browser),
    )


def sign_in_with_passkey(*, ticket: str, response: str, browser: str, visitor: Visitor) -> SignIn | Halfway:
    """Sign in whoever's passkey this is; its device has checked who holds it, so that it stands for two factors.

    Raises PasskeyRefused, AccountDisabled, KeptOut.
    """
    count_attempt()
    refusing = _Refusing("bad_password", visitor=visitor)
    challenge = refusing.open(ticket, use=SIGN_IN, browser=browser)
    passkey, answer = _prove(response, challenge=challenge, owner=None, refusing=refusing)
    # Of whoever has it still: it may be removed between its answer and the session.
    owner = sa.select(Passkey.user_id).where(Passkey.id == passkey.id).scalar_subquery()
    return sign_in(User.id == owner, evidence=_evidence(passkey, answer), method="passkey", visitor=visitor)


def ask_for_second_factor(attempt: SignInAttempt, *, browser: str) -> Question:
    """What a browser needs to answer with one of the passkeys of whoever is half signed in. Writes nothing."""
    challenge = make_challenge()
    with db.single_statements() as session:
        mine = list(session.scalars(sa.select(Passkey).where(Passkey.user_id == attempt.user_id)))
    return Question(
        options=request_options(challenge, allowed=mine, must_verify=False),
        ticket=seal_challenge(challenge, use=SECOND_FACTOR, browser=browser, whose=str(attempt.id)),
    )


def verify_second_factor(
    attempt: SignInAttempt, response: str, *, ticket: str, browser: str, visitor: Visitor
) -> Evidence:
    """What a passkey of whoever is half signed in proves; login.finish() takes it from there.

    Raises PasskeyRefused.
    """
    refusing = _Refusing("bad_second_factor", visitor=visitor, user_id=attempt.user_id)
    try:
        challenge = refusing.open(ticket, use=SECOND_FACTOR, browser=browser, whose=str(attempt.id))
        passkey, answer = _prove(response, challenge=challenge, owner=attempt.user_id, refusing=refusing)
    except PasskeyRefused:
        count_attempt()
        raise
    return _evidence(passkey, answer)


def evidence_of(*, is_synced: bool, is_person_verified: bool) -> Evidence:
    """What a passkey proves: a key in software or in hardware, and who holds it where its device has checked."""
    key = "swk" if is_synced else "hwk"
    if is_person_verified:
        return Evidence((key, "user", "mfa"), is_person_verified=True)
    return Evidence((key,))


def _evidence(passkey: Passkey, answer: Answer) -> Evidence:
    return evidence_of(is_synced=passkey.is_synced, is_person_verified=answer.is_person_verified)


class _Refusing:
    """Writes failures down, and turns them away in words that tell a stranger nothing about anybody."""

    def __init__(self, wrong: str, *, visitor: Visitor, user_id: uuid.UUID | None = None):
        self.wrong, self.visitor, self.user_id = wrong, visitor, user_id

    def open(self, ticket: str, *, use: str, browser: str, whose: str | None = None) -> Challenge:
        try:
            return open_challenge(ticket, use=use, browser=browser, whose=whose)
        except ChallengeEnded:
            self.as_late()

    def as_late(self, user_id: uuid.UUID | None = None) -> NoReturn:
        words = gettext("This took too long, or was answered already. Please try again.")
        self._refuse("expired", words, user_id)

    def as_unknown(self) -> NoReturn:
        """No account has it; where we know who is signing in, it is simply not theirs."""
        words = gettext("We do not know this passkey. It may have been removed; please sign in another way.")
        self._refuse("unknown_account" if self.user_id is None else self.wrong, words)

    def as_wrong(self, user_id: uuid.UUID | None = None) -> NoReturn:
        words = gettext("The passkey was not accepted. Please try again, or sign in another way.")
        self._refuse(self.wrong, words, user_id)

    def as_copy(self, user_id: uuid.UUID) -> NoReturn:
        words = gettext("This passkey may have been copied, so it was not accepted. Its owner gets a mail.")
        self._refuse(self.wrong, words, user_id)

    def _refuse(self, reason: str, words: str, user_id: uuid.UUID | None = None) -> NoReturn:
        record_failure(reason, method="passkey", visitor=self.visitor, user_id=user_id or self.user_id)
        raise PasskeyRefused(words)


def _prove(
    response: str, *, challenge: Challenge, owner: uuid.UUID | None, refusing: _Refusing
) -> tuple[Passkey, Answer]:
    """The passkey that gave this answer, counted as used. With an `owner`, no other person's will do.

    Without one the device checks who holds it, and says whose it is: nothing else does. Raises PasskeyRefused.
    """
    try:
        given = read_answer(response)
    except NotGenuine:
        refusing.as_unknown()
    found = _find(given.raw_id)
    if found is None:
        refusing.as_unknown()
    passkey, sub = found
    if owner is not None and passkey.user_id != owner:
        refusing.as_unknown()
    if owner is None and given.response.user_handle is None:
        refusing.as_wrong(passkey.user_id)
    try:
        answer = verify_answer(
            given, passkey=passkey, sub=sub, challenge=challenge.value, must_verify=owner is None
        )
    except NotGenuine:
        refusing.as_wrong(passkey.user_id)
    is_spent, is_counted = _count(passkey, answer, challenge)
    if not is_spent:
        refusing.as_late(passkey.user_id)
    if not is_counted:
        if _find(passkey.credential_id) is None:
            refusing.as_unknown()
        _warn_of_copy(passkey, answer, visitor=refusing.visitor)
        refusing.as_copy(passkey.user_id)
    return passkey, answer


def _find(credential_id: bytes) -> tuple[Passkey, str] | None:
    with db.single_statements() as session:
        row = session.execute(
            sa.select(Passkey, User.sub)
            .join(User, User.id == Passkey.user_id)
            .where(Passkey.credential_id == credential_id)
            .execution_options(populate_existing=True)
        ).one_or_none()
    return (row[0], row[1]) if row else None


def _count(passkey: Passkey, answer: Answer, challenge: Challenge) -> tuple[bool, bool]:
    """Spend the challenge and move the counter on, in one statement.

    Whether the challenge was still good, and whether the counter went forward. Authenticators without a counter
    say 0 for ever (WebAuthn §6.1.1).
    """
    spent = spending(challenge).returning(SpentChallenge.digest).cte("spent")
    goes_on = sa.or_(
        Passkey.sign_count < answer.sign_count,
        sa.and_(Passkey.sign_count == 0, sa.literal(answer.sign_count) == 0),
    )
    counted = (
        sa.update(Passkey)
        .where(Passkey.id == passkey.id, goes_on, sa.exists(sa.select(spent.c.digest)))
        .values(sign_count=answer.sign_count, last_used_at=utcnow())
        .returning(Passkey.id)
        .cte("counted")
    )
    with db.single_statements() as session:
        row = session.execute(
            sa.select(sa.exists(sa.select(spent.c.digest)), sa.exists(sa.select(counted.c.id)))
        ).one()
    return bool(row[0]), bool(row[1])


def _warn_of_copy(passkey: Passkey, answer: Answer, *, visitor: Visitor) -> None:
    """A counter that went back: two authenticators hold the key. Its owner hears of it, once in a while."""
    log.warning("passkey_counter_went_back", passkey_id=str(passkey.id), said=answer.sign_count)
    with db.transaction() as session:
        user = find_and_lock(session, User.id == passkey.user_id)
        told = sa.exists().where(
            SecurityNotice.user_id == passkey.user_id,
            SecurityNotice.kind == "passkey_copied",
            SecurityNotice.created_at > utcnow() - COPY_TOLD_EVERY,
        )
        if user is None or not user.is_active or session.scalar(sa.select(told)):
            return
        context = {"passkey": passkey.name}
        tell(session, user=user, template="passkey_copied", visitor=visitor, context=context)
