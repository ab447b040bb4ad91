"""The ways into an account: a password, a passkey, a linked account elsewhere. The last one cannot be removed."""

import uuid
from typing import Any

import sqlalchemy as sa
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.orm import aliased

from libs.web.problems import Problem
from services.account.flows.passwords import UNUSABLE
from services.account.models import LinkedIdentity, Passkey, PasswordCredential, User
from services.account.providers import providers


class LastWayIn(Problem):
    """Without this the person could not sign in any more."""

    status, slug, title = 409, "last-way-in", lazy_gettext("This is your only way to sign in")


def was_opened(user_id: Any) -> sa.ColumnElement[bool]:
    """SQL: whether the person of this id, a value or a column, ever got a way in.

    A password that was made unusable counts: the account is not one for whoever comes first.
    """
    # Under names of their own, so that a query which joins one of these tables can ask this too.
    ways: list[Any] = [aliased(table) for table in (PasswordCredential, Passkey, LinkedIdentity)]
    return sa.or_(*(sa.exists().where(way.user_id == user_id) for way in ways))


def is_opened(session: DatabaseSession, user_id: uuid.UUID) -> bool:
    """Whether the person ever got a way in, as this transaction sees it."""
    return bool(session.scalar(sa.select(was_opened(user_id))))


def can_sign_in(user_id: Any) -> sa.ColumnElement[bool]:
    """SQL: whether the person of this id, a value or a column, has any way in that opens."""
    password, passkey, identity = aliased(PasswordCredential), aliased(Passkey), aliased(LinkedIdentity)
    return sa.or_(
        sa.exists().where(password.user_id == user_id, password.hash != UNUSABLE),
        sa.exists().where(passkey.user_id == user_id),
        # One of a provider that is not declared any more signs nobody in.
        sa.exists().where(identity.user_id == user_id, identity.provider.in_(list(providers()))),
    )


def has_way_in(session: DatabaseSession, user_id: uuid.UUID) -> bool:
    """Whether the person can sign in by anything, as this transaction sees it."""
    return bool(session.scalar(sa.select(can_sign_in(user_id))))


def begins_without_passkey(session: DatabaseSession, user_id: uuid.UUID) -> bool:
    """Whether a sign-in of this person can begin with something else, so that a passkey is a second step after it.

    A password that was made unusable counts: its owner gets another by mail.
    """
    ways = (
        sa.exists().where(PasswordCredential.user_id == user_id),
        sa.exists().where(LinkedIdentity.user_id == user_id),
    )
    return bool(session.scalar(sa.select(sa.or_(*ways))))


def keep_a_way_in(session: DatabaseSession, user: User) -> None:
    """Call after removing one, in the same transaction: it stays when it was the last.

    Whoever removes locks the person's row first (lock_user); it is locked here all the same, so that of two removed
    side by side the second sees what the first has left. Raises LastWayIn.
    """
    session.flush()
    session.execute(sa.select(User.id).where(User.id == user.id).with_for_update(key_share=True))
    if not has_way_in(session, user.id):
        raise LastWayIn(gettext("Add another one first: a passkey, a password or a linked account."))
