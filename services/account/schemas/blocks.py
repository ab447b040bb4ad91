"""Blocks, as staff see and add them."""

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, validate

from libs.web.api import Input, Shape, said
from services.account.flows.blocks import REASON_LENGTH


class BlockSchema(Shape):
    """A network, or a mail domain, from which nobody may sign in for a while."""

    id = fields.UUID(required=True)
    network = fields.String(required=True, allow_none=True)
    domain = fields.String(required=True, allow_none=True)
    reason = fields.String(required=True)
    created_by = fields.String(required=True, **said("Such as user:SUB, client:ID or command:LOGIN"))
    created_at = fields.AwareDateTime(required=True)
    expires_at = fields.AwareDateTime(required=True)


class BlockListSchema(Shape):
    """The blocks that hold."""

    items = fields.List(fields.Nested(BlockSchema), required=True)


class NewBlockSchema(Input):
    """Who is kept out: a network or a mail domain, one of the two."""

    network = fields.String(**said("An address, or a network such as 203.0.113.0/24"))
    domain = fields.String(**said("A mail domain such as example.org; its subdomains are others"))
    expires_at = fields.AwareDateTime(required=True, **said("Within a year"))
    reason = fields.String(required=True, validate=validate.Length(1, REASON_LENGTH), **said("For the audit"))

    @staticmethod
    def named(errors: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
        """The flow's errors under the names that the members have here."""
        names = {"what": "domain" if "domain" in body else "network", "life": "expires_at"}
        return {names.get(name, name): words for name, words in errors.items()}
