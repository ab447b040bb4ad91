"""Enrolling: an approved application becomes an account with a first way in, once, and its owner is signed in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import sqlalchemy as sa
from flask_babel import lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.audit import acting_as
from libs.messaging.events import AccountOpened
from libs.web.problems import Problem
from services.account.extensions import audit, db, outbox
from services.account.flows import passkeys
from services.account.flows.blocks import refuse_blocked
from services.account.flows.factors import PASSWORD, Evidence, Standing, find_standing
from services.account.flows.login import AccountDisabled, Halfway, go_on
from services.account.flows.login_events import count_attempt, record_failure
from services.account.flows.password_links import end_links, open_account
from services.account.flows.passwords import TooBusy, passwords, store_first_password
from services.account.flows.sessions import SignIn, StandingChanged, begin_session
from services.account.flows.throttle import admit
from services.account.flows.users import (
    ApplicationTaken,
    EmailTaken,
    create_user,
    lock_user,
    mark_email_verified,
)
from services.account.flows.visitor import Visitor
from services.account.flows.ways_in import is_opened, was_opened
from services.account.models import Passkey, PasswordCredential, User


class AlreadyEnrolled(Problem):
    """The account of this application is open: its owner signs in."""

    status, slug, title = 409, "already-enrolled", lazy_gettext("Your account is ready: sign in")


Known = sa.Row[Any]
"""sub, status, the password's hash or None, and whether the account ever got a way in."""


class FirstWayIn(Protocol):
    """What a person opens their account with."""

    sub: str | None
    """The account that it was made for, where it was made for one."""
    set_action: str
    """How the audit calls setting it on an account that is there."""

    @property
    def evidence(self) -> Evidence:
        """What bringing it proves."""

    def prepare(self, *, context: Sequence[str]) -> None:
        """Hold it to its rules, before anything is locked."""

    def store(self, session: DatabaseSession, *, user: User, visitor: Visitor) -> None:
        """Give it to the person, in the transaction under way."""

    def prove(self, known: Known) -> str | None:
        """Whether this account was opened with just this: the proof for the sign-in. Raises AlreadyEnrolled."""


@dataclass(kw_only=True)
class FirstPassword:
    """A password. Raises PasswordRefused, TooBusy."""

    password: str = field(repr=False)
    evidence: Evidence = PASSWORD
    sub: str | None = None
    set_action: str = "password.set"
    hashed: str = field(default="", repr=False)

    def prepare(self, *, context: Sequence[str]) -> None:
        passwords().check(self.password, context=context)
        self.hashed = passwords().hash(self.password)

    def store(self, session: DatabaseSession, *, user: User, visitor: Visitor) -> None:
        store_first_password(session, user_id=user.id, hashed=self.hashed)

    def prove(self, known: Known) -> str | None:
        if known.hash is None or not passwords().is_right(self.password, known.hash):
            raise AlreadyEnrolled
        stored: str = known.hash
        return stored


@dataclass(kw_only=True)
class FirstPasskey:
    """A passkey, just made for the account that there will be. Raises ChallengeEnded, AlreadyAdded."""

    challenge: passkeys.Challenge
    made: passkeys.NewPasskey
    sub: str | None
    set_action: str = "passkey.added"

    @classmethod
    def verified(cls, *, application_id: str, ticket: str, response: str, browser: str) -> Self:
        """The passkey that this browser made for this application. Raises ChallengeEnded, PasskeyNotTaken."""
        challenge = passkeys.open_challenge(ticket, use=passkeys.ENROL, browser=browser, whose=application_id)
        made = passkeys.verify_new(response, challenge=challenge.value)
        return cls(challenge=challenge, made=made, sub=challenge.sub)

    @property
    def evidence(self) -> Evidence:
        return passkeys.evidence_of(is_synced=self.made.is_synced, is_person_verified=True)

    def prepare(self, *, context: Sequence[str]) -> None:
        pass

    def store(self, session: DatabaseSession, *, user: User, visitor: Visitor) -> None:
        if user.sub != self.sub:
            # Staff opened the account meanwhile: the passkey carries the handle of one that will never be.
            raise passkeys.ChallengeEnded
        passkeys.spend(session, self.challenge)
        passkeys.store_passkey(session, user=user, made=self.made, visitor=visitor)

    def prove(self, known: Known) -> str | None:
        """The same answer once more, from the same browser and within its ticket's life: nobody else has that."""
        with db.single_statements() as session:
            mine = session.scalar(
                sa.select(Passkey.id)
                .join(User, User.id == Passkey.user_id)
                .where(
                    User.sub == known.sub,
                    User.sub == self.sub,
                    Passkey.credential_id == self.made.credential_id,
                    Passkey.public_key == self.made.public_key,
                )
            )
        if mine is None:
            raise AlreadyEnrolled
        return None


def find_enrolled(*, application_id: str) -> bool:
    """Whether this application has become an account with a way in."""
    known = _known(User.application_id == application_id)
    return known is not None and known.is_opened


