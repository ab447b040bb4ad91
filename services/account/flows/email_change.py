"""Another e-mail address: inert until its owner has used the link mailed there, signed in to the account."""

from dataclasses import dataclass

import sqlalchemy as sa
from flask import current_app
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.guard import single_use
from libs.messaging.events import MailRequested
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.extensions import audit, db, outbox
from services.account.flows.notices import end_notices, tell
from services.account.flows.password_links import end_links
from services.account.flows.users import BadUser, is_address, lock_user, normalise_email, replace_email
from services.account.flows.visitor import Visitor
from services.account.models import EmailChange, User


class ChangeEnded(Problem):
    """No such link, or one that was used, replaced by a newer one, or has expired."""

    status, slug, title = 410, "change-ended", lazy_gettext("This link does not work any more")


class OtherAccount(Problem):
    """The link belongs to another account than the one that is signed in."""

    status, slug = 403, "other-account"
    title = lazy_gettext("You are signed in to another account")


def ask_for_change(*, sub: str, email: str) -> None:
    """Mail a link to the new address; it ends the earlier one. Nothing else changes yet.

    Whoever asks learns nothing about the address: where somebody has it already, that mailbox is told so instead.
    Raises BadUser.
    """
    email = email.strip()
    if not is_address(email):
        raise BadUser(errors={"email": gettext("This does not look like an e-mail address.")})
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        if normalise_email(email) == user.email_normalised:
            raise BadUser(errors={"email": gettext("This is the address of your account already.")})
        end_changes(session, user)
        owner = session.scalar(
            sa.select(User)
            .where(User.email_normalised == normalise_email(email))
            .execution_options(populate_existing=True)
        )
        token, digest = single_use.make()
        now = utcnow()
        change = EmailChange(
            user_id=user.id,
            email=email,
            token_digest=digest,
            created_at=now,
            expires_at=now + parts_of(current_app).settings.EMAIL_CHANGE_LIFETIME,
        )
        session.add(change)
        session.flush()
        outbox.record(_link(user, change, token) if owner is None else _warning(owner, change))
        audit.record("email_change.asked", target=f"user:{sub}")


def _link(user: User, change: EmailChange, token: str) -> MailRequested:
    settings = parts_of(current_app).settings
    return MailRequested(
        template="confirm_new_email",
        recipient=change.email,
        locale=user.locale,
        context={
            # The mailbox may be a stranger's: they are not told whose account it is, and no name can be a message.
            "name": "",
            "link": f"{settings.PUBLIC_URL}/account/email/confirm?token={token}",
            "expires_at": change.expires_at.isoformat(),
        },
        deduplication_key=f"email_change:{change.id}",
        expires_at=change.expires_at.isoformat(),
    )


def _warning(owner: User, change: EmailChange) -> MailRequested:
    """To whoever has the address. The token made for it never leaves."""
    return MailRequested(
        template="email_in_use",
        recipient=owner.email,
        locale=owner.locale,
        context={"name": owner.name},
        deduplication_key=f"email_change:{change.id}",
        expires_at=change.expires_at.isoformat(),
    )


def end_changes(session: DatabaseSession, user: User) -> None:
    """End the links that are out, in the transaction under way."""
    session.execute(
        sa.update(EmailChange)
        .where(EmailChange.user_id == user.id, EmailChange.used_at.is_(None))
        .values(used_at=utcnow())
        .execution_options(synchronize_session=False)
    )


def look_at_change(*, sub: str, token: str) -> str:
    """The new address of a living link of this person; spends nothing. Raises ChangeEnded, OtherAccount."""
    with db.single_statements() as session:
        found = session.execute(
            sa.select(EmailChange.email, User.sub)
            .join(User, User.id == EmailChange.user_id)
            .where(EmailChange.token_digest == single_use.digest(token), *_is_alive())
        ).one_or_none()
    if found is None:
        raise ChangeEnded
    if found.sub != sub:
        raise OtherAccount
    email: str = found.email
    return email


def _is_alive() -> list[sa.ColumnElement[bool]]:
    return [EmailChange.used_at.is_(None), EmailChange.expires_at > utcnow()]


def confirm_change(*, sub: str, token: str, visitor: Visitor) -> User:
    """Spend the link: from now on the account has the new address, proven; the old one is told if it was proven.

    Raises ChangeEnded, OtherAccount; EmailTaken when somebody else was faster, and then nothing is spent.
    """
    look_at_change(sub=sub, token=token)
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        old, is_proven = user.email, user.email_verified_at is not None
        email = session.scalar(
            sa.update(EmailChange)
            .where(
                EmailChange.token_digest == single_use.digest(token),
                EmailChange.user_id == user.id,
                *_is_alive(),
            )
            .values(used_at=utcnow(), previous_email=old if is_proven else None)
            .returning(EmailChange.email)
            .execution_options(synchronize_session=False)
        )
        if email is None:
            raise ChangeEnded
        replace_email(user, email)
        # What was mailed to the old address opens nothing any more.
        end_links(session, user)
        if is_proven:
            tell(session, user=user, template="email_changed", visitor=visitor, to=old)
        else:
            # It may be a stranger's, who has no claim to what is nobody's at that address any more.
            end_notices(session, user)
        return user


@dataclass(frozen=True, kw_only=True)
class ProvenEmails:
    """The addresses that a person has proven, none that has become somebody else's account since.

    In the spellings in which other services may know them: as written, and folded.
    """

    emails: list[str]
    left: dict[str, str]
    """Until when each earlier one was theirs."""


def proven_emails(session: DatabaseSession, user: User) -> ProvenEmails:
    """The present one, and those that a change has replaced."""
    earlier = session.execute(
        sa.select(EmailChange.previous_email, EmailChange.used_at)
        .where(EmailChange.user_id == user.id, EmailChange.previous_email.is_not(None))
        .order_by(EmailChange.used_at)
    ).all()
    addresses = {normalise_email(row.previous_email): row.previous_email for row in earlier}
    left = {normalise_email(row.previous_email): row.used_at.isoformat() for row in earlier}
    left.pop(user.email_normalised, None)
    if user.email_verified_at is not None:
        addresses[user.email_normalised] = user.email
    others = session.scalars(
        sa.select(User.email_normalised).where(User.email_normalised.in_(addresses), User.id != user.id)
    )
    for taken in others:
        del addresses[taken]
    return ProvenEmails(
        emails=list(dict.fromkeys([*addresses.values(), *addresses])),
        left={
            spelling: left[folded]
            for folded, written in addresses.items()
            if folded in left
            for spelling in (written, folded)
        },
    )
