"""People: opened, found, changed, disabled. Every change is told to the other services as a whole snapshot."""

import contextlib
import re
import unicodedata
import uuid

import sqlalchemy as sa
from flask_babel import gettext, lazy_gettext
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.messaging.events import UserChanged
from libs.web.languages import DEFAULT, supported
from libs.web.problems import Problem
from services.account.extensions import audit, db, outbox
from services.account.flows.copies import claims_of, owe
from services.account.flows.passwords import passwords, store_first_password
from services.account.flows.revoking import revoke_access
from services.account.flows.staff_rule import read_rule_for_roles
from services.account.models import ROLES, PasswordCredential, User

MAX_EMAIL_LENGTH = 254  # RFC 5321 §4.5.3.1.3
MAX_NAME_LENGTH = 200
ADMINISTRATORS_LOCK = 0x1D_AD_31
"""The advisory lock of whoever makes an administrator fewer."""
_ADDRESS = re.compile(r"[^@\s\x00-\x1f\x7f,;<>()\[\]\\\"]+@[^@\s\x00-\x1f\x7f,;<>()\[\]\\\"]+\Z")


class EmailTaken(Problem):
    """Another account has this address."""

    status, slug, title = 409, "email-taken", lazy_gettext("There is already an account with this address")


class ApplicationTaken(Problem):
    """This application has become an account already."""

    status, slug, title = 409, "application-taken", lazy_gettext("This account was set up already")


class UnknownUser(Problem):
    """Nobody has this address or sub."""

    status, slug, title = 404, "unknown-user", lazy_gettext("There is no such account")


class LastAdministrator(Problem):
    """Nobody else could administer any more, nor undo it."""

    status, slug, title = 409, "last-administrator", lazy_gettext("This is the last administrator")


class BadUser(Problem):
    """What was given cannot be a person's; `errors` says which field."""

    status, slug, title = 422, "bad-user", lazy_gettext("Some of this cannot be right")


def normalise_email(email: str) -> str:
    """One form for every way to write an address: case, Unicode forms and domain names folded."""
    bounded = email.replace("\x00", "")[: 4 * MAX_EMAIL_LENGTH]
    # Folding may undo the normal form, hence once more.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", bounded).strip().casefold())
    local, at, domain = folded.rpartition("@")
    with contextlib.suppress(UnicodeError):  # not a domain name: kept as it is, and nobody's
        domain = domain.encode("idna").decode("ascii")
    return f"{local}{at}{domain}"


def is_address(text: str) -> bool:
    """Whether this can be somebody's e-mail address."""
    return len(text) <= MAX_EMAIL_LENGTH and _ADDRESS.match(text) is not None


def create_user(
    *,
    email: str,
    name: str,
    locale: str = DEFAULT,
    zoneinfo: str | None = None,
    roles: list[str] | None = None,
    is_email_verified: bool = False,
    application_id: str | None = None,
    password: str | None = None,
    hashed_password: str | None = None,
    sub: str | None = None,
) -> User:
    """Open an account; with a password, or its hash when the caller has made one already.

    `sub` is given where a passkey was made for it before there was an account.

    Raises BadUser, PasswordRefused, TooBusy, EmailTaken or ApplicationTaken.
    """
    email = email.strip()
    name = " ".join(name.split())
    roles = sorted(set(roles or []))
    _check(email=email, name=name, roles=roles)
    if password is not None:
        passwords().check(password, context=[email, name])
        hashed_password = passwords().hash(password)
    now = utcnow()
    user = User(
        email=email,
        email_normalised=normalise_email(email),
        email_verified_at=now if is_email_verified else None,
        name=name,
        locale=supported(locale) or DEFAULT,
        zoneinfo=zoneinfo,
        roles=roles,
        application_id=application_id,
        **({"sub": sub} if sub else {}),
    )
    with db.transaction() as session:
        if roles:
            user.needs_second_factor = read_rule_for_roles(session)
        try:
            with session.begin_nested():
                session.add(user)
                session.flush()
        except IntegrityError as error:
            raise _taken(error) from None
        if hashed_password is not None:
            store_first_password(session, user_id=user.id, hashed=hashed_password)
        _announce(user)
        audit.record(
            "user.created",
            target=f"user:{user.sub}",
            after={"roles": roles, "status": user.status, "application_id": application_id},
        )
    return user


