"""A person's passkeys: listed, added, renamed, removed."""

import uuid
from dataclasses import dataclass, field

import sqlalchemy as sa
from flask_babel import lazy_gettext
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow, uuid7
from libs.web.problems import Problem
from services.account.extensions import audit, db
from services.account.flows.devices import device_name
from services.account.flows.notices import tell
from services.account.flows.passkeys.ceremonies import NewPasskey, creation_options, verify_new
from services.account.flows.passkeys.challenges import (
    ADD,
    ENROL,
    Question,
    make_challenge,
    open_challenge,
    seal_challenge,
    spend,
)
from services.account.flows.recovery_codes import ensure_recovery_codes
from services.account.flows.totp import forget_codes_without_factor
from services.account.flows.users import get_user, lock_user
from services.account.flows.visitor import Visitor
from services.account.flows.ways_in import begins_without_passkey, keep_a_way_in
from services.account.models import Passkey, User

MAX_PASSKEYS = 20
MAX_NAME_LENGTH = 60


class UnknownPasskey(Problem):
    """The person has no such passkey."""

    status, slug, title = 404, "unknown-passkey", lazy_gettext("There is no such passkey")


class AlreadyAdded(Problem):
    """This passkey belongs to an account already."""

    status, slug, title = 409, "passkey-known", lazy_gettext("This passkey was added already")


class TooManyPasskeys(Problem):
    """Nobody needs so many; whoever fills the table does."""

    status, slug, title = 409, "too-many-passkeys", lazy_gettext("You have as many passkeys as one can have")


@dataclass(frozen=True, kw_only=True)
class Added:
    """A new passkey, and the recovery codes that came with it, for the one time that they are shown."""

    passkey: Passkey
    recovery_codes: list[str] | None = field(repr=False)


def list_passkeys(*, sub: str) -> list[Passkey]:
    """A person's passkeys, oldest first."""
    with db.single_statements() as session:
        return list(session.scalars(_of(sub).order_by(Passkey.id)))


def get_passkey(*, sub: str, passkey_id: uuid.UUID) -> Passkey:
    """One of a person's passkeys. Raises UnknownPasskey, for another person's too."""
    with db.single_statements() as session:
        passkey = session.scalar(_of(sub).where(Passkey.id == passkey_id))
    if passkey is None:
        raise UnknownPasskey
    return passkey


def _of(sub: str) -> sa.Select[tuple[Passkey]]:
    query = sa.select(Passkey).join(User, User.id == Passkey.user_id).where(User.sub == sub)
    return query.execution_options(populate_existing=True)


# -- adding ----------------------------------------------------------------------------------------------------


def ask_for_new(*, sub: str, browser: str) -> Question:
    """What the person's browser needs to make one more passkey. Writes nothing. Raises TooManyPasskeys."""
    user, present = get_user(sub=sub), list_passkeys(sub=sub)
    if len(present) >= MAX_PASSKEYS:
        raise TooManyPasskeys
    challenge = make_challenge()
    return Question(
        options=creation_options(challenge, sub=sub, email=user.email, name=user.name, present=present),
        ticket=seal_challenge(challenge, use=ADD, browser=browser, whose=sub),
    )


def ask_for_first(*, application_id: str, sub: str | None, email: str, name: str, browser: str) -> Question:
    """What an applicant's browser needs to make the passkey that opens their account. Writes nothing.

    `sub` is that of an account which staff opened already; else the account will get the one made here.
    """
    sub, challenge = sub or str(uuid.uuid4()), make_challenge()
    return Question(
        options=creation_options(challenge, sub=sub, email=email, name=name),
        ticket=seal_challenge(challenge, use=ENROL, browser=browser, whose=application_id, sub=sub),
    )


