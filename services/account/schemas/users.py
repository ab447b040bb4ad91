"""People, as they see themselves and as staff see them."""

from typing import Any

from flask_babel import gettext
from marshmallow import ValidationError, fields, validate, validates_schema

from libs.web.api import Input, Shape, said
from libs.web.languages import LANGUAGES
from services.account.flows.users import MAX_EMAIL_LENGTH, MAX_NAME_LENGTH
from services.account.models import ROLES

MAX_REASON_LENGTH = 500
STATES = ("active", "disabled")


class MeSchema(Shape):
    """An account as its owner sees it. All of it changes its ETag."""

    sub = fields.String(required=True, **said("The person's identifier in every app", format="uuid"))
    email = fields.String(required=True)
    email_verified = fields.Function(
        lambda user: user.email_verified_at is not None, required=True, metadata={"type": "boolean"}
    )
    name = fields.String(required=True)
    locale = fields.String(required=True, **said("The language we speak to the person, BCP 47"))
    zoneinfo = fields.String(required=True, allow_none=True, **said("Time zone, such as Europe/Berlin"))
    roles = fields.List(fields.String(validate=validate.OneOf(ROLES)), required=True)
    updated_at = fields.AwareDateTime(required=True)


class UserSchema(MeSchema):
    """An account as staff see it. All of it changes its ETag."""

    status = fields.String(required=True, validate=validate.OneOf(STATES))
    created_at = fields.AwareDateTime(required=True)


class ProfileSchema(Input):
    """What a person changes of their own account: at least one member."""

    name = fields.String(validate=validate.Length(1, MAX_NAME_LENGTH))
    locale = fields.String(validate=validate.OneOf(list(LANGUAGES)))
    zoneinfo = fields.String(allow_none=True, **said("Time zone, such as Europe/Berlin; null for none"))

    @validates_schema
    def _names_something(self, data: dict[str, Any], **kwargs: Any) -> None:
        if not data:
            raise ValidationError(gettext("Name at least one of name, locale and zoneinfo."))


class ReasonSchema(Input):
    """Why staff do something."""

    reason = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(max=MAX_REASON_LENGTH),
        **said("For the audit"),
    )


def user_filters() -> dict[str, fields.Field[Any]]:
    """What a list of people may be narrowed by."""
    return {
        "search": fields.String(
            load_default="",
            validate=validate.Length(max=MAX_EMAIL_LENGTH),
            **said("Only whose address or name contains this"),
        ),
        "status": fields.String(validate=validate.OneOf(STATES)),
    }


class AuditEntrySchema(Shape):
    """Who did what to an account."""

    id = fields.UUID(required=True)
    created_at = fields.AwareDateTime(required=True)
    actor = fields.String(
        required=True, **said("Such as user:SUB, client:ID, command:LOGIN or event:SERVICE")
    )
    action = fields.String(required=True)
    before = fields.Dict(required=True, allow_none=True)
    after = fields.Dict(required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True)
    correlation_id = fields.String(required=True, allow_none=True)