def _check(*, email: str, name: str, roles: list[str]) -> None:
    errors = {}
    if not is_address(email):
        errors["email"] = gettext("This does not look like an e-mail address.")
    if not name or len(name) > MAX_NAME_LENGTH or any(unicodedata.category(sign) == "Cc" for sign in name):
        errors["name"] = gettext("A name has 1 to %(count)s characters.", count=MAX_NAME_LENGTH)
    if not set(roles) <= set(ROLES):
        errors["roles"] = gettext("The roles are %(roles)s.", roles=", ".join(ROLES))
    if errors:
        raise BadUser(errors=errors)


def _taken(error: IntegrityError) -> Problem:
    constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    if constraint in ("uq_users_application_id", "uq_users_sub"):
        # A sub is taken when the same enrolment comes twice, with the passkey that was made for it.
        return ApplicationTaken()
    if constraint == "uq_users_email_normalised":
        return EmailTaken()
    raise error


def ensure_administrator(*, email: str, password: str) -> bool:
    """Make the first administrator unless the address has an account, which stays as it is. Whether one was made.

    Raises BadUser or PasswordRefused.
    """
    if find_user(email=email) is not None:
        return False
    try:
        create_user(email=email, name="Administrator", roles=["admin"], password=password)
    except EmailTaken:
        return False  # another process was faster
    return True


# -- finding ---------------------------------------------------------------------------------------------------


def find_user(*, email: str) -> User | None:
    """Whoever has this address, however it is written."""
    with db.single_statements() as session:
        return session.scalar(_fresh(sa.select(User).where(User.email_normalised == normalise_email(email))))


def get_user(*, sub: str | None = None, email: str | None = None) -> User:
    """The person of a sub or an address. Raises UnknownUser."""
    if email is not None:
        user = find_user(email=email)
    else:
        with db.single_statements() as session:
            user = session.scalar(_fresh(sa.select(User).where(User.sub == sub)))
    if user is None:
        raise UnknownUser(
            gettext("No account has the address %(email)s.", email=email) if email is not None else None
        )
    return user


def has_password(user: User) -> bool:
    """Whether there is a password that opens the account."""
    with db.single_statements() as session:
        return bool(
            session.scalar(sa.select(PasswordCredential.hash).where(PasswordCredential.user_id == user.id))
        )


def _fresh(query: sa.Select[tuple[User]]) -> sa.Select[tuple[User]]:
    return query.execution_options(populate_existing=True)


# -- changing --------------------------------------------------------------------------------------------------


def find_and_lock(session: DatabaseSession, condition: sa.ColumnElement[bool]) -> User | None:
    """The one person of this condition on `users`, fresh and locked until the transaction ends."""
    return session.scalar(_fresh(sa.select(User).where(condition).with_for_update(key_share=True)))


def lock_user(session: DatabaseSession, *, sub: str) -> User:
    """The person's row, fresh and locked until the transaction ends. Raises UnknownUser."""
    user = find_and_lock(session, User.sub == sub)
    if user is None:
        raise UnknownUser
    return user


def keep_an_administrator(session: DatabaseSession, user: User) -> None:
    """Let the person, whose row is locked, stop being an administrator only while another one is active.

    Of two side by side the second waits here until the first has ended, and then counts anew.
    Raises LastAdministrator.
    """
    if "admin" not in user.roles or not user.is_active:
        return
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(ADMINISTRATORS_LOCK)))
    another = sa.select(User.id).where(
        User.roles != sa.literal_column("'{}'::text[]"),  # in the words of the index
        User.roles.contains(["admin"]),
        User.status == "active",
        User.erase_at.is_(None),
        User.id != user.id,
    )
    if session.scalar(another.limit(1)) is None:
        raise LastAdministrator(gettext("Make somebody else an administrator first."))


