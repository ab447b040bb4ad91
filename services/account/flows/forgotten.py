"""A forgotten password: asked for by address, answered by a mailed link, replaced by a new one.

Asking is the same work for every address. Whether anybody has it is found out by a task, which nobody can time.
"""

import time
import uuid
from datetime import timedelta

import sqlalchemy as sa
from flask import current_app
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.audit import acting_as
from libs.database import is_away, utcnow, uuid7
from libs.guard.keyring import CannotOpen
from libs.observe.logs import get_logger
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.extensions import audit, db, tasks
from services.account.flows.blocks import refuse_blocked
from services.account.flows.factors import PASSWORD
from services.account.flows.login import Halfway, sign_in
from services.account.flows.notices import tell
from services.account.flows.password_links import look_at_link, mail_link, purpose_for, spend_link
from services.account.flows.passwords import passwords, replace_password
from services.account.flows.revoking import revoke_access
from services.account.flows.securing import end_what_is_open
from services.account.flows.sessions import SignIn
from services.account.flows.takeover import take_over
from services.account.flows.users import (
    find_and_lock,
    is_address,
    lock_user,
    mark_email_verified,
    normalise_email,
)
from services.account.flows.visitor import Visitor
from services.account.models import PasswordLink, PasswordRequest, User

log = get_logger("account.forgotten")

_HOUR = timedelta(hours=1)


class NoAddress(Problem):
    """What was typed cannot be an address."""

    status, slug, title = 422, "no-address", lazy_gettext("Some of this cannot be right")


# -- asking ----------------------------------------------------------------------------------------------------


def ask_for_reset(*, email: str, locale: str) -> None:
    """Note that somebody forgot the password of this address, whoever has it, if anybody. Raises NoAddress."""
    email = email.strip()
    if not is_address(email):
        raise NoAddress(errors={"email": gettext("This does not look like an e-mail address.")})
    request_id = uuid7()
    sealed = parts_of(current_app).data_keys.seal(email.encode(), email_place(request_id))
    with db.transaction() as session:
        session.add(PasswordRequest(id=request_id, sealed_email=sealed, locale=locale))
        db.after_commit(lambda: tasks.send("answer_password_requests"))


# -- answering -------------------------------------------------------------------------------------------------


def answer_requests(*, seconds: float = 20.0) -> int:
    """Answer what was asked, oldest first, for at most so many seconds. Returns how many were answered.

    Workers share the rows by SKIP LOCKED. One that cannot be answered is left for the next time and holds up
    nobody else's.
    """
    deadline = time.monotonic() + seconds
    answered, last = 0, uuid.UUID(int=0)
    while time.monotonic() < deadline:
        try:
            with db.transaction() as session:
                request = session.scalar(
                    sa.select(PasswordRequest)
                    .where(PasswordRequest.id > last)
                    .order_by(PasswordRequest.id)
                    .limit(1)
                    .with_for_update(skip_locked=True)
                    .execution_options(populate_existing=True)
                )
                if request is None:
                    break
                last = request.id
                _answer(session, request)
        except Exception as error:
            if is_away(error):
                raise
            log.error("password_request_left", error=type(error).__name__, exc_info=error)
            continue
        answered += 1
    return answered


def _answer(session: DatabaseSession, request: PasswordRequest) -> None:
    session.delete(request)
    session.flush()
    try:
        sealed = parts_of(current_app).data_keys.open(request.sealed_email, email_place(request.id))
    except CannotOpen:
        log.error("password_request_unreadable")  # its key is gone for good
        return
    user = find_and_lock(session, User.email_normalised == normalise_email(sealed.decode()))
    outcome = "nobody" if user is None else _mail(session, user)
    log.info("password_request_answered", outcome=outcome)


def _mail(session: DatabaseSession, user: User) -> str:
    """Mail the person a link unless they have one, or had many; what became of it, in a word."""
    if not user.is_active:
        return "disabled"
    settings, now = parts_of(current_app).settings, utcnow()
    mine = PasswordLink.user_id == user.id
    is_young = sa.exists().where(
        mine,
        PasswordLink.used_at.is_(None),
        PasswordLink.expires_at > now,
        PasswordLink.created_at > now - settings.RESET_MAIL_INTERVAL,
    )
    if session.scalar(sa.select(is_young)):
        # A newer link would end the one that the person is about to use, whoever asked.
        return "has_a_link"
    lately = sa.select(sa.func.count()).where(mine, PasswordLink.created_at > now - _HOUR)
    if session.scalar(lately.select_from(PasswordLink)) >= settings.RESET_MAILS_PER_HOUR:
        return "had_enough"
    with acting_as("task:answer_password_requests"):
        purpose = purpose_for(session, user)
        mail_link(session, user, purpose=purpose)
        audit.record("password.link_asked_for", target=f"user:{user.sub}", after={"purpose": purpose})
    return "mailed"


def email_place(request_id: uuid.UUID) -> str:
    """Where an address belongs, for the key ring."""
    return f"password_requests.email:{request_id}"


# -- replacing -------------------------------------------------------------------------------------------------


def reset_password(*, token: str, password: str, visitor: Visitor) -> SignIn | Halfway:
    """Spend the link: set the password, end every session and grant, and sign the person in, second factor and all.

    The address counts as proven; where it never was before, everything that somebody else put into the account
    goes. Raises LinkNotValid, LinkExpired, PasswordRefused or KeptOut (the link stays good),
    TooBusy.
    """
    owner = look_at_link(token=token, purpose="reset")
    refuse_blocked(visitor=visitor, email=owner.email, method="link")
    passwords().check(password, context=[owner.email, owner.name])
    hashed = passwords().hash(password)
    with acting_as(f"user:{owner.sub}"), db.transaction() as session:
        user = lock_user(session, sub=owner.sub)
        spend_link(session, user, token=token, purpose="reset")
        cause = "password_changed" if user.email_verified_at is not None else "taken_over"
        take_over(session, user)
        replace_password(session, user_id=user.id, hashed=hashed)
        end_what_is_open(session, user)
        revoke_access(sub=user.sub, cause=cause)
        audit.record("password.reset", target=f"user:{user.sub}")
        mark_email_verified(user)
        tell(session, user=user, template="password_changed", visitor=visitor)
    return sign_in(User.sub == owner.sub, evidence=PASSWORD, method="link", visitor=visitor, proof=hashed)
