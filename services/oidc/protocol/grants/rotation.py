"""The statements of the refresh token grant; each stands alone, hence is a transaction of its own.

No parameter is named like a column: SQLAlchemy would set that column, too.
"""

from typing import Any

import sqlalchemy as sa

from libs.database import Timestamp
from libs.prepared import Prepared
from services.oidc.models import AccessToken, Grant, RefreshToken, Subject
from services.oidc.protocol.grants import insert_opaque

grants, tokens = Grant.__table__, RefreshToken.__table__

TOKEN = Prepared(
    sa.select(
        tokens.c.id,
        tokens.c.digest,
        tokens.c.grant_id,
        tokens.c.created_at,
        tokens.c.expires_at.label("idle_end"),
        tokens.c.used_at,
        tokens.c.successor_sealed,
        tokens.c.predecessor_id,
        grants.c.client_id,
        grants.c.sub,
        grants.c.sid,
        grants.c.is_offline,
        grants.c.scope,
        grants.c.resources,
        grants.c.claims_request,
        grants.c.auth_time,
        grants.c.acr,
        grants.c.amr,
        grants.c.roles,
        grants.c.ended_at,
        grants.c.end_cause,
        grants.c.expires_at,
        Subject.status,
        Subject.roles.label("present_roles"),
        Subject.claims.label("person_claims"),
    )
    .join(grants, grants.c.id == tokens.c.grant_id)
    .join(Subject, Subject.sub == grants.c.sub)
    .where(tokens.c.digest == sa.bindparam("digest"))
)


def _family() -> sa.CTE:
    """The grant, locked while it lives: whoever ends or refreshes the family waits, or is waited for."""
    return (
        sa.select(grants.c.id)
        .where(grants.c.id == sa.bindparam("of_grant", type_=sa.Uuid), grants.c.ended_at.is_(None))
        .with_for_update(key_share=True)
        .cte("family")
    )


def _opaque(family: sa.CTE) -> sa.CTE:
    return insert_opaque(family).returning(AccessToken.__table__.c.id).cte("access")


def _rotate() -> sa.Select[Any]:
    """Spends a token and stores its successor. Answers nothing when it was spent before or its family has ended."""
    family = _family()
    spent = (
        sa.update(tokens)
        .where(
            tokens.c.grant_id == family.c.id,
            tokens.c.id == sa.bindparam("token_id", type_=sa.Uuid),
            tokens.c.used_at.is_(None),
        )
        .values(
            used_at=sa.bindparam("now", type_=Timestamp),
            successor_sealed=sa.bindparam("sealed", type_=sa.Text),
        )
        .returning(tokens.c.grant_id.label("id"))
        .cte("spent")
    )
    # Now that this token is used, the one before it has had its grace.
    before = tokens.alias("before")
    forgotten = (
        sa.update(before)
        .where(before.c.id == sa.bindparam("id_before", type_=sa.Uuid), before.c.grant_id == spent.c.id)
        .values(successor_sealed=sa.null())
        .returning(before.c.id)
        .cte("forgotten")
    )
    columns: dict[str, sa.ColumnElement[Any]] = {
        "id": sa.bindparam("refresh_id", type_=sa.Uuid),
        "grant_id": spent.c.id,
        "digest": sa.bindparam("refresh_digest", type_=sa.Text),
        "created_at": sa.bindparam("now", type_=Timestamp),
        "expires_at": sa.bindparam("refresh_end", type_=Timestamp),
        "predecessor_id": sa.bindparam("token_id", type_=sa.Uuid),
    }
    successor = (
        sa.insert(tokens)
        .from_select(list(columns), sa.select(*columns.values()).select_from(spent))
        .returning(tokens.c.id)
        .cte("successor")
    )
    return sa.select(spent.c.id).add_cte(forgotten, successor, _opaque(spent))


def _again() -> sa.Select[Any]:
    """Gives a successor once more. Answers nothing when the family has ended."""
    family = _family()
    return sa.select(family.c.id).add_cte(_opaque(family))


def _prolong() -> sa.Select[Any]:
    """Starts the idle life of a token that is not rotated again. Answers nothing when the family has ended."""
    family = _family()
    prolonged = (
        sa.update(tokens)
        .where(tokens.c.grant_id == family.c.id, tokens.c.id == sa.bindparam("token_id", type_=sa.Uuid))
        .values(expires_at=sa.bindparam("idle_end", type_=Timestamp))
        .returning(tokens.c.grant_id.label("id"))
        .cte("prolonged")
    )
    return sa.select(prolonged.c.id).add_cte(_opaque(prolonged))


ROTATE, AGAIN, PROLONG = Prepared(_rotate()), Prepared(_again()), Prepared(_prolong())
