"""Initial access tokens (RFC 7591 §3): who may register clients by themselves, how many, and until when."""

import uuid
from datetime import timedelta

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.audit import current_actor
from libs.database import utcnow, uuid7
from libs.guard.single_use import make
from libs.web.problems import Problem
from services.oidc.extensions import audit, db
from services.oidc.models import InitialAccessToken

LIFETIME = timedelta(days=7)
"""How long a token holds, unless told otherwise."""
LONGEST_LIFETIME = timedelta(days=365)
MAX_NOTE_LENGTH = 200
MOST_USES = 10_000


class InvalidRegistrationToken(Problem):
    """A token cannot be made like this; `errors` says why."""

    slug, title = "invalid-registration-token", lazy_gettext("Such a token cannot be made")


class UnknownRegistrationToken(Problem):
    """No initial access token has this id."""

    status, slug, title = 404, "unknown-registration-token", lazy_gettext("There is no token with this id")


def create_registration_token(
    *, note: str, uses: int | None = 1, lifetime: timedelta = LIFETIME
) -> tuple[InitialAccessToken, str]:
    """Make a token that registers `uses` clients (None: any number). Returns its row and, this once, itself."""
    note = note.strip()
    errors = {}
    if not note or len(note) > MAX_NOTE_LENGTH or not note.isprintable():
        errors["note"] = lazy_gettext("Say in at most 200 characters whom it is for.")
    if uses is not None and not 0 < uses <= MOST_USES:
        errors["uses"] = lazy_gettext("From 1 to %(count)s.", count=MOST_USES)
    if not timedelta(0) < lifetime <= LONGEST_LIFETIME:
        errors["lifetime"] = lazy_gettext("At most a year.")
    if errors:
        raise InvalidRegistrationToken(errors=errors)
    text, hashed = make()
    row = InitialAccessToken(
        id=uuid7(),
        digest=hashed,
        note=note,
        uses_left=uses,
        created_by=current_actor(),
        expires_at=utcnow() + lifetime,
    )
    with db.transaction() as session:
        session.add(row)
        session.flush()
        audit.record(
            "registration_token.created",
            target=f"registration-token:{row.id}",
            after={"note": note, "uses": uses, "expires_at": row.expires_at},
        )
    return row, text


def list_registration_tokens() -> list[InitialAccessToken]:
    """Every token that was made, newest first."""
    return list(db.session.scalars(sa.select(InitialAccessToken).order_by(InitialAccessToken.id.desc())))


def state_of(row: InitialAccessToken) -> str:
    """holds, revoked, expired or used."""
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at <= utcnow():
        return "expired"
    return "used" if row.uses_left == 0 else "holds"


def revoke_registration_token(token_id: uuid.UUID) -> bool:
    """End a token; clients that it registered stay. False: it was revoked before. Raises UnknownRegistrationToken."""
    with db.transaction() as session:
        row = session.get(InitialAccessToken, token_id, with_for_update=True)
        if row is None:
            raise UnknownRegistrationToken
        if row.revoked_at is not None:
            return False
        row.revoked_at = utcnow()
        audit.record("registration_token.revoked", target=f"registration-token:{token_id}")
    return True
