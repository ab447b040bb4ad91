"""The ways into an account: a password, a passkey, a linked account elsewhere. The last one cannot be removed."""

import uuid
from typing import Any

import sqlalchemy as sa
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.orm import aliased

from libs.web.problems import Problem
from services.account.models import LinkedIdentity, Passkey, PasswordCredential, User
from services.account.providers import providers


class LastWayIn(Problem):
    """Without this the person could not sign in any more."""

    status, slug, title = 409, "last-way-in", lazy_gettext("This is your only way to sign in")


def can_sign_in(user_id: Any) -> sa.ColumnElement[bool]:
    """SQL: whether the person of this id, a value or a column, has any way in."""
    # Under names of their own, so that a query which joins one of these tables can ask this too.
    password, passkey, identity = aliased(PasswordCredential), aliased(Passkey), aliased(LinkedIdentity)
    return sa.or_(
        sa.exists().where(password.user_id == user_id),
        sa.exists().where(passkey.user_id == user_id),
        # One of a provider that is not declared any more signs nobody in.
        sa.exists().where(identity.user_id == user_id, identity.provider.in_(list(providers()))),
    )


def has_way_in(session: DatabaseSession, user_id: uuid.UUID) -> bool:
    """Whether the person can sign in by anything, as this transaction sees it."""
    return bool(session.scalar(sa.select(can_sign_in(user_id))))


def keep_a_way_in(session: DatabaseSession, user: User) -> None:
    """Call after removing one, in the same transaction: it stays when it was the last.

    Whoever removes locks the person's row first (lock_user); it is locked here all the same, so that of two removed
    side by side the second sees what the first has left. Raises LastWayIn.
    """
    session.flush()
    session.execute(sa.select(User.id).where(User.id == user.id).with_for_update(key_share=True))
    if not has_way_in(session, user.id):
        raise LastWayIn(gettext("Add another one first: a passkey, a password or a linked account."))
