"""What account itself holds about a person: everything but what would open their account."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session as DatabaseSession

from services.account.extensions import audit
from services.account.flows.profile import profile_of
from services.account.models import (
    DataRequest,
    EmailChange,
    KnownDevice,
    LinkedIdentity,
    LoginEvent,
    Passkey,
    PasswordCredential,
    PasswordLink,
    ProviderVisit,
    RecoveryCode,
    SecondFactorReset,
    SecurityNotice,
    SignInAttempt,
    SignInSession,
    TOTPCredential,
    User,
)

MOST_ROWS = 5000
"""Of a kind, the newest: an account under attack has login events without end."""
LISTS: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "sessions": (
        SignInSession,
        ("id", "created_at", "auth_time", "last_seen_at", "absolute_end", "ended_at", "end_cause", "amr", "acr",
         "provider", "user_agent", "ip", "country"),
        "created_at",
    ),
    "login_events": (
        LoginEvent,
        ("created_at", "method", "success", "failure_reason", "ip", "country", "user_agent"),
        "id",  # which sorts by time, and has the index
    ),
    "passkeys": (
        Passkey, ("name", "aaguid", "transports", "is_synced", "created_at", "last_used_at"), "created_at",
    ),
    "linked_identities": (
        LinkedIdentity, ("provider", "issuer", "subject", "name", "created_at", "last_used_at"), "created_at",
    ),
    "devices": (KnownDevice, ("first_seen_at", "last_seen_at"), "last_seen_at"),
    "email_changes": (EmailChange, ("email", "created_at", "used_at", "previous_email"), "created_at"),
    "security_notices": (SecurityNotice, ("kind", "email", "created_at", "used_at"), "created_at"),
    "password_links": (PasswordLink, ("purpose", "created_at", "expires_at", "used_at"), "created_at"),
    "second_factor_resets": (
        SecondFactorReset, ("created_at", "available_at", "mailed_at", "ended_at", "end_cause"), "created_at",
    ),
    "sign_ins_half_done": (
        SignInAttempt, ("created_at", "expires_at", "needs", "amr", "provider", "user_agent", "ip"), "created_at",
    ),
    "provider_visits": (ProviderVisit, ("provider", "purpose", "created_at", "expires_at", "used_at"), "created_at"),
    "data_requests": (DataRequest, ("created_at", "mailed_at", "expires_at"), "created_at"),
}  # fmt: skip
"""By its name: the table, what of its rows, and what is newest."""


def own_part(session: DatabaseSession, user: User) -> dict[str, Any]:
    """Everything, in values that JSON knows."""
    part: dict[str, Any] = {
        "user": {
            "sub": user.sub,
            "email": user.email,
            "email_verified_at": _plain(user.email_verified_at),
            "roles": list(user.roles),
            "status": user.status,
            "application_id": user.application_id,
            "mail_trouble": user.mail_trouble,
            "mail_trouble_at": _plain(user.mail_trouble_at),
            "created_at": _plain(user.created_at),
            "updated_at": _plain(user.updated_at),
            "erase_at": _plain(user.erase_at),
        },
        "profile": profile_of(user),
        "credentials": _credentials(session, user.id),
    }
    for name, (table, columns, newest) in LISTS.items():
        rows = session.execute(
            sa.select(*(getattr(table, column) for column in columns))
            .where(table.user_id == user.id)
            .order_by(getattr(table, newest).desc())
            .limit(MOST_ROWS)
        )
        part[name] = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
    part["audit"] = _audit(user)
    return part


def _credentials(session: DatabaseSession, user_id: uuid.UUID) -> dict[str, Any]:
    """Which there are and since when; what they are is either a hash or a secret."""
    authenticator = session.execute(
        sa.select(TOTPCredential.confirmed_at, TOTPCredential.last_used_at).where(
            TOTPCredential.user_id == user_id, TOTPCredential.confirmed_at.is_not(None)
        )
    ).one_or_none()
    unused = sa.select(sa.func.count()).where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    return {
        "password_changed_at": _plain(
            session.scalar(
                sa.select(PasswordCredential.changed_at).where(PasswordCredential.user_id == user_id)
            )
        ),
        "authenticator_app": (
            {"since": _plain(authenticator.confirmed_at), "last_used_at": _plain(authenticator.last_used_at)}
            if authenticator
            else None
        ),
        "recovery_codes_left": session.scalar(unused),
    }


def _audit(user: User) -> Sequence[dict[str, Any]]:
    """What was changed about the person, by whom as far as that is theirs to know; staff's notes are not."""
    me = f"user:{user.sub}"
    entries = []
    for row in audit.entries(target=me, limit=MOST_ROWS):
        kind = row.actor.partition(":")[0]
        by = "you" if row.actor == me else {"user": "staff", "command": "staff"}.get(kind, "the service")
        reason = row.reason if by != "staff" else None
        entries.append(
            {
                "at": _plain(row.created_at),
                "action": row.action,
                "by": by,
                "reason": reason,
                "after": row.after,
            }
        )
    return entries


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value
