"""People, as they see themselves and as staff see them."""

from typing import Any

from flask_babel import gettext
from marshmallow import ValidationError, fields, pre_dump, validate, validates_schema

from libs.web.api import Input, Shape, said
from libs.web.languages import DEFAULT, LANGUAGES
from services.account.flows.profile import profile_of
from services.account.flows.search import STATES
from services.account.flows.users import MAX_EMAIL_LENGTH, MAX_NAME_LENGTH
from services.account.models import ROLES, User

MAX_REASON_LENGTH = 500


class PersonSchema(Shape):
    """An account."""

    sub = fields.String(required=True, **said("The person's identifier in every app", format="uuid"))
    email = fields.String(required=True)
    email_verified = fields.Boolean(required=True)
    name = fields.String(required=True)
    locale = fields.String(required=True, **said("The language we speak to the person, BCP 47"))
    zoneinfo = fields.String(required=True, allow_none=True, **said("Time zone, such as Europe/Berlin"))
    roles = fields.List(fields.String(validate=validate.OneOf(ROLES)), required=True)
    updated_at = fields.AwareDateTime(required=True)

    @pre_dump
    def _read(self, user: User, **kwargs: Any) -> dict[str, Any]:
        values = {name: getattr(user, name, None) for name in self.fields}
        return {**values, "email_verified": user.email_verified_at is not None}


class UserSchema(PersonSchema):
    """An account as staff see it. All of it changes its ETag."""

    status = fields.String(required=True, validate=validate.OneOf(("active", "disabled")))
    created_at = fields.AwareDateTime(required=True)


class AddressSchema(Input):
    """A postal address (OpenID Connect Core §5.1.1)."""

    street_address = fields.String(allow_none=True)
    locality = fields.String(allow_none=True)
    region = fields.String(allow_none=True)
    postal_code = fields.String(allow_none=True)
    country = fields.String(allow_none=True)


class FurtherClaims(Input):
    """What a person may say about themselves beyond name, language and time zone (OpenID Connect Core §5.1)."""

    given_name = fields.String(allow_none=True)
    family_name = fields.String(allow_none=True)
    middle_name = fields.String(allow_none=True)
    nickname = fields.String(allow_none=True)
    preferred_username = fields.String(allow_none=True)
    profile = fields.String(allow_none=True, **said("A page about the person: http or https"))
    website = fields.String(allow_none=True, **said("http or https"))
    gender = fields.String(allow_none=True)
    birthdate = fields.String(allow_none=True, **said("YYYY-MM-DD, 0000-MM-DD or YYYY"))
    phone_number = fields.String(allow_none=True, **said("E.164, such as +4930123456"))
    address = fields.Nested(AddressSchema, allow_none=True)


class MeSchema(PersonSchema, FurtherClaims):
    """An account as its owner sees it; what they have not said is null. All of it changes its ETag."""

    class Meta(Shape.Meta):
        pass

    @pre_dump
    def _read(self, user: User, **kwargs: Any) -> dict[str, Any]:
        # User.profile holds the further claims; one of them has the same name.
        return {**super()._read(user), **dict.fromkeys(FurtherClaims().fields), **profile_of(user)}


class ProfileSchema(FurtherClaims):
    """What a person changes of their own account: at least one member; null takes it away."""

    name = fields.String(validate=validate.Length(1, MAX_NAME_LENGTH))
    locale = fields.String(validate=validate.OneOf(list(LANGUAGES)))
    zoneinfo = fields.String(allow_none=True, **said("Time zone, such as Europe/Berlin"))

    @validates_schema
    def _names_something(self, data: dict[str, Any], **kwargs: Any) -> None:
        if not data:
            raise ValidationError(gettext("Name at least one member."))


def _says_something(text: str) -> None:
    if not text.strip():
        raise ValidationError(gettext("Say why: somebody will wonder."))


class ReasonSchema(Input):
    """Why staff do something."""

    reason = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(max=MAX_REASON_LENGTH),
        **said("For the audit"),
    )


class RequiredReasonSchema(Input):
    """Why staff do something that nobody does without a reason."""

    reason = fields.String(
        required=True,
        validate=[validate.Length(1, MAX_REASON_LENGTH), _says_something],
        **said("For the audit"),
    )


class NewUserSchema(Input):
    """A person whose account staff open."""

    email = fields.String(required=True, validate=validate.Length(1, MAX_EMAIL_LENGTH))
    name = fields.String(required=True, validate=validate.Length(1, MAX_NAME_LENGTH))
    locale = fields.String(load_default=DEFAULT, validate=validate.OneOf(list(LANGUAGES)))
    roles = fields.List(fields.String(validate=validate.OneOf(ROLES)), load_default=list)


def user_filters() -> dict[str, fields.Field[Any]]:
    """What a list of people may be narrowed by."""
    return {
        "search": fields.String(
            load_default="",
            validate=validate.Length(max=MAX_EMAIL_LENGTH),
            **said(
                "Only whose address, or a word of whose name, begins so; @example.org: of that mail domain"
            ),
        ),
        "state": fields.String(validate=validate.OneOf(STATES)),
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
