"""The members' languages: a copy of what account says, whole and versioned."""

import unicodedata

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from services.notification.extensions import db
from services.notification.models import Recipient

LAST_VERSION = 2**63 - 1
"""Of the tombstone of somebody who was erased."""


def remember(*, sub: str, email: str, locale: str, version: int) -> None:
    """Keep the newest snapshot of a member; an older one that arrives late changes nothing."""
    row = insert(Recipient).values(sub=sub, email=folded(email), locale=locale, version=version)
    with db.transaction() as session:
        session.execute(
            row.on_conflict_do_update(
                index_elements=[Recipient.sub],
                set_={name: row.excluded[name] for name in ("email", "locale", "version")},
                where=Recipient.version < row.excluded.version,
            )
        )


def forget(*, sub: str) -> str | None:
    """Forget a member; what stays is their sub under a version that no late snapshot exceeds. Returns the address."""
    with db.transaction() as session:
        known = session.scalar(sa.select(Recipient.email).where(Recipient.sub == sub).with_for_update())
        tombstone = {"email": "", "locale": "", "version": LAST_VERSION}
        session.execute(
            insert(Recipient)
            .values(sub=sub, **tombstone)
            .on_conflict_do_update(index_elements=[Recipient.sub], set_=tombstone)
        )
        return known or None


def locale_of(email: str) -> str | None:
    """The language of the member with this address; None when nobody here has it."""
    return db.session.scalar(
        sa.select(Recipient.locale)
        .where(Recipient.email == folded(email))
        .order_by(Recipient.version.desc())
        .limit(1)
    )


def mailbox_of(email: str) -> str:
    """folded(), and its domain in the form that DNS and mail servers know, in which providers speak of it."""
    address = folded(email)
    local, at, domain = address.rpartition("@")
    if not at or domain.isascii():
        return address
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError:  # no domain name
        return address


def folded(email: str) -> str:
    """One form for all spellings of an address."""
    return unicodedata.normalize("NFKC", email).strip().casefold()
