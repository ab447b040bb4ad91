"""Changing a password with the old one, and setting one where there is none."""

from dataclasses import dataclass, field

import sqlalchemy as sa
from flask_babel import gettext, lazy_gettext

from libs.web.problems import Problem
from services.account.extensions import audit, db
from services.account.flows.notices import tell
from services.account.flows.passwords import PasswordRefused, TooBusy, passwords, replace_password
from services.account.flows.revoking import revoke_access
from services.account.flows.securing import end_what_is_open
from services.account.flows.sessions import renew_secret
from services.account.flows.throttle import admit
from services.account.flows.users import get_user, lock_user
from services.account.flows.visitor import Visitor
from services.account.models import PasswordCredential, User


class WrongPassword(Problem):
    """The old password is not right."""

    status, slug, title = 422, "wrong-password", lazy_gettext("The present password is not right")


class PasswordChanged(Problem):
    """Somebody else, or the same person in another tab, has set another password or ended the session meanwhile."""

    status, slug, title = 409, "password-changed", lazy_gettext("The password was changed meanwhile")


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A password was set. `secrets` is what the browser's cookie holds from now on."""

    secrets: list[str] = field(repr=False)


def change_password(
    *, sub: str, sid: str, old_password: str | None, new_password: str, visitor: Visitor
) -> Changed:
    """Set a new password from within a session, which lives on under a new secret; all others and all grants end.

    `old_password` is None where there is none to know: the caller has asked for a fresh sign-in. Second factors
    stay. Raises Throttled, WrongPassword, PasswordRefused, PasswordChanged, TooBusy.
    """
    user = get_user(sub=sub)
    with db.single_statements() as session:
        stored = session.scalar(
            sa.select(PasswordCredential.hash).where(PasswordCredential.user_id == user.id)
        )
    if stored:
        _check_old(user, stored, old_password or "", visitor)
    if stored and new_password == old_password:
        message = gettext("This is the password that you have already.")
        raise PasswordRefused(errors={"password": message})
    passwords().check(new_password, context=[user.email, user.name])
    hashed = passwords().hash(new_password)
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        current = session.scalar(
            sa.select(PasswordCredential.hash).where(PasswordCredential.user_id == user.id).with_for_update()
        )
        if (current or None) != (stored or None) or not user.is_active:
            raise PasswordChanged(gettext("Nothing was changed here. Please look again."))
        replace_password(session, user_id=user.id, hashed=hashed)
        end_what_is_open(session, user)
        revoke_access(sub=sub, cause="password_changed", keep_sid=sid)
        secrets = renew_secret(session, sid=sid, held=visitor.held)
        if secrets is None:
            # Ended since this request began, and with it the right to set a password from within.
            raise PasswordChanged(gettext("Nothing was changed here. Please look again."))
        audit.record("password.changed" if stored else "password.set", target=f"user:{sub}")
        tell(session, user=user, template="password_changed", visitor=visitor)
    return Changed(secrets=secrets)


def _check_old(user: User, stored: str, old_password: str, visitor: Visitor) -> None:
    """Only who sits at an open session of theirs comes here: nobody else can use up these tries."""
    admission = admit("old_password", visitor=visitor, standing=None, typed=user.email_normalised)
    try:
        is_right = passwords().is_right(old_password, stored)
    except TooBusy:
        admission.give_back()
        raise
    if not is_right:
        raise WrongPassword(errors={"old_password": gettext("This is not your present password.")})
    admission.give_back()