def disable_user(*, sub: str, reason: str | None = None, even_the_last: bool = False) -> bool:
    """Let nobody sign in as this person, and end all access. False when it was so already.

    `even_the_last` is for an account that is somebody else's now: better no administrator than that one.
    Raises UnknownUser, LastAdministrator.
    """
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        if not user.is_active:
            return False
        if not even_the_last:
            keep_an_administrator(session, user)
        user.status = "disabled"
        revoke_access(sub=sub, cause="disabled")
        note_change(
            user, "user.disabled", before={"status": "active"}, after={"status": "disabled"}, reason=reason
        )
    return True


def enable_user(*, sub: str, reason: str | None = None) -> bool:
    """Let the person sign in again. False when it was so already. Raises UnknownUser."""
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        if user.is_active:
            return False
        user.status = "active"
        note_change(
            user, "user.enabled", before={"status": "disabled"}, after={"status": "active"}, reason=reason
        )
    return True


def add_role(*, sub: str, role: str) -> bool:
    """Give a role. False when the person has it already. Raises BadUser, UnknownUser."""
    return _set_roles(sub=sub, role=role, has_it=True)


def remove_role(*, sub: str, role: str) -> bool:
    """Take a role away; access tokens that carry it die. False when there was nothing to take.

    Raises LastAdministrator.
    """
    return _set_roles(sub=sub, role=role, has_it=False)


def _set_roles(*, sub: str, role: str, has_it: bool) -> bool:
    if role not in ROLES:
        raise BadUser(errors={"role": gettext("The roles are %(roles)s.", roles=", ".join(ROLES))})
    with db.transaction() as session:
        is_required = read_rule_for_roles(session)
        user = lock_user(session, sub=sub)
        before = list(user.roles)
        if (role in before) == has_it:
            return False
        if role == "admin" and not has_it:
            keep_an_administrator(session, user)
        user.roles = sorted({*before, role} if has_it else set(before) - {role})
        user.needs_second_factor = is_required and bool(user.roles)
        if not has_it:
            owe(("deny_sub", sub))
        action = "user.role_added" if has_it else "user.role_removed"
        note_change(user, action, before={"roles": before}, after={"roles": user.roles})
    return True


def mark_email_verified(user: User) -> None:
    """Note, in the transaction under way, that the person reads mail at their address."""
    user.mail_trouble = user.mail_trouble_at = None
    if user.email_verified_at is None:
        user.email_verified_at = utcnow()
        note_change(
            user, "user.email_verified", before={"email_verified": False}, after={"email_verified": True}
        )


def replace_email(user: User, email: str) -> None:
    """Give the person another address, proven, in the transaction under way. Raises EmailTaken."""
    try:
        with db.session.begin_nested():
            user.email, user.email_normalised = email, normalise_email(email)
            user.email_verified_at = utcnow()
            user.mail_trouble = user.mail_trouble_at = None
            db.session.flush()
    except IntegrityError as error:
        raise _taken(error) from None
    note_change(user, "user.email_changed", before={}, after={"email_verified": True})


def note_change(
    user: User, action: str, *, before: dict[str, object], after: dict[str, object], reason: str | None = None
) -> None:
    """Tell the other services, the sessions' copies and the audit what the transaction under way changed."""
    user.version += 1
    user.updated_at = utcnow()
    db.session.flush()
    _announce(user)
    owe(("rewrite_copies", str(user.id)))
    audit.record(action, target=f"user:{user.sub}", before=before, after=after, reason=reason)


def outdate_sign_ins(user: User) -> None:
    """A sign-in that is just beginning has seen the person as they were, and has to look again once this is committed.

    In the transaction under way. The other services hear of the new version too: they would take it over from a
    session otherwise, which may carry fewer roles than the person has.
    """
    user.version += 1
    db.session.flush()
    _announce(user)


def _announce(user: User) -> uuid.UUID:
    return outbox.record(
        UserChanged(
            sub=user.sub,
            version=user.version,
            status=user.status,
            roles=list(user.roles),
            claims=claims_of(user),
            locale=user.locale,
        )
    )
