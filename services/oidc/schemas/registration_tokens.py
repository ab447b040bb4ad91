"""Registration tokens, as administrators' programs see and make them."""

from typing import Any

from marshmallow import fields, pre_dump, validate

from libs.web.api import Input, Shape, said
from services.oidc.flows.registration_tokens import (
    LIFETIME,
    LONGEST_LIFETIME,
    MAX_NOTE_LENGTH,
    MOST_USES,
    state_of,
)
from services.oidc.models import InitialAccessToken

STATES = ("holds", "revoked", "expired", "used")


class RegistrationTokenSchema(Shape):
    """A token with which apps register themselves; never the token itself."""

    id = fields.UUID(required=True)
    note = fields.String(required=True, **said("Whom it was given to"))
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    uses_left = fields.Integer(required=True, allow_none=True, **said("null: any number"))
    created_by = fields.String(required=True)
    created_at = fields.AwareDateTime(required=True)
    expires_at = fields.AwareDateTime(required=True)

    @pre_dump
    def _read(self, token: InitialAccessToken, **kwargs: Any) -> dict[str, Any]:
        names = ("id", "note", "uses_left", "created_by", "created_at", "expires_at")
        return {**{name: getattr(token, name) for name in names}, "state": state_of(token)}


class RegistrationTokenListSchema(Shape):
    """Every token that was made, newest first; those that ended more than a month ago are forgotten."""

    items = fields.List(fields.Nested(RegistrationTokenSchema), required=True)


class NewRegistrationTokenSchema(Input):
    """Whom a token is for, how many apps it registers, and until when."""

    note = fields.String(required=True, validate=validate.Length(1, MAX_NOTE_LENGTH))
    uses = fields.Integer(
        strict=True,
        allow_none=True,
        load_default=1,
        validate=validate.Range(1, MOST_USES),
        **said("null: any number"),
    )
    lifetime_seconds = fields.Integer(
        strict=True,
        load_default=int(LIFETIME.total_seconds()),
        validate=validate.Range(1, int(LONGEST_LIFETIME.total_seconds())),
    )


class CreatedRegistrationTokenSchema(Shape):
    """A new token, this once."""

    registration_token = fields.Nested(RegistrationTokenSchema, required=True)
    token = fields.String(
        required=True, **said("Never shown again: `Authorization: Bearer` at /oauth2/register")
    )
