"""The rule that staff need a second factor."""

from marshmallow import fields

from libs.web.api import Input, Shape


class StaffRuleSchema(Shape):
    """The rule as it is."""

    required = fields.Boolean(required=True)


class WantedRuleSchema(Input):
    """The rule as it is to be."""

    required = fields.Boolean(required=True)
