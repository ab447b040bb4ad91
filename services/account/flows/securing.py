"""An account in danger is closed to everybody but its owner: by staff, or by "It wasn't me" in a security mail."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.audit import acting_as
from libs.database import utcnow
from libs.guard import single_use
from libs.observe.logs import get_logger
from libs.web.problems import Problem
from services.account.extensions import audit, db
from services.account.flows.attempts import end_attempts
from services.account.flows.email_change import end_changes
from services.account.flows.linking import forget_links
from services.account.flows.notices import end_notices
from services.account.flows.password_links import end_links, mail_link
from services.account.flows.passwords import make_unusable
from services.account.flows.revoking import Revoked, revoke_access
from services.account.flows.second_factor_reset import cancel_resets
from services.account.flows.users import (
    EmailTaken,
    disable_user,
    lock_user,
    normalise_email,
    outdate_sign_ins,
    replace_email,
)
from services.account.models import (
    KnownDevice,
    Passkey,
    RecoveryCode,
    SecurityNotice,
    TOTPCredential,
    User,
)

log = get_logger("account.securing")

BEFORE_THE_NOTICE = timedelta(minutes=10)
"""How far back an intruder is reckoned with: what a notice tells of is seldom the first thing that they did."""


class NoticeNotValid(Problem):
    """No such link "It wasn't me", or one that was used or whose time is over."""

    status, slug, title = 410, "notice-not-valid", lazy_gettext("This link does not work any more")


@dataclass(frozen=True, kw_only=True)
class Secured:
    """What closing an account did. `is_mailed` says whether its owner was mailed a way back in."""

    revoked: Revoked
    is_mailed: bool


def secure_account(*, sub: str, reason: str | None = None) -> Secured:
    """End every session and grant, make the password unusable, keep second factors, and mail a reset link.

    A disabled account gets no mail. Raises UnknownUser.
    """
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        audit.record("user.secured", target=f"user:{sub}", reason=reason)
        return _close(session, user, cause="sessions_revoked", mails=True)


def end_what_is_open(session: DatabaseSession, user: User) -> None:
    """End what somebody may have begun and could still finish, in the transaction under way.

    Mailed password links, new addresses that wait for their confirmation, sign-ins half done.
    """
    end_links(session, user)
    end_changes(session, user)
    end_attempts(session, user)


def _close(session: DatabaseSession, user: User, *, cause: str, mails: bool) -> Secured:
    revoked = revoke_access(sub=user.sub, cause=cause)
    outdate_sign_ins(user)
    make_unusable(session, user_id=user.id)
    end_what_is_open(session, user)
    cancel_resets(session, user)
    # Any of them may be the intruder's, and would be trusted more than a stranger's.
    session.execute(sa.delete(KnownDevice).where(KnownDevice.user_id == user.id))
    is_mailed = mails and user.is_active
    if is_mailed:
        mail_link(session, user, purpose="reset", letter="account_secured")
    return Secured(revoked=revoked, is_mailed=is_mailed)


# -- it wasn't me ----------------------------------------------------------------------------------------------


def look_at_notice(*, token: str) -> SecurityNotice:
    """The notice behind a link "It wasn't me"; spends nothing. Raises NoticeNotValid."""
    with db.single_statements() as session:
        notice = session.scalar(
            sa.select(SecurityNotice)
            .where(SecurityNotice.token_digest == single_use.digest(token), *_is_good())
            .execution_options(populate_existing=True)
        )
    if notice is None:
        raise NoticeNotValid
    return notice


def disavow(*, token: str) -> Secured:
    """Its reader says that it was not them: close the account, and mail a way back in to where the notice went.

    Whatever was added to the account since then goes, an erasure that waits is called off, and the address that the
    notice went to is the account's again. Once. Raises NoticeNotValid.
    """
    with db.single_statements() as session:
        sub = session.scalar(
            sa.select(User.sub)
            .join(SecurityNotice, SecurityNotice.user_id == User.id)
            .where(SecurityNotice.token_digest == single_use.digest(token))
        )
    if sub is None:
        raise NoticeNotValid
    with acting_as(f"user:{sub}"), db.transaction() as session:
        user = lock_user(session, sub=sub)
        notice = session.execute(
            sa.update(SecurityNotice)
            .where(SecurityNotice.token_digest == single_use.digest(token), *_is_good())
            .values(used_at=utcnow())
            .returning(SecurityNotice.kind, SecurityNotice.email, SecurityNotice.created_at)
            .execution_options(synchronize_session=False)
        ).one_or_none()
        if notice is None:
            raise NoticeNotValid
        audit.record("user.disavowed", target=f"user:{sub}", after={"notice": notice.kind})
        _remove_what_came_since(session, user, notice.created_at - BEFORE_THE_NOTICE)
        if user.erase_at is not None:
            user.erase_at = None
            audit.record("user.erasure_cancelled", target=f"user:{sub}")
        has_address = _put_address_back(session, user, notice.email)
        secured = _close(session, user, cause="taken_over", mails=has_address)
        if not has_address:
            # Whoever reads at the account's address now is not the reader of the notice: staff must look.
            disable_user(
                sub=sub, reason="disavowed, and its address has another account now", even_the_last=True
            )
        return secured


def _is_good() -> tuple[sa.ColumnElement[bool], ...]:
    return (SecurityNotice.used_at.is_(None), SecurityNotice.expires_at > utcnow())


def _put_address_back(session: DatabaseSession, user: User, email: str) -> bool:
    """Whether the account has the address of the notice now. Another account may have taken it meanwhile."""
    if normalise_email(email) == user.email_normalised:
        return True
    try:
        replace_email(user, email)
    except EmailTaken:
        log.warning("address_not_restored", sub=user.sub)
        return False
    # What was mailed to the address that came in between must not bring it back.
    end_notices(session, user, but_to=email)
    return True


def _remove_what_came_since(session: DatabaseSession, user: User, since: datetime) -> None:
    """Remove the ways in that were added after this moment: they may be the intruder's."""
    added = {
        Passkey: Passkey.created_at,
        TOTPCredential: sa.func.coalesce(TOTPCredential.confirmed_at, TOTPCredential.created_at),
        RecoveryCode: RecoveryCode.created_at,
        KnownDevice: KnownDevice.first_seen_at,
    }
    gone = {"linked_identities": count} if (count := forget_links(session, user, since=since)) else {}
    for table, moment in added.items():
        done = session.execute(
            sa.delete(table)
            .where(table.user_id == user.id, moment >= since)  # type: ignore[attr-defined]
            .execution_options(synchronize_session=False)
        )
        if done.rowcount:  # type: ignore[attr-defined]
            gone[table.__tablename__] = done.rowcount  # type: ignore[attr-defined]
    if gone:
        audit.record("user.additions_removed", target=f"user:{user.sub}", before=gone)


