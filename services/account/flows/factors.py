"""What has been proven of a person, and what they could prove: the two sides of every sign-in."""

import uuid
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from flask_babel import gettext, lazy_gettext
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Session as DatabaseSession

from libs.web.problems import Problem
from services.account.extensions import db
from services.account.flows.visitor import Visitor
from services.account.models import (
    Block,
    KnownDevice,
    Passkey,
    PasswordCredential,
    SecondFactorReset,
    TOTPCredential,
    User,
)


@dataclass(frozen=True)
class Evidence:
    """What a sign-in rests on so far: `amr` in the words of RFC 8176, and `fed` for a linked provider."""

    amr: tuple[str, ...]
    is_person_verified: bool = False
    """A passkey whose device has checked who holds it (WebAuthn user verification)."""

    @property
    def is_multi_factor(self) -> bool:
        return "mfa" in self.amr

    @property
    def acr(self) -> str:
        """`1` one factor, `2` two, `phr` a passkey with the person verified; never more than happened."""
        if self.is_person_verified:
            return "phr"
        return "2" if self.is_multi_factor else "1"

    def and_also(self, more: Self) -> "Evidence":
        """Both together: two factors."""
        words = dict.fromkeys(word for word in (*self.amr, *more.amr) if word != "mfa")
        return Evidence((*words, "mfa"), self.is_person_verified or more.is_person_verified)


PASSWORD = Evidence(("pwd",))
ONE_TIME_CODE = Evidence(("otp",))
"""A code of an authenticator app, or a recovery code: both are gone once used."""
PROVIDER = Evidence(("fed",))


@dataclass(frozen=True)
class Standing:
    """A person as the sign-in meets them: read in one statement."""

    user: User
    password_hash: str | None
    has_totp: bool
    has_passkey: bool
    is_resetting_second_factor: bool
    """They asked for the way back without a second factor; signing in with one ends that."""
    is_known_device: bool
    has_known_devices: bool

    @property
    def has_second_factor(self) -> bool:
        return self.has_totp or self.has_passkey


class KeptOut(Problem):
    """Staff have blocked the address, its network or the mail domain; whoever is there, the words are the same."""

    status, slug, title = 403, "kept-out", lazy_gettext("Signing in is not possible from here at the moment")


def find_standing(
    condition: sa.ColumnElement[bool], *, visitor: Visitor, typed_domain: str | None = None
) -> Standing | None:
    """The one person of this condition on `users`, as they stand now. One round trip, found or not.

    Raises KeptOut, for somebody whom nobody knows too: `typed_domain` is then what a mail domain's block goes by.
    """
    domain = sa.func.coalesce(sa.func.split_part(User.email_normalised, "@", 2), typed_domain)
    asked = sa.select(sa.literal(1).label("asked")).subquery()
    with db.single_statements() as session:
        row = session.execute(
            sa.select(
                is_blocked(visitor.ip, domain),
                User,
                PasswordCredential.hash,
                _exists(TOTPCredential, TOTPCredential.confirmed_at.is_not(None)),
                _exists(Passkey),
                _exists(SecondFactorReset, SecondFactorReset.ended_at.is_(None)),
                _exists(KnownDevice, KnownDevice.device_digest == visitor.device_digest),
                _exists(KnownDevice),
            )
            .select_from(asked)
            .outerjoin(User, condition)
            .outerjoin(PasswordCredential, PasswordCredential.user_id == User.id)
            .execution_options(populate_existing=True)
        ).one()
    is_kept_out, user, *rest = row
    if is_kept_out:
        raise KeptOut(gettext("If you think that is a mistake, write to us."))
    return Standing(user, *rest) if user is not None else None


def _exists(table: Any, *conditions: sa.ColumnElement[bool]) -> sa.Exists:
    return sa.exists().where(table.user_id == User.id, *conditions)


def is_blocked(ip: str, domain: sa.ColumnElement[Any]) -> sa.Exists:
    """Whether a block holds for the address or the mail domain now."""
    address = sa.cast(sa.literal(ip, sa.Text), INET)
    return sa.exists().where(
        Block.lifted_at.is_(None),
        Block.expires_at > sa.func.now(),
        sa.or_(Block.network.op(">>=")(address), Block.domain == domain),
    )


def reachable_acr(session: DatabaseSession, *, user_id: uuid.UUID) -> str:
    """The strongest sign-in that the person could give us now: nobody is asked for more than they have."""
    mine = User.id == user_id
    has_passkey, has_totp = session.execute(
        sa.select(_exists(Passkey), _exists(TOTPCredential, TOTPCredential.confirmed_at.is_not(None)))
        .select_from(User)
        .where(mine)
    ).one_or_none() or (False, False)
    if has_passkey:
        return "phr"
    return "2" if has_totp else "1"


def strongest_way(*, sub: str) -> str:
    """The same for the person of a sub."""
    with db.single_statements() as session:
        user_id = session.scalar(sa.select(User.id).where(User.sub == sub))
        return reachable_acr(session, user_id=user_id) if user_id else "1"