def add_passkey(*, sub: str, name: str, ticket: str, response: str, browser: str, visitor: Visitor) -> Added:
    """Add the passkey that was made for this challenge, and tell its owner.

    Where it is the first thing that can be asked for after a password, recovery codes come with it.
    Raises ChallengeEnded, PasskeyNotTaken, AlreadyAdded, TooManyPasskeys.
    """
    challenge = open_challenge(ticket, use=ADD, browser=browser, whose=sub)
    made = verify_new(response, challenge=challenge.value)
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        spend(session, challenge)
        passkey = store_passkey(session, user=user, made=made, name=name, visitor=visitor)
        audit.record("passkey.added", target=f"user:{sub}", after=_described(passkey))
        tell(session, user=user, template="passkey_added", visitor=visitor, context={"passkey": passkey.name})
        is_second_step = begins_without_passkey(session, user.id)
        codes = ensure_recovery_codes(session, user) if is_second_step else None
    return Added(passkey=passkey, recovery_codes=codes)


def store_passkey(
    session: DatabaseSession, *, user: User, made: NewPasskey, visitor: Visitor, name: str = ""
) -> Passkey:
    """Keep a new passkey of this person, whose row is locked, in the transaction under way.

    Raises AlreadyAdded, TooManyPasskeys.
    """
    mine = sa.select(sa.func.count()).select_from(Passkey).where(Passkey.user_id == user.id)
    if session.scalar(mine) >= MAX_PASSKEYS:  # type: ignore[operator]
        raise TooManyPasskeys
    passkey = session.scalar(
        insert(Passkey)
        .values(
            id=uuid7(),
            user_id=user.id,
            credential_id=made.credential_id,
            public_key=made.public_key,
            sign_count=made.sign_count,
            aaguid=made.aaguid,
            transports=list(made.transports),
            is_synced=made.is_synced,
            name=_clean(name) or device_name(visitor.user_agent),
            created_at=utcnow(),
        )
        .on_conflict_do_nothing(index_elements=[Passkey.credential_id])
        .returning(Passkey)
    )
    if passkey is None:
        raise AlreadyAdded
    return passkey


# -- changing --------------------------------------------------------------------------------------------------


def rename_passkey(*, sub: str, passkey_id: uuid.UUID, name: str) -> bool:
    """Call a passkey something else. False when nothing changes: it is called so already, or no name was given.

    Raises UnknownPasskey.
    """
    with db.transaction() as session:
        _, passkey = _lock(session, sub, passkey_id)
        before, cleaned = passkey.name, _clean(name)
        if cleaned in ("", before):
            return False
        passkey.name = cleaned
        audit.record(
            "passkey.renamed", target=f"user:{sub}", before={"name": before}, after={"name": cleaned}
        )
    return True


def remove_passkey(*, sub: str, passkey_id: uuid.UUID, visitor: Visitor) -> Passkey:
    """Forget a passkey, and tell its owner. Raises UnknownPasskey, LastWayIn."""
    with db.transaction() as session:
        user, passkey = _lock(session, sub, passkey_id)
        session.delete(passkey)
        keep_a_way_in(session, user)
        forget_codes_without_factor(session, user)
        audit.record("passkey.removed", target=f"user:{sub}", before=_described(passkey))
        tell(
            session, user=user, template="passkey_removed", visitor=visitor, context={"passkey": passkey.name}
        )
    return passkey


def _lock(session: DatabaseSession, sub: str, passkey_id: uuid.UUID) -> tuple[User, Passkey]:
    """The passkey and its owner, whose row is locked. Raises UnknownPasskey."""
    user = lock_user(session, sub=sub)
    passkey = session.scalar(_of(sub).where(Passkey.id == passkey_id))
    if passkey is None:
        raise UnknownPasskey
    return user, passkey


def _described(passkey: Passkey) -> dict[str, object]:
    return {"id": str(passkey.id), "name": passkey.name, "is_synced": passkey.is_synced}


def _clean(name: str) -> str:
    """A name on one line, of signs that show, and not for ever."""
    visible = "".join(sign if sign.isprintable() else " " for sign in name[: 4 * MAX_NAME_LENGTH])
    return " ".join(visible.split())[:MAX_NAME_LENGTH].strip()
