"""Enrolling: an approved application becomes an account with a password, once, and its owner is signed in."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.audit import acting_as
from libs.database import utcnow
from libs.messaging.events import AccountOpened
from libs.web.problems import Problem
from services.account.extensions import audit, db, outbox
from services.account.flows.factors import PASSWORD, find_standing
from services.account.flows.login import AccountDisabled, Halfway, go_on
from services.account.flows.password_links import open_account
from services.account.flows.passwords import passwords, store_first_password
from services.account.flows.sessions import SignIn, StandingChanged, begin_session
from services.account.flows.users import (
    ApplicationTaken,
    EmailTaken,
    create_user,
    lock_user,
    mark_email_verified,
)
from services.account.flows.visitor import Visitor
from services.account.models import PasswordCredential, PasswordLink, User


class AlreadyEnrolled(Problem):
    """The account of this application has a password: its owner signs in with it."""

    status, slug, title = 409, "already-enrolled", lazy_gettext("Your account is ready: sign in")


def find_enrolled(*, application_id: str) -> bool:
    """Whether this application has become an account that can sign in."""
    with db.transaction() as session:
        return (
            session.scalar(
                sa.select(User.id)
                .join(PasswordCredential, PasswordCredential.user_id == User.id)
                .where(User.application_id == application_id)
            )
            is not None
        )


def enrol(
    *,
    application_id: str,
    email: str,
    name: str,
    locale: str,
    roles: Sequence[str],
    is_email_verified: bool,
    password: str,
    visitor: Visitor,
) -> SignIn | Halfway:
    """Open the account of an application with a password, and sign its owner in.

    `is_email_verified` says whether the link that led here was mailed to the address. Where staff opened the
    account already, this gives it its first password. Repeating it with the same password signs in again and
    changes nothing. Where the address has an account already, a proven address closes the application: it has
    become that account, which keeps its password, roles and name.
    Raises AlreadyEnrolled for another password, PasswordRefused, TooBusy, EmailTaken.
    """
    mine = User.application_id == application_id
    known = _known(mine)
    if known is not None and known.hash is not None:
        return _repeat(known, password=password, visitor=visitor)
    passwords().check(password, context=[email, name])
    hashed = passwords().hash(password)
    if known is not None:
        return _give_password(known, password, hashed, is_email_verified=is_email_verified, visitor=visitor)
    try:
        with acting_as(f"applicant:{application_id}"), db.transaction() as session:
            user = create_user(
                email=email,
                name=name,
                locale=locale,
                roles=list(roles),
                is_email_verified=is_email_verified,
                application_id=application_id,
                hashed_password=hashed,
            )
            outbox.record(AccountOpened(sub=user.sub, application_id=application_id))
            return begin_session(session, user=user, evidence=PASSWORD, method="enrolment", visitor=visitor)
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
        if known.hash is None:
            return _give_password(
                known, password, hashed, is_email_verified=is_email_verified, visitor=visitor
            )
        return _repeat(known, password=password, visitor=visitor)


Known = sa.Row[Any]
"""sub, status and the password's hash, or None."""


def _known(condition: sa.ColumnElement[bool]) -> Known | None:
    with db.transaction() as session:
        return session.execute(
            sa.select(User.sub, User.status, PasswordCredential.hash)
            .outerjoin(PasswordCredential, PasswordCredential.user_id == User.id)
            .where(condition)
        ).one_or_none()


def _repeat(known: Known, *, password: str, visitor: Visitor) -> SignIn | Halfway:
    """Whoever has enrolled already is signed in as at any other time, with the right password alone."""
    if not passwords().is_right(password, known.hash):
        raise AlreadyEnrolled
    standing = find_standing(User.sub == known.sub, visitor=visitor)
    if standing is None:
        raise AlreadyEnrolled
    try:
        return go_on(standing, evidence=PASSWORD, method="enrolment", visitor=visitor, proof=known.hash)
    except (AccountDisabled, StandingChanged):
        raise AlreadyEnrolled from None


def _give_password(
    known: Known, password: str, hashed: str, *, is_email_verified: bool, visitor: Visitor
) -> SignIn | Halfway:
    """The first password of an account that staff opened."""
    with db.transaction() as session:
        user = lock_user(session, sub=known.sub)
        if not user.is_active:
            raise AlreadyEnrolled
        if store_first_password(session, user_id=user.id, hashed=hashed):
            with acting_as(f"user:{user.sub}"):
                session.execute(
                    sa.update(PasswordLink)
                    .where(PasswordLink.user_id == user.id, PasswordLink.used_at.is_(None))
                    .values(used_at=utcnow())
                )
                audit.record("password.set", target=f"user:{user.sub}")
                if is_email_verified:
                    mark_email_verified(user)
    given = _known(User.sub == known.sub)
    assert given is not None
    return _repeat(given, password=password, visitor=visitor)
