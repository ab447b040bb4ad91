"""Mailed links that set a password, once: the first one of an account that staff opened, or a new one."""

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
from services.account.flows.blocks import refuse_blocked
from services.account.flows.factors import PASSWORD
from services.account.flows.login import Halfway, sign_in
from services.account.flows.passwords import passwords, store_first_password
from services.account.flows.revoking import revoke_access
from services.account.flows.sessions import SignIn
from services.account.flows.takeover import take_over
from services.account.flows.users import create_user, lock_user, mark_email_verified, normalise_email
from services.account.flows.visitor import Visitor
from services.account.flows.ways_in import is_opened
from services.account.models import PasswordLink, User

log = get_logger("account.password_links")

PAGES = {"first": "/password/set", "reset": "/password/reset"}
LETTERS = {"first": "set_password", "reset": "reset_password"}


class LinkNotValid(Problem):
    """No such link, or one that was used or replaced."""

    status, slug, title = 410, "link-not-valid", lazy_gettext("This link does not work any more")


class LinkExpired(LinkNotValid):
    """The link was good once; a fresh one may be asked for with it."""

    slug, title = "link-expired", lazy_gettext("This link has expired")


class NoLinkForDisabled(Problem):
    """Whoever may not sign in is mailed no way to."""

    status, slug, title = 409, "account-is-disabled", lazy_gettext("This account is disabled")


def open_account(*, application_id: str, email: str, name: str, locale: str, roles: Sequence[str]) -> None:
    """Open an account without a password for an approved person, and mail the link that sets one.

    The address is not confirmed until its owner uses that link. Activating again mails a fresh link while there was
    never a way to sign in. Who has an account of this address keeps it as it is; the application becomes that account.
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
        if is_new or (user.is_active and not is_opened(session, user.id)):
            mail_link(session, user, purpose="first")
        else:
            log.info("account_known", sub=user.sub, application_id=application_id)


def open_without_password(*, email: str, name: str, locale: str, roles: Sequence[str] = ()) -> User:
    """Open an account because staff say so, and mail its owner the link that sets a password: nobody else has one.

    Raises BadUser, EmailTaken.
    """
    with db.transaction() as session:
        user = create_user(email=email, name=name, locale=locale, roles=list(roles))
        mail_link(session, user, purpose="first")
    return user


# -- mailing ---------------------------------------------------------------------------------------------------


def mail_link(
    session: DatabaseSession, user: User, *, purpose: str, letter: str | None = None, made_anew: int = 0
) -> None:
    """Mail a link to the person's address, in the transaction under way; earlier ones end. The row is locked.

    `letter` is another one than the purpose's, for whoever did not ask for it. `made_anew` is how many before it
    died on their way.
    """
    settings = parts_of(current_app).settings
    life = settings.PASSWORD_LINK_LIFETIME if purpose == "first" else settings.RESET_LINK_LIFETIME
    token, digest = single_use.make()
    now = utcnow()
    end_links(session, user)
    link = PasswordLink(
        user_id=user.id,
        purpose=purpose,
        token_digest=digest,
        created_at=now,
        expires_at=now + life,
        made_anew=made_anew,
    )
    session.add(link)
    session.flush()
    template = letter or LETTERS[purpose]
    outbox.record(
        MailRequested(
            template=template,
            recipient=user.email,
            locale=user.locale,
            context={"name": user.name, "link": f"{settings.PUBLIC_URL}{PAGES[purpose]}?token={token}"},
            deduplication_key=f"{template}:{link.id}",
            expires_at=link.expires_at.isoformat(),
        )
    )


def end_links(session: DatabaseSession, user: User) -> None:
    """End the person's mailed links of both kinds, in the transaction under way."""
    session.execute(
        sa.update(PasswordLink)
        .where(PasswordLink.user_id == user.id, PasswordLink.used_at.is_(None))
        .values(used_at=utcnow())
        .execution_options(synchronize_session=False)
    )


def purpose_for(session: DatabaseSession, user: User) -> str:
    """`first` for an account that nobody has entered yet, else `reset`."""
    if user.email_verified_at is not None:
        return "reset"
    return "reset" if is_opened(session, user.id) else "first"


def send_password_link(*, sub: str, reason: str | None = None) -> str:
    """Mail the person a link that sets their password, because staff say so. Returns its purpose.

    Nothing else changes. Raises UnknownUser, NoLinkForDisabled.
    """
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        if not user.is_active:
            raise NoLinkForDisabled
        purpose = purpose_for(session, user)
        mail_link(session, user, purpose=purpose)
        audit.record("password.link_sent", target=f"user:{sub}", after={"purpose": purpose}, reason=reason)
    return purpose


def ask_for_fresh_link(*, token: str, purpose: str) -> None:
    """Mail a new link to the owner of an expired one, to their address. Raises LinkNotValid."""
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
            look_at_link(token=token, purpose=purpose)
        except LinkExpired:
            mail_link(session, user, purpose=purpose)


# -- using -----------------------------------------------------------------------------------------------------


def look_at_link(*, token: str, purpose: str) -> User:
    """Whose password this link sets; spends nothing. Raises LinkNotValid, LinkExpired."""
    with db.single_statements() as session:
        found = session.execute(
            sa.select(PasswordLink, User)
            .join(User, User.id == PasswordLink.user_id)
            .where(PasswordLink.token_digest == single_use.digest(token), PasswordLink.purpose == purpose)
            .execution_options(populate_existing=True)
        ).one_or_none()
    if found is None or found[0].used_at is not None or not found[1].is_active:
        raise LinkNotValid
    link, user = found
    if link.expires_at <= utcnow():
        raise LinkExpired
    return user


def spend_link(session: DatabaseSession, user: User, *, token: str, purpose: str) -> None:
    """Spend this link, in the transaction under way; the person's row is locked. Once: raises LinkNotValid."""
    spent = session.scalar(
        sa.update(PasswordLink)
        .where(
            PasswordLink.user_id == user.id,
            PasswordLink.token_digest == single_use.digest(token),
            PasswordLink.purpose == purpose,
            PasswordLink.used_at.is_(None),
            PasswordLink.expires_at > utcnow(),
        )
        .values(used_at=utcnow())
        .returning(PasswordLink.id)
        .execution_options(synchronize_session=False)
    )
    if spent is None or not user.is_active:
        raise LinkNotValid


def set_first_password(*, token: str, password: str, visitor: Visitor) -> SignIn | Halfway:
    """Spend the link: set the password, count the address as confirmed, sign the person in.

    Raises LinkNotValid, LinkExpired, PasswordRefused or KeptOut (the link stays good), TooBusy.
    """
    owner = look_at_link(token=token, purpose="first")
    refuse_blocked(visitor=visitor, email=owner.email, method="link")
    passwords().check(password, context=[owner.email, owner.name])
    hashed = passwords().hash(password)
    with acting_as(f"user:{owner.sub}"), db.transaction() as session:
        user = lock_user(session, sub=owner.sub)
        spend_link(session, user, token=token, purpose="first")
        if not store_first_password(session, user_id=user.id, hashed=hashed):
            raise LinkNotValid
        if take_over(session, user):
            # Somebody else had come in by a link that was handed over, and never proved the address.
            revoke_access(sub=user.sub, cause="taken_over")
        audit.record("password.set", target=f"user:{user.sub}")
        mark_email_verified(user)
    return sign_in(User.sub == owner.sub, evidence=PASSWORD, method="link", visitor=visitor, proof=hashed)