KINDS = {
    "sign_in_code": lazy_gettext("Somebody who got past the first step of signing in was asked for a code."),
    "sign_in_threatened": lazy_gettext("Somebody used a sign-in key that an app of yours had already used."),
    "new_device": lazy_gettext("A new device signed in to your account."),
    "password_changed": lazy_gettext("The password of your account was changed."),
    "email_changed": lazy_gettext("The e-mail address of your account was changed."),
    "passkey_added": lazy_gettext("A passkey was added to your account."),
    "passkey_removed": lazy_gettext("A passkey was removed from your account."),
    "passkey_copied": lazy_gettext("A passkey of your account may have been copied."),
    "provider_linked": lazy_gettext("An account elsewhere was linked to yours."),
    "provider_unlinked": lazy_gettext("An account elsewhere is not linked to yours any more."),
    "second_factor_added": lazy_gettext("An authenticator app was set up for your account."),
    "second_factor_removed": lazy_gettext("The authenticator app of your account was removed."),
    "recovery_codes_made": lazy_gettext("New recovery codes were made for your account."),
    "recovery_code_used": lazy_gettext("A recovery code of your account was used."),
    "second_factor_reset_started": lazy_gettext("Somebody asked to remove the second step of your account."),
    "second_factor_reset_ready": lazy_gettext("The second step of your account could be removed."),
    "second_factor_reset_done": lazy_gettext("The second step of your account was removed."),
    "second_factor_reset_by_staff": lazy_gettext("Our staff removed the second step of your account."),
    "data_ready": lazy_gettext("All that we hold about you was made ready for download."),
    "erasure_scheduled": lazy_gettext("Your account is to be erased."),
    "account_kept": lazy_gettext("Your account is not to be erased any more."),
}
"""What each notice told of, in a line."""


def what_happened(notice: SecurityNotice) -> str:
    """What the notice told of, in a line of the reader's language."""
    return str(KINDS.get(notice.kind) or gettext("Something about the safety of your account has changed."))
