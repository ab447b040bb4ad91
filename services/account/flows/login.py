"""Signing in: the one road from a proven factor to a session, whatever the factor was."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from flask import current_app
from flask_babel import gettext, lazy_gettext

from libs.service import parts_of
from libs.web.problems import Problem
from services.account.extensions import db
from services.account.flows import mail_code
from services.account.flows.attempts import AttemptEnded, spend, wait_for
from services.account.flows.factors import PASSWORD, Evidence, KeptOut, Standing, find_standing
from services.account.flows.login_events import count_attempt, record_failure
from services.account.flows.passwords import TooBusy, passwords
from services.account.flows.sessions import SignIn, StandingChanged, begin_session
from services.account.flows.throttle import Throttled, admit
from services.account.flows.users import normalise_email
from services.account.flows.visitor import Visitor
from services.account.models import PasswordCredential, SignInAttempt, User

LOOKS = 3
"""How often a person who changes meanwhile is looked at anew."""
QUIET_METHODS = ("enrolment", "link")
"""Ways that come with a mail of their own: nobody is told of the device a second time."""


class LoginRefused(Problem):
    """Address and password do not belong together, or there is no such account: the words do not tell which."""

    status, slug, title = 422, "login-refused", lazy_gettext("You are not signed in")


class AccountDisabled(LoginRefused):
    """The proof is right and the account is closed; only its owner learns this."""

    slug = "account-disabled"


@dataclass(frozen=True, kw_only=True)
class Halfway:
    """The first step is done; `needs` says what is missing. It opens nothing by itself."""

    attempt_id: uuid.UUID
    needs: str
    """`second_factor` or `mail_code`."""


def log_in(*, email: str, password: str, visitor: Visitor) -> SignIn | Halfway:
    """Sign a person in with e-mail and password.

    A known and an unknown address cost the same: one query, one try counted, one hash, one row written.
    Raises Throttled, LoginRefused, AccountDisabled, KeptOut, TooBusy.
    """
    count_attempt()
    address = normalise_email(email)
    standing = _find_typed(address, visitor)
    admission = admit("login", visitor=visitor, standing=standing, typed=address, method="password")
    try:
        done = _with_password(standing, password, typed=address, visitor=visitor)
    except (TooBusy, Throttled):  # not for the password's sake
        admission.give_back()
        raise
    admission.give_back()
    return done


def _with_password(
    standing: Standing | None, password: str, *, typed: str, visitor: Visitor
) -> SignIn | Halfway:
    checked: str | None = None
    for look in range(LOOKS):
        if look:
            standing = _find_typed(typed, visitor)
        stored = standing.password_hash if standing else None
        if stored is None or stored != checked:
            if not passwords().is_right(password, stored):
                raise _wrong(standing, visitor=visitor, typed=typed)
            checked = stored
        assert standing is not None and stored is not None
        if passwords().needs_rehash(stored):
            # Before anything rests on it: a second step would find another proof than the one that it began with.
            checked = stored = _rehash(standing.user, stored, password)
        try:
            return go_on(standing, evidence=PASSWORD, method="password", visitor=visitor, proof=stored)
        except StandingChanged:
            continue
    raise TooBusy(gettext("Please try again in a moment."), retry_after=2)


def sign_in(
    condition: sa.ColumnElement[bool],
    *,
    evidence: Evidence,
    method: str,
    visitor: Visitor,
    proof: str | None = None,
    provider: str | None = None,
) -> SignIn | Halfway:
    """Sign in the person of this condition on `users`, who has just proven themselves by `evidence`.

    `proof` is the hash of the password that they have just set, where that is what it rests on.

    Raises LoginRefused, AccountDisabled, KeptOut.
    """
    for _ in range(LOOKS):
        standing = _find(condition, method=method, visitor=visitor)
        if standing is None:
            raise _refused("unknown_account", method=method, visitor=visitor)
        try:
            return go_on(
                standing, evidence=evidence, method=method, visitor=visitor, proof=proof, provider=provider
            )
        except StandingChanged:
            continue
    raise TooBusy(gettext("Please try again in a moment."), retry_after=2)


def go_on(
    standing: Standing,
    *,
    evidence: Evidence,
    method: str,
    visitor: Visitor,
    proof: str | None = None,
    provider: str | None = None,
) -> SignIn | Halfway:
    """From a proven factor to a session, or to the step that is missing. Every way to sign in comes through here.

    `proof` is the hash of the password that was entered: replaced meanwhile, it proves nothing any more.
    Raises AccountDisabled, Throttled; StandingChanged when the person has to be looked at anew.
    """
    user = standing.user
    if not user.is_active:
        raise _refused("disabled", AccountDisabled, method=method, visitor=visitor, user=user)
    needs = _missing(standing, evidence, method)
    if needs == "mail_code":
        attempt = mail_code.begin(
            standing, evidence=evidence, proof=proof, provider=provider, method=method, visitor=visitor
        )
        return Halfway(attempt_id=attempt, needs=needs)
    if needs is not None:
        attempt = wait_for(
            needs, user_id=user.id, evidence=evidence, visitor=visitor, proof=proof, provider=provider
        )
        return Halfway(attempt_id=attempt, needs=needs)
    with db.single_statements() as session:
        return begin_session(
            session,
            user=user,
            evidence=evidence,
            method=method,
            visitor=visitor,
            proof=proof,
            provider=provider,
            is_known_device=standing.is_known_device,
            is_new_device=_is_news(standing, method),
        )


def _missing(standing: Standing, evidence: Evidence, method: str) -> str | None:
    """The step that this person's sign-in still lacks."""
    if standing.has_second_factor and not evidence.is_multi_factor:
        return "second_factor"
    # While limits are enhanced, what one factor proves on a strange browser is not enough. A mail has been read for
    # the quiet methods already.
    is_doubtful = evidence.acr == "1" and not standing.is_known_device and method not in QUIET_METHODS
    if is_doubtful and parts_of(current_app).enhanced.is_on():
        return "mail_code"
    return None


