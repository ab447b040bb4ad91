"""Whether what was issued still holds: its row, the person, the client, and the denials from Redis.

A token is found by one statement; its denials come with the round trip that counts the request.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from libs.database import utcnow
from libs.guard import single_use
from libs.people import denials
from libs.prepared import Prepared
from services.oidc.extensions import db
from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.models import AccessToken, Grant, RefreshToken, Subject
from services.oidc.protocol.limits import Visit
from services.oidc.protocol.tokens import read_access_token

ACCESS, REFRESH = "access_token", "refresh_token"

_OF_GRANT = (
    Grant.sub,
    Grant.sid,
    Grant.is_offline,
    Grant.ended_at,
    Grant.expires_at,
    Grant.auth_time,
    Grant.acr,
    Grant.amr,
    Grant.roles,
    Grant.claims_request,
    Subject.status,
    Subject.roles.label("present_roles"),
    Subject.claims,
)
_BY_GRANT = Prepared(
    sa.select(Grant.id.label("grant_id"), Grant.client_id, *_OF_GRANT)
    .join(Subject, Subject.sub == Grant.sub)
    .where(Grant.id == sa.bindparam("id"))
)
_ACCESS = sa.select(
    sa.literal(ACCESS).label("kind"),
    AccessToken.id.label("token_id"),
    AccessToken.grant_id,
    AccessToken.client_id,
    AccessToken.scope,
    AccessToken.audience,
    AccessToken.created_at.label("issued_at"),
    AccessToken.expires_at.label("token_end"),
    AccessToken.revoked_at,
    *_OF_GRANT,
).select_from(
    sa.outerjoin(AccessToken, Grant, Grant.id == AccessToken.grant_id).outerjoin(
        Subject, Subject.sub == Grant.sub
    )
)
_BY_ID = Prepared(_ACCESS.where(AccessToken.id == sa.bindparam("id")))
_OPAQUE = _ACCESS.where(AccessToken.digest == sa.bindparam("digest"))
_REFRESH = (
    sa.select(
        sa.literal(REFRESH).label("kind"),
        RefreshToken.id.label("token_id"),
        RefreshToken.grant_id,
        Grant.client_id,
        Grant.scope,
        sa.cast(sa.null(), AccessToken.audience.type).label("audience"),
        RefreshToken.created_at.label("issued_at"),
        RefreshToken.expires_at.label("token_end"),
        RefreshToken.used_at.label("revoked_at"),
        *_OF_GRANT,
    )
    .join(Grant, Grant.id == RefreshToken.grant_id)
    .join(Subject, Subject.sub == Grant.sub)
    .where(RefreshToken.digest == sa.bindparam("digest"))
)
_BY_DIGEST = {True: Prepared(sa.union_all(_OPAQUE, _REFRESH)), False: Prepared(_OPAQUE)}
"""Whether refresh tokens are looked for, too."""


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A token of ours as it was issued, whether or not it still holds."""

    kind: str
    client_id: str
    scope: str
    audience: list[str]
    issued_at: int
    expires_at: int
    """Both in epoch seconds."""
    jti: str | None
    """None for a refresh token."""
    row: Any
    """What stands behind it, with the person's columns empty for a client by itself; None when nothing does."""

    @property
    def is_of_person(self) -> bool:
        return self.row is not None and self.row.sub is not None

    @property
    def grant_id(self) -> uuid.UUID | None:
        return self.row.grant_id if self.row is not None else None


def find_issued(
    text: str, *, issuer: str, visit: Visit, kinds: tuple[str, ...] = (ACCESS, REFRESH)
) -> Issued | None:
    """The token of ours behind a text, by one statement; None for anything that we did not issue.

    A JWT that does not verify costs no question. Raises TooManyRequests for whoever was refused a moment ago.
    """
    claims = read_access_token(text, issuer=issuer)
    if claims is not None:
        return _of_claims(claims)
    if text.count(".") == 2:
        return None  # of the other kinds none has a dot
    visit.look_ahead()
    row = db.fetch_one(_BY_DIGEST[REFRESH in kinds], {"digest": single_use.digest(text)})
    return _of_row(row) if row is not None else None


def still_holds(issued: Issued, visit: Visit) -> RegisteredClient | None:
    """The client of a token while nothing has ended it. Counts the request on the way. Raises TooManyRequests."""
    row, now = issued.row, utcnow()
    found = visit.count(denial_keys(row) if row is not None and row.sub is not None else ())
    if row is None or issued.expires_at <= now.timestamp():
        return None
    if getattr(row, "revoked_at", None) is not None:
        return None
    if row.grant_id is not None and not is_live(row):
        return None
    if denials.reach(found, issued_at=issued.issued_at):
        return None
    return find_client(row.client_id)


def is_live(row: Any) -> bool:
    """Whether a grant's row (with its person's status) still stands."""
    return row.ended_at is None and row.expires_at > utcnow() and row.status == "active"


def denial_keys(row: Any) -> list[str]:
    """The denials that could reach what came of a grant."""
    return denials.keys_of(sub=row.sub, sid=row.sid, is_offline=row.is_offline)


def _of_claims(claims: Mapping[str, Any]) -> Issued:
    audience = claims["aud"]
    return Issued(
        kind=ACCESS,
        client_id=claims["client_id"],
        scope=claims["scope"],
        audience=list(audience) if isinstance(audience, list) else [audience],
        issued_at=claims["iat"],
        expires_at=claims["exp"],
        jti=claims["jti"],
        row=_row_of(claims),
    )


def _row_of(claims: Mapping[str, Any]) -> Any:
    """The grant that a JWT names; of a client by itself the token's own row."""
    is_of_client = "grant_id" not in claims and claims["sub"] == claims["client_id"]
    try:
        found = uuid.UUID(claims["jti"] if is_of_client else claims["grant_id"])
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    return db.fetch_one(_BY_ID if is_of_client else _BY_GRANT, {"id": found})


def _of_row(row: Any) -> Issued:
    return Issued(
        kind=row.kind,
        client_id=row.client_id,
        scope=row.scope,
        audience=list(row.audience or ()),
        issued_at=int(row.issued_at.timestamp()),
        expires_at=int(row.token_end.timestamp()),
        jti=str(row.token_id) if row.kind == ACCESS else None,
        row=row,
    )
