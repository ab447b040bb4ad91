"""Mailed links that set a first password, for people whose account staff opened directly."""

from collections.abc import Sequence

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.audit import acting_as
from libs.database import utcnow
from libs.guard import single_use
from libs.messaging.events import AccountOpened, MailRequested
from libs.observe.logs import get_logger
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.extensions import audit, db, outbox
from services.account.flows.factors import PASSWORD
from services.account.flows.login import Halfway, sign_in
from services.account.flows.passwords import passwords, store_first_password
from services.account.flows.sessions import SignIn
from services.account.flows.users import create_user, lock_user, mark_email_verified, normalise_email
from services.account.flows.visitor import Visitor
from services.account.models import PasswordCredential, PasswordLink, User

log = get_logger("account.password_links")


class LinkNotValid(Problem):
    """No such link, or one that was used or replaced."""

    status, slug, title = 410, "link-not-valid", lazy_gettext("This link does not work any more")


class LinkExpired(LinkNotValid):
    """The link was good once; a fresh one may be asked for with it."""

    slug, title = "link-expired", lazy_gettext("This link has expired")


def open_account(*, application_id: str, email: str, name: str, locale: str, roles: Sequence[str]) -> None:
    """Open an account without a password for an approved person, and mail the link that sets one.

    The address is not confirmed until its owner uses that link. Activating again mails a fresh link while there is
    no password. Who has an account of this address keeps it as it is; the application becomes that account.
    """
    with db.transaction() as session:
        user = session.scalar(
            sa.select(User)
            .where(
                (User.application_id == application_id) | (User.email_normalised == normalise_email(email))
            )
            .order_by((User.application_id == application_id).desc().nulls_last())
            .limit(1)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
        is_new = user is None
        if user is None:
            user = create_user(
                email=email, name=name, locale=locale, roles=list(roles), application_id=application_id
            )
        elif user.application_id is None:
            user.application_id = application_id
            audit.record(
                "user.application_joined",
                target=f"user:{user.sub}",
                before={"application_id": None},
                after={"application_id": application_id},
            )
        outbox.record(AccountOpened(sub=user.sub, application_id=application_id))
        has_password = session.get(PasswordCredential, user.id, populate_existing=True) is not None
        if is_new or (not has_password and user.is_active):
            _mail_link(session, user)
        else:
            log.info("account_known", sub=user.sub, application_id=application_id)


def _mail_link(session: DatabaseSession, user: User) -> None:
    settings = parts_of(current_app).settings
    token, digest = single_use.make()
    now = utcnow()
    session.execute(
        sa.update(PasswordLink)
        .where(PasswordLink.user_id == user.id, PasswordLink.used_at.is_(None))
        .values(used_at=now)
    )
    link = PasswordLink(
        user_id=user.id, token_digest=digest, created_at=now, expires_at=now + settings.PASSWORD_LINK_LIFETIME
    )
    session.add(link)
    session.flush()
    outbox.record(
        MailRequested(
            template="set_password",
            recipient=user.email,
            locale=user.locale,
            context={"name": user.name, "link": f"{settings.PUBLIC_URL}/password/set?token={token}"},
            deduplication_key=f"set_password:{link.id}",
            expires_at=link.expires_at.isoformat(),
        )
    )


def look_at_link(*, token: str) -> User:
    """Whose password this link sets; spends nothing. Raises LinkNotValid, LinkExpired."""
    with db.single_statements() as session:
        found = session.execute(
            sa.select(PasswordLink, User)
            .join(User, User.id == PasswordLink.user_id)
            .where(PasswordLink.token_digest == single_use.digest(token))
            .execution_options(populate_existing=True)
        ).one_or_none()
    if found is None or found[0].used_at is not None or not found[1].is_active:
        raise LinkNotValid
    link, user = found
    if link.expires_at <= utcnow():
        raise LinkExpired
    return user


def set_first_password(*, token: str, password: str, visitor: Visitor) -> SignIn | Halfway:
    """Spend the link: set the password, count the address as confirmed, sign the person in.

    Raises LinkNotValid, LinkExpired, PasswordRefused (the link stays good), TooBusy.
    """
    owner = look_at_link(token=token)
    passwords().check(password, context=[owner.email, owner.name])
    hashed = passwords().hash(password)
    with acting_as(f"user:{owner.sub}"), db.transaction() as session:
        user = lock_user(session, sub=owner.sub)
        spent = session.scalar(
            sa.update(PasswordLink)
            .where(
                PasswordLink.token_digest == single_use.digest(token),
                PasswordLink.used_at.is_(None),
                PasswordLink.expires_at > utcnow(),
            )
            .values(used_at=utcnow())
            .returning(PasswordLink.id)
        )
        if (
            spent is None
            or not user.is_active
            or not store_first_password(session, user_id=user.id, hashed=hashed)
        ):
            raise LinkNotValid
        audit.record("password.set", target=f"user:{user.sub}")
        mark_email_verified(user)
    return sign_in(User.sub == owner.sub, evidence=PASSWORD, method="link", visitor=visitor)


def ask_for_fresh_link(*, token: str) -> None:
    """Mail a new link to the owner of an expired one, to the address it went to. Raises LinkNotValid."""
    with db.transaction() as session:
        user = session.scalar(
            sa.select(User)
            .join(PasswordLink, PasswordLink.user_id == User.id)
            .where(PasswordLink.token_digest == single_use.digest(token))
            .with_for_update(key_share=True, of=User)
            .execution_options(populate_existing=True)
        )
        if user is None:
            raise LinkNotValid
        try:
            # Under the lock: of two presses side by side the second finds the link replaced.
            look_at_link(token=token)
        except LinkExpired:
            _mail_link(session, user)


def warn_of_threat(*, sub: str, cause: str) -> None:
    """Tell a person by mail that somebody used what only their app should have. At most once an hour."""
    with db.transaction() as session:
        user = session.scalar(sa.select(User).where(User.sub == sub))
        if user is None or not user.is_active:
            log.info("threat_to_nobody", sub=sub, cause=cause)
            return
        outbox.record(
            MailRequested(
                template="sign_in_threatened",
                recipient=user.email,
                locale=user.locale,
                context={"name": user.name},
                deduplication_key=f"sign_in_threatened:{sub}:{utcnow():%Y%m%d%H}",
            )
        )