def _is_news(standing: Standing, method: str) -> bool:
    """Whether the person is told of this device: a first one is no news to anybody."""
    return standing.has_known_devices and not standing.is_known_device and method not in QUIET_METHODS


def finish(attempt: SignInAttempt, *, evidence: Evidence | None, method: str, visitor: Visitor) -> SignIn:
    """Sign in whoever brought the missing step, once. The caller has checked it.

    `evidence` is None for a step that is no factor: a code by mail.

    Raises AttemptEnded, AccountDisabled, KeptOut.
    """
    proven = Evidence(tuple(attempt.amr))
    if evidence is not None:
        proven = proven.and_also(evidence)
    for _ in range(LOOKS):
        standing = _find(User.id == attempt.user_id, method=method, visitor=visitor)
        if standing is None:
            raise AttemptEnded
        user = standing.user
        if not user.is_active:
            raise _refused("disabled", AccountDisabled, method=method, visitor=visitor, user=user)
        if attempt.proof is not None and attempt.proof != standing.password_hash:
            raise AttemptEnded
        if _missing(standing, proven, method) == "second_factor":
            raise AttemptEnded  # set up since this began
        try:
            with db.transaction() as session:
                spend(attempt)
                return begin_session(
                    session,
                    user=user,
                    evidence=proven,
                    method=method,
                    visitor=visitor,
                    proof=attempt.proof,
                    provider=attempt.provider,
                    is_known_device=standing.is_known_device,
                    is_new_device=_is_news(standing, method),
                )
        except StandingChanged:
            continue
    raise TooBusy(gettext("Please try again in a moment."), retry_after=2)


def finish_by_mail_code(*, attempt_id: uuid.UUID | None, code: str, visitor: Visitor) -> SignIn:
    """Sign in whoever has read the code in their mail.

    Raises WrongCode, AttemptEnded, AccountDisabled, KeptOut.
    """
    attempt = mail_code.check(attempt_id=attempt_id, code=code, visitor=visitor)
    return finish(attempt, evidence=None, method="mail_code", visitor=visitor)


# -- refusing --------------------------------------------------------------------------------------------------


def _find_typed(address: str, visitor: Visitor) -> Standing | None:
    return _find(User.email_normalised == address, method="password", visitor=visitor, typed=address)


def _find(
    condition: sa.ColumnElement[bool], *, method: str, visitor: Visitor, typed: str | None = None
) -> Standing | None:
    domain = typed.rpartition("@")[2] if typed is not None else None
    try:
        return find_standing(condition, visitor=visitor, typed_domain=domain)
    except KeptOut:
        record_failure("throttled", method=method, visitor=visitor, typed=typed)
        raise


def _wrong(standing: Standing | None, *, visitor: Visitor, typed: str) -> LoginRefused:
    if standing is None:
        return _refused("unknown_account", method="password", visitor=visitor, typed=typed)
    has_opened = standing.password_hash or standing.has_passkey
    reason = "bad_password" if has_opened else "not_activated"
    return _refused(reason, method="password", visitor=visitor, user=standing.user)


def _refused(
    reason: str,
    kind: Callable[[str], LoginRefused] | None = None,
    *,
    method: str,
    visitor: Visitor,
    user: User | None = None,
    typed: str | None = None,
) -> LoginRefused:
    record_failure(reason, method=method, visitor=visitor, user_id=user.id if user else None, typed=typed)
    if kind is AccountDisabled:
        return AccountDisabled(
            gettext("This account is disabled. If you think that is a mistake, write to us.")
        )
    return LoginRefused(gettext("The e-mail address or the password is not right."))


def _rehash(user: User, stored: str, password: str) -> str:
    """Keep the password under the cost that the settings ask for now, unless it was changed meanwhile.

    Returns the hash that stands for it from here on.
    """
    try:
        hashed = passwords().hash(password)
    except TooBusy:
        return stored  # the next sign-in will
    with db.single_statements() as session:
        kept = session.scalar(
            sa.update(PasswordCredential)
            .where(PasswordCredential.user_id == user.id, PasswordCredential.hash == stored)
            .values(hash=hashed)
            .returning(PasswordCredential.hash)
            .execution_options(synchronize_session=False)
        )
    return kept or stored