def ask_for_passkey(*, application_id: str, email: str, name: str, browser: str) -> passkeys.Question:
    """What the applicant's browser needs to make the passkey that opens the account. Writes nothing.

    Raises AlreadyEnrolled.
    """
    known = _known(User.application_id == application_id)
    if known is not None and known.is_opened:
        raise AlreadyEnrolled
    return passkeys.ask_for_first(
        application_id=application_id,
        sub=known.sub if known else None,
        email=email,
        name=name,
        browser=browser,
    )


def enrol(
    *,
    application_id: str,
    email: str,
    name: str,
    locale: str,
    roles: Sequence[str],
    is_email_verified: bool,
    first: FirstWayIn,
    visitor: Visitor,
) -> SignIn | Halfway:
    """Open the account of an application with its first way in, and sign its owner in.

    `is_email_verified` says whether the link that led here was mailed to the address. Where staff opened the
    account already, this gives it its first way in. Repeating it with the same one signs in again and
    changes nothing. Where the address has an account already, a proven address closes the application: it has
    become that account, which keeps its ways in, roles and name.
    Raises AlreadyEnrolled for another one, Throttled, EmailTaken, KeptOut, and what `first` raises.
    """
    refuse_blocked(visitor=visitor, email=email, method="enrolment")
    mine = User.application_id == application_id
    known = _known(mine)
    if known is not None and known.is_opened:
        return _repeat(known, first, visitor=visitor)
    first.prepare(context=[email, name])
    if known is not None:
        return _give(known, first, is_email_verified=is_email_verified, visitor=visitor)
    try:
        with acting_as(f"applicant:{application_id}"), db.transaction() as session:
            user = create_user(
                email=email,
                name=name,
                locale=locale,
                roles=list(roles),
                is_email_verified=is_email_verified,
                application_id=application_id,
                sub=first.sub,
            )
            first.store(session, user=user, visitor=visitor)
            outbox.record(AccountOpened(sub=user.sub, application_id=application_id))
            return begin_session(
                session, user=user, evidence=first.evidence, method="enrolment", visitor=visitor
            )
    except (ApplicationTaken, EmailTaken):
        known = _known(mine)
        if known is None:
            # The address is that of an account which did not come from this application.
            if is_email_verified:
                with acting_as(f"applicant:{application_id}"):
                    open_account(
                        application_id=application_id, email=email, name=name, locale=locale, roles=roles
                    )
            raise
        # Somebody, most often the same person pressing twice, was faster.
        if not known.is_opened:
            return _give(known, first, is_email_verified=is_email_verified, visitor=visitor)
        return _repeat(known, first, visitor=visitor)


def _known(condition: sa.ColumnElement[bool]) -> Known | None:
    with db.transaction() as session:
        return session.execute(
            sa.select(User.sub, User.status, PasswordCredential.hash, was_opened(User.id).label("is_opened"))
            .outerjoin(PasswordCredential, PasswordCredential.user_id == User.id)
            .where(condition)
        ).one_or_none()


def _repeat(known: Known, first: FirstWayIn, *, visitor: Visitor) -> SignIn | Halfway:
    """Whoever has enrolled already is signed in as at any other time, with the right password or passkey alone.

    A wrong one counts, and is written down, as at the sign-in page. Raises Throttled.
    """
    standing = _standing_of(known, visitor)
    count_attempt()
    admission = admit("login", visitor=visitor, standing=standing, method="enrolment")
    try:
        proof = first.prove(known)
    except AlreadyEnrolled:
        user_id = standing.user.id
        record_failure("bad_password", method="enrolment", visitor=visitor, user_id=user_id)
        raise
    except TooBusy:  # not for the password's sake
        admission.give_back()
        raise
    admission.give_back()
    return _let_in(standing, first, proof=proof, visitor=visitor)


def _standing_of(known: Known, visitor: Visitor) -> Standing:
    standing = find_standing(User.sub == known.sub, visitor=visitor)
    if standing is None:
        raise AlreadyEnrolled
    return standing


def _let_in(
    standing: Standing, first: FirstWayIn, *, proof: str | None, visitor: Visitor
) -> SignIn | Halfway:
    try:
        return go_on(standing, evidence=first.evidence, method="enrolment", visitor=visitor, proof=proof)
    except (AccountDisabled, StandingChanged):
        raise AlreadyEnrolled from None


def _give(known: Known, first: FirstWayIn, *, is_email_verified: bool, visitor: Visitor) -> SignIn | Halfway:
    """The first way in of an account that staff opened."""
    with db.transaction() as session:
        user = lock_user(session, sub=known.sub)
        if not user.is_active:
            raise AlreadyEnrolled
        is_first = not is_opened(session, user.id)
        if is_first:
            first.store(session, user=user, visitor=visitor)
            with acting_as(f"user:{user.sub}"):
                end_links(session, user)
                audit.record(first.set_action, target=f"user:{user.sub}")
                if is_email_verified:
                    mark_email_verified(user)
    given = _known(User.sub == known.sub)
    assert given is not None
    if not is_first:
        return _repeat(given, first, visitor=visitor)
    return _let_in(_standing_of(given, visitor), first, proof=first.prove(given), visitor=visitor)
