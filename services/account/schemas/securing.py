"""What closing an account, and letting its owner in again, did."""

from marshmallow import fields, validate

from libs.web.api import Shape, said


class SecuredSchema(Shape):
    """An account that is closed to everybody but its owner."""

    sessions_ended = fields.Integer(required=True)
    link_mailed = fields.Boolean(required=True, **said("Not to a disabled account"))


class MailedLinkSchema(Shape):
    """A mailed link."""

    purpose = fields.String(
        required=True,
        validate=validate.OneOf(("first", "reset")),
        **said("first: nobody has entered the account yet"),
    )
