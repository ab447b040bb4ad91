"""Leaving: an account is erased after a time of grace, unless its owner thinks better of it."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.messaging.events import MailRequested, UserErased
from libs.observe.logs import get_logger
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.extensions import audit, db, outbox
from services.account.flows.email_change import proven_emails
from services.account.flows.notices import tell
from services.account.flows.revoking import revoke_access
from services.account.flows.users import (
    LastAdministrator,
    UnknownUser,
    get_user,
    keep_an_administrator,
    lock_user,
    normalise_email,
)
from services.account.flows.visitor import Visitor
from services.account.models import LoginEvent, User

log = get_logger("account.erasure")

PEOPLE_PER_BATCH = 20
EVENTS_PER_BATCH = 1000


class NotTheAddress(Problem):
    """Whoever erases their account types its address, so that nobody does it by a slip."""

    status, slug, title = 422, "not-the-address", lazy_gettext("This is not the address of the account")


def is_address_of(user: User, typed_email: str) -> bool:
    """Whether whoever erases the account has typed its address, however they write it."""
    return normalise_email(typed_email) == user.email_normalised


def ask_to_leave(*, sub: str, typed_email: str, visitor: Visitor) -> datetime:
    """A person wants their account erased. Returns when it will be. Raises NotTheAddress, LastAdministrator."""
    if not is_address_of(get_user(sub=sub), typed_email):
        words = gettext("Type the address of your account, as it stands above.")
        raise NotTheAddress(errors={"email": words})
    return erase_user(sub=sub, visitor=visitor)


def erase_user(
    *, sub: str, now: bool = False, reason: str | None = None, visitor: Visitor | None = None
) -> datetime:
    """Erase an account: after the time of grace, of which its owner is told, or at once. Returns when.

    Sessions and grants end either way. Asked again, the time already set stays. `visitor` is the owner's browser,
    None for staff. Raises UnknownUser, LastAdministrator.
    """
    if now:
        _erase(sub, reason=reason)
        return utcnow()
    with db.transaction() as session:
        user = _lock(session, sub)
        if user.erase_at is not None:
            return user.erase_at
        user.erase_at = utcnow() + parts_of(current_app).settings.ERASE_GRACE
        session.flush()
        revoke_access(sub=sub, cause="erased")
        audit.record(
            "user.erasure_scheduled", target=f"user:{sub}", after={"erase_at": user.erase_at}, reason=reason
        )
        tell(
            session,
            user=user,
            template="erasure_scheduled",
            visitor=visitor,
            context={"erase_at": user.erase_at.isoformat()},
        )
        return user.erase_at


def keep_account(*, sub: str, visitor: Visitor | None = None) -> bool:
    """The person thinks better of it, or staff do for them. False when nothing was to be erased. Raises UnknownUser."""
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        if user.erase_at is None:
            return False
        user.erase_at = None
        session.flush()
        audit.record("user.erasure_cancelled", target=f"user:{sub}")
        tell(session, user=user, template="account_kept", visitor=visitor)
        return True


def erase_due() -> int:
    """Erase the accounts whose time has come, at most PEOPLE_PER_BATCH. Returns how many."""
    with db.single_statements() as session:
        due = session.scalars(
            sa.select(User.sub)
            .where(User.erase_at <= utcnow())
            .order_by(User.erase_at)
            .limit(PEOPLE_PER_BATCH)
        ).all()
    return sum(_erase_if_due(sub) for sub in due)


def _erase_if_due(sub: str) -> bool:
    try:
        return _erase(sub, reason="asked for", must_be_due=True)
    except LastAdministrator:
        log.warning("last_administrator_stays", sub=sub)
    except UnknownUser:
        log.info("erased_meanwhile", sub=sub)
    return False


def _erase(sub: str, *, reason: str | None, must_be_due: bool = False) -> bool:
    """Everything of the person, and every other service is told to do the same. Raises LastAdministrator."""
    # Outside the transaction: nobody else waits for what may be a hundred thousand guesses at this account.
    while _forget_login_events(sub, must_be_due=must_be_due) == EVENTS_PER_BATCH:
        pass
    with db.transaction() as session:
        user = _lock(session, sub)
        if must_be_due and not _is_due(user):
            return False  # they thought better of it a moment ago
        revoke_access(sub=sub, cause="erased")
        # notification keeps the address until this last mail has left.
        outbox.record(
            MailRequested(
                template="account_erased",
                recipient=user.email,
                locale=user.locale,
                context={"name": user.name},
                deduplication_key=f"account_erased:{sub}",
            )
        )
        proven = proven_emails(session, user)
        outbox.record(UserErased(sub=sub, emails=proven.emails, left=proven.left))
        _delete(session, LoginEvent, LoginEvent.user_id == user.id)
        _delete(session, User, User.id == user.id)  # and with it all that hangs on it
        _forget_in_audit([user.email, user.email_normalised, *proven.emails], sub=sub)
        audit.record("user.erased", target=f"user:{sub}", reason=reason)
    log.info("user_erased", sub=sub)
    return True


def _is_due(user: User) -> bool:
    return user.erase_at is not None and user.erase_at <= utcnow()


def _forget_login_events(sub: str, *, must_be_due: bool) -> int:
    """A batch of them, unless the account is to stay. Raises UnknownUser, LastAdministrator."""
    with db.transaction() as session:
        user = _lock(session, sub)
        if must_be_due and not _is_due(user):
            return 0
        batch = sa.select(LoginEvent.id).where(LoginEvent.user_id == user.id).limit(EVENTS_PER_BATCH)
        return _delete(session, LoginEvent, LoginEvent.id.in_(batch))


def _delete(session: DatabaseSession, table: Any, condition: sa.ColumnElement[bool]) -> int:
    done = session.execute(sa.delete(table).where(condition).execution_options(synchronize_session=False))
    return int(done.rowcount)  # type: ignore[attr-defined]


def _forget_in_audit(emails: list[str], *, sub: str) -> None:
    """Where an operator named the person by address, the audit names them by sub as everywhere else.

    What they called their passkeys, and were called elsewhere, goes.
    """
    targets = [f"email:{email}" for email in emails]
    table, whose = audit.table, f"user:{sub}"
    db.session.execute(table.update().where(table.c.target.in_(targets)).values(target=whose))
    for column in (table.c.before, table.c.after):
        db.session.execute(
            table.update()
            .where(table.c.target == whose, column.has_key("name"))
            .values({column: column.op("-")(sa.literal("name", sa.Text))})
        )


def _lock(session: DatabaseSession, sub: str) -> User:
    """The person's row, locked; an administrator's only while another one stays.

    Raises UnknownUser, LastAdministrator.
    """
    user = lock_user(session, sub=sub)
    keep_an_administrator(session, user)
    return user
