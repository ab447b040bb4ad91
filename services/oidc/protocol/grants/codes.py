"""Codes that a person's answer stands behind, of a browser or a device: each is spent once."""

from typing import Any

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import InvalidGrantError
from flask import current_app

from libs.database import Timestamp, utcnow, uuid7
from libs.guard import single_use
from libs.observe.logs import get_logger
from libs.people import denials
from libs.prepared import Prepared
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.revoking import end_grant
from services.oidc.models import AccessToken, Grant, RefreshToken, Subject
from services.oidc.protocol.grants import authorization_of, insert_opaque, opaque_values
from services.oidc.protocol.liveness import denial_keys
from services.oidc.protocol.reasons import ago
from services.oidc.protocol.requests import FormRequest
from services.oidc.protocol.tokens import Authorization

log = get_logger("OIDC.token")


_CODE = Prepared(
    sa.select(
        *Grant.__table__.columns,
        Subject.status,
        Subject.roles.label("present_roles"),
        Subject.claims.label("person_claims"),
    )
    .join(Subject, Subject.sub == Grant.sub)
    .where(Grant.code_digest == sa.bindparam("digest"))
)


def _spend() -> sa.Select[Any]:
    """One statement, hence one transaction: the code is spent, and what was issued for it is stored, or neither."""
    grants, refresh_tokens = Grant.__table__, RefreshToken.__table__
    spent = (
        sa.update(grants)
        .where(
            grants.c.id == sa.bindparam("of_grant", type_=sa.Uuid),
            grants.c.code_used_at.is_(None),
            grants.c.ended_at.is_(None),
        )
        .values(code_used_at=sa.bindparam("now", type_=Timestamp))
        .returning(grants.c.id)
        .cte("spent")
    )
    columns: dict[str, sa.ColumnElement[Any]] = {
        "id": sa.bindparam("refresh_id", type_=sa.Uuid),
        "grant_id": spent.c.id,
        "digest": sa.bindparam("refresh_digest", type_=sa.Text),
        "created_at": sa.bindparam("now", type_=Timestamp),
        "expires_at": sa.bindparam("refresh_end", type_=Timestamp),
    }
    refresh = sa.insert(refresh_tokens).from_select(
        list(columns),
        sa.select(*columns.values()).where(sa.bindparam("refresh_digest", type_=sa.Text).is_not(None)),
    )
    return sa.select(spent.c.id).add_cte(
        refresh.returning(refresh_tokens.c.id).cte("refresh"),
        insert_opaque(spent).returning(AccessToken.__table__.c.id).cte("access"),
    )


_SPEND = Prepared(_spend())


def find_code(code: str) -> Any:
    """The row of the grant that a code stands for, with its person; None when nobody knows the code."""
    return db.fetch_one(_CODE, {"digest": single_use.digest(code)})


def is_unspent(request: FormRequest, row: Any) -> bool:
    """Whether the code can be spent. One used before ends what its first use produced (RFC 6749 §4.1.2)."""
    if row.code_used_at is not None:
        end_after_reuse(request, row)
        return False
    if row.ended_at is not None or row.code_expires_at <= utcnow():
        request.detail = (
            f"what the code stands for has ended ({row.end_cause})"
            if row.ended_at is not None
            else f"the code expired {ago(row.code_expires_at)}"
        )
        return False
    return True


def who_gave(request: FormRequest, row: Any) -> Authorization | None:
    """Who gave the code, while they may still sign in."""
    assert request.visit is not None
    found = request.visit.count(denial_keys(row))
    if row.status != "active":
        request.detail = f"the person is {row.status}"
        return None
    if denials.reach(found, issued_at=int(row.created_at.timestamp())):
        request.detail = "the person's access was revoked after the code was issued"
        return None
    return authorization_of(row, grant_id=row.id, nonce=row.nonce, named=request.resources)


def spend(request: FormRequest, row: Any, token: dict[str, Any]) -> None:
    """Spend the code for this token response; of many who try at once one goes on, and the others end what it got.

    Adds the refresh token, where the client may have one. Raises InvalidGrantError.
    """
    now = utcnow()
    text, digest = None, None
    if request.client.check_grant_type("refresh_token"):
        text, digest = single_use.make()
    idle = parts_of(current_app).settings.REFRESH_IDLE_LIFETIME
    values = {
        "of_grant": row.id,
        "now": now,
        "refresh_id": uuid7(),
        "refresh_digest": digest,
        "refresh_end": min(now + idle, row.expires_at),
        **opaque_values(request, token),
    }
    if db.fetch_one(_SPEND, values) is None:
        end_after_reuse(request, row)
        raise InvalidGrantError("The code is not valid.")
    if text is not None:
        token["refresh_token"] = text


def end_after_reuse(request: FormRequest, row: Any) -> None:
    used = f" {ago(row.code_used_at)}" if row.code_used_at is not None else ""
    request.detail = f"the code was used before{used or ', or what it stands for ended, a moment ago'}"
    ended = end_grant(row.id, cause="code_reuse")
    log.warning("code_reused", client_id=row.client_id, grant_id=str(row.id), ended_now=ended)
