"""A person's data on its way to them, and the end of an account."""

from typing import Any

from marshmallow import fields, validate

from libs.web.api import Input, Shape, said
from services.account.flows.users import MAX_EMAIL_LENGTH
from services.account.models import DataRequest
from services.account.schemas.users import ReasonSchema

TYPED_LENGTH = 4 * MAX_EMAIL_LENGTH


class DataRequestSchema(Shape):
    """How far the collection of a person's data is."""

    state = fields.String(
        required=True,
        validate=validate.OneOf(("none", "collecting", "mailed")),
        **said("none: not asked for, or its time is over; mailed: the link is in the person's mailbox"),
    )
    created_at = fields.AwareDateTime(required=True, allow_none=True)
    mailed_at = fields.AwareDateTime(required=True, allow_none=True)
    expires_at = fields.AwareDateTime(required=True, allow_none=True)

    @staticmethod
    def of(request: DataRequest | None) -> dict[str, Any]:
        """The person's living request, if there is one, as this shape shows it."""
        if request is None:
            return {"state": "none", "created_at": None, "mailed_at": None, "expires_at": None}
        return {
            "state": "mailed" if request.mailed_at else "collecting",
            "created_at": request.created_at,
            "mailed_at": request.mailed_at,
            "expires_at": request.expires_at,
        }


class ErasureSchema(Shape):
    """The end of an account."""

    erase_at = fields.AwareDateTime(
        required=True, allow_none=True, **said("When it will be erased, or was just now; null: it stays")
    )


class AddressOfAccountSchema(Input):
    """The address of the account, so that nobody erases one by a slip."""

    email = fields.String(required=True, validate=validate.Length(1, TYPED_LENGTH))


class EraseSchema(ReasonSchema):
    """Which account is erased, and when."""

    email = fields.String(
        required=True,
        validate=validate.Length(1, TYPED_LENGTH),
        **said("The address of the account, so that nobody erases one by a slip"),
    )
    now = fields.Boolean(load_default=False, **said("At once, and for good: nobody can bring it back"))
