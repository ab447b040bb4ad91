"""Sign-in sessions, as lists of them show one."""

from typing import Any

from marshmallow import fields

from libs.web.api import Shape, said
from services.account.models import SignInSession


class SessionSchema(Shape):
    """A person signed in on one browser."""

    sid = fields.String(required=True, metadata={"format": "uuid"})
    is_current = fields.Boolean(required=True, **said("Whether the token of this request lives by it"))
    created_at = fields.AwareDateTime(required=True)
    last_seen_at = fields.AwareDateTime(required=True, **said("To about five minutes"))
    auth_time = fields.AwareDateTime(required=True, **said("When the person last proved who they are"))
    amr = fields.List(fields.String(), required=True, **said("How, in the words of RFC 8176"))
    acr = fields.String(required=True, **said("1 one factor, 2 two, phr a passkey with the person verified"))
    user_agent = fields.String(required=True)
    ip = fields.String(required=True, allow_none=True)
    country = fields.String(required=True, allow_none=True, **said("ISO 3166-1 alpha-2"))


class SessionListSchema(Shape):
    """Where a person is signed in."""

    items = fields.List(fields.Nested(SessionSchema), required=True)

    @staticmethod
    def item(row: SignInSession, *, own_sid: str | None) -> dict[str, Any]:
        """A session as SessionSchema shows it."""
        values = {name: getattr(row, name, None) for name in SessionSchema().fields}
        return {**values, "sid": row.id, "is_current": row.id == own_sid}


class EndedSchema(Shape):
    """How much came to an end."""

    sessions_ended = fields.Integer(required=True)
