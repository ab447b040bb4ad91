"""Pairwise subjects: a person has another number at each sector, so that two apps cannot compare notes (Core §8.1)."""

import base64
import hashlib
import hmac
import secrets
import uuid

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import insert

from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.models import IssuerSecret

NAME = "pairwise"
_known: bytes | None = None


def subject_for(client: RegisteredClient, sub: str) -> str:
    """The person's `sub` as this client sees it."""
    if client.subject_type == "public":
        return sub
    code = hmac.new(_secret(), f"{client.sector}\0{sub}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(code).decode().rstrip("=")


def session_id_for(client: RegisteredClient, sid: str) -> str:
    """The `sid` of a sign-in session as this client sees it: the plain one would tell two sectors of one person."""
    if client.subject_type == "public":
        return sid
    code = hmac.new(_secret(), f"sid\0{client.sector}\0{sid}".encode(), hashlib.sha256).digest()
    # A UUID of version 8 (RFC 9562 §5.8), which Python's own class cannot make before 3.14.
    value = int.from_bytes(code[:16])
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def place(name: str) -> str:
    """Where a secret belongs, for the key ring."""
    return f"issuer_secrets.value_sealed:{name}"


def _secret() -> bytes:
    """Made once for ever: what clients have stored hangs on it. Read once a process."""
    global _known
    if _known is None:
        data_keys = parts_of(current_app).data_keys
        look = sa.select(IssuerSecret.value_sealed).where(IssuerSecret.name == NAME)
        row = db.fetch_one(look)
        if row is None:
            sealed = data_keys.seal(secrets.token_bytes(32), place(NAME))
            with db.transaction() as session:
                session.execute(
                    insert(IssuerSecret).values(name=NAME, value_sealed=sealed).on_conflict_do_nothing()
                )
            row = db.fetch_one(look)
        assert row is not None
        _known = data_keys.open(row.value_sealed, place(NAME))
    return _known
