"""Resources, as staff's programs see and change them."""

from typing import Any

from flask_babel import gettext
from marshmallow import ValidationError, fields, validates_schema

from libs.web.api import Input, Shape, said


def _scopes(**more: Any) -> fields.Field[Any]:
    words = "Each scope of it, in the words in which people are asked: `… would like to:`"
    return fields.Dict(keys=fields.String(), values=fields.String(), **more, **said(words))


def _client_id(**more: Any) -> fields.Field[Any]:
    return fields.String(allow_none=True, **more, **said("The client as which it introspects tokens"))


class ResourceSchema(Shape):
    """An API that access tokens may be addressed to (RFC 8707). All of it changes its ETag."""

    id = fields.UUID(required=True)
    identifier = fields.String(required=True, **said("Its URI: `resource` in requests, `aud` in tokens"))
    name = fields.String(required=True)
    scopes = _scopes(required=True)
    client_id = _client_id(required=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class ResourceListSchema(Shape):
    """The registered resources, by name."""

    items = fields.List(fields.Nested(ResourceSchema), required=True)


class NewResourceSchema(Input):
    """An API of somebody else's."""

    identifier = fields.String(required=True, **said("An absolute https URI without a fragment; it stays"))
    name = fields.String(required=True)
    scopes = _scopes(required=True)
    client_id = _client_id(load_default=None)


class ResourceChangesSchema(Input):
    """What changes of a resource: at least one member; scopes are replaced whole."""

    name = fields.String()
    scopes = _scopes()
    client_id = _client_id()

    @validates_schema
    def _names_something(self, data: dict[str, Any], **kwargs: Any) -> None:
        if not data:
            raise ValidationError(gettext("Name at least one member."))
