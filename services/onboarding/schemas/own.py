"""What applicants send and see without any account."""

from marshmallow import fields, validate

from libs.web.api import Input, Shape, said
from libs.web.languages import DEFAULT, LANGUAGES
from services.onboarding.models import STATES
from services.onboarding.schemas.forms import LONGEST_EMAIL, LONGEST_NAME, LONGEST_TEXT

LONGEST_TOKEN = 200


class NewApplicationSchema(Input):
    """What an applicant says."""

    email = fields.String(required=True, validate=validate.Length(1, LONGEST_EMAIL))
    name = fields.String(required=True, validate=validate.Length(1, LONGEST_NAME))
    why = fields.String(
        required=True, validate=validate.Length(1, LONGEST_TEXT), **said("Why they want to join")
    )
    answers = fields.Dict(
        keys=fields.String(), load_default=dict, **said("To the extra questions of the form, by name")
    )
    terms_version = fields.String(
        load_default=None, allow_none=True, **said("The version of the terms that they accepted")
    )
    locale = fields.String(
        load_default=DEFAULT, validate=validate.OneOf(list(LANGUAGES)), **said("The language that they read")
    )


class TakenSchema(Shape):
    """The same answer whatever is known of the address."""

    detail = fields.String(required=True, **said("How it goes on, in words"))


class StatusTokenSchema(Shape):
    """Whose application it is."""

    token = fields.String(
        required=True,
        data_key="Status-Token",
        validate=validate.Length(1, LONGEST_TOKEN),
        **said("The `token` of the link to the applicant's page, which our mails carry"),
    )


class OwnQuestionSchema(Shape):
    """What a reviewer wants to know."""

    asked_at = fields.AwareDateTime(required=True)
    text = fields.String(required=True)


class StatusSchema(Shape):
    """Where an application stands, for its applicant."""

    state = fields.String(required=True, validate=validate.OneOf(STATES))
    submitted_at = fields.AwareDateTime(required=True)
    confirmed_at = fields.AwareDateTime(required=True, allow_none=True)
    decided_at = fields.AwareDateTime(required=True, allow_none=True)
    activated_at = fields.AwareDateTime(required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True, **said("Why it was rejected, where that is told"))
    question = fields.Nested(
        OwnQuestionSchema, required=True, allow_none=True, **said("What waits for an answer")
    )
    may_withdraw = fields.Boolean(required=True)


class AnswerSchema(Input):
    """What an applicant answers."""

    text = fields.String(required=True, validate=validate.Length(1, LONGEST_TEXT))
