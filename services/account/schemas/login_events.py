"""Attempts to sign in, as their owner and as staff see them, and what lists of them are narrowed by."""

from datetime import datetime, timedelta
from typing import Any

from flask_babel import gettext
from marshmallow import ValidationError, fields, pre_dump, validate

from libs.database import utcnow
from libs.observe.metrics import LOGIN_REASONS
from libs.web.api import Input, Shape, said
from libs.web.client_address import parse_network
from services.account.flows.login_events import Attempt
from services.account.flows.users import MAX_EMAIL_LENGTH

AN_HOUR = timedelta(hours=1)


class OwnLoginEventSchema(Shape):
    """An attempt to sign in to an account."""

    id = fields.UUID(required=True)
    created_at = fields.AwareDateTime(required=True)
    success = fields.Boolean(required=True)
    failure_reason = fields.String(
        required=True, allow_none=True, **said(f"One of {', '.join(LOGIN_REASONS)}")
    )
    method = fields.String(
        required=True,
        **said("password, passkey, totp, recovery_code, mail_code, link, enrolment, or a provider's name"),
    )
    ip = fields.String(required=True, allow_none=True)
    country = fields.String(required=True, allow_none=True, **said("ISO 3166-1 alpha-2"))
    user_agent = fields.String(required=True)

    @pre_dump
    def _read(self, attempt: Attempt, **kwargs: Any) -> dict[str, Any]:
        event, user = attempt
        values = {name: getattr(event, name, None) for name in self.fields}
        return {**values, "sub": user.sub if user else None, "email": user.email if user else None}


class LoginEventSchema(OwnLoginEventSchema):
    """An attempt to sign in, as staff see it."""

    sub = fields.String(
        required=True, allow_none=True, **said("Whose account; null where it is nobody's", format="uuid")
    )
    email = fields.String(required=True, allow_none=True, **said("The address of that account now"))
    typed_hash = fields.String(
        required=True,
        allow_none=True,
        **said("A keyed hash of what was typed, where nobody has that address"),
    )
    sid = fields.String(required=True, allow_none=True, **said("The session that it began", format="uuid"))
    correlation_id = fields.String(required=True, allow_none=True)


class Network(fields.String):
    """An address or a network, in the form in which they are compared."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        network = parse_network(super()._deserialize(value, attr, data, **kwargs))
        if network is None:
            raise ValidationError(
                gettext("This is no address and no network: write 203.0.113.9 or 203.0.113.0/24.")
            )
        return network


def _is_of_our_time(moment: datetime) -> None:
    if not 1970 <= moment.year <= 9998:
        raise ValidationError(gettext("Write a moment of our time."))


def _moment(words: str, **options: Any) -> fields.AwareDateTime:
    return fields.AwareDateTime(validate=_is_of_our_time, **options, **said(words))


def attempt_filters() -> dict[str, fields.Field[Any]]:
    """What a list of one person's attempts may be narrowed by."""
    return {
        "ip": Network(attribute="network", **said("Only from this address or network")),
        "success": fields.Boolean(),
        "reason": fields.String(validate=validate.OneOf(LOGIN_REASONS), **said("Only failures for this")),
        "method": fields.String(validate=validate.Length(1, 64)),
        "since": _moment("Not before this moment"),
        "until": _moment("Before this moment"),
    }


def event_filters() -> dict[str, fields.Field[Any]]:
    """What a list of everybody's attempts may be narrowed by."""
    return {
        "email": fields.String(
            validate=validate.Length(1, MAX_EMAIL_LENGTH),
            **said("Only of whoever has this address, or where it was typed"),
        ),
        **attempt_filters(),
    }


class FailuresSinceSchema(Input):
    """Since when failures are counted."""

    since = _moment("Not before this moment", load_default=lambda: utcnow() - AN_HOUR)


class FailureCountSchema(Shape):
    """How often attempts failed for one reason."""

    failure_reason = fields.String(required=True, validate=validate.OneOf(LOGIN_REASONS))
    count = fields.Integer(required=True)


class FailureCountsSchema(Shape):
    """Why attempts failed, most first."""

    items = fields.List(fields.Nested(FailureCountSchema), required=True)
