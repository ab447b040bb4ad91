"""Applications, as reviewers' programs see and decide them."""

from typing import Any

from flask_babel import gettext
from marshmallow import ValidationError, fields, pre_dump, validate, validates_schema

from libs.web.api import Input, Shape, said
from services.onboarding.flows.review import queue
from services.onboarding.models import ROLES, STATES, Application
from services.onboarding.schemas.forms import LONGEST_EMAIL, LONGEST_TEXT

MOST_AT_ONCE = 200


class ApplicationSchema(Shape):
    """A person's request to join, as reviewers see it. All of it changes its ETag."""

    id = fields.UUID(required=True)
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    email = fields.String(required=True, **said("Empty once the person is erased"))
    name = fields.String(required=True)
    why = fields.String(required=True, **said("Why they want to join, in their own words"))
    answers = fields.Dict(
        keys=fields.String(), required=True, **said("To the extra questions of the form, by name")
    )
    terms_version = fields.String(required=True, allow_none=True, **said("The terms that they accepted"))
    locale = fields.String(required=True, **said("The language that they read, BCP 47"))
    network = fields.String(
        required=True, allow_none=True, **said("Where it was sent from; forgotten after a while")
    )
    invitation_id = fields.UUID(required=True, allow_none=True)
    roles = fields.List(
        fields.String(validate=validate.OneOf(ROLES)),
        required=True,
        **said("What its invitation gives beyond membership"),
    )
    submitted_at = fields.AwareDateTime(required=True)
    confirmed_at = fields.AwareDateTime(
        required=True, allow_none=True, **said("When the address was proven, before or after the decision")
    )
    claimed_at = fields.AwareDateTime(required=True, allow_none=True)
    claimed_by = fields.String(required=True, allow_none=True, **said("Such as user:SUB or client:ID"))
    decided_at = fields.AwareDateTime(required=True, allow_none=True)
    decided_by = fields.String(
        required=True, allow_none=True, **said("Such as user:SUB, policy:RULE, invitation:ID")
    )
    reason = fields.String(required=True, allow_none=True, **said("Why it was rejected"))
    reason_is_shown = fields.Boolean(required=True, **said("Whether the applicant reads the reason"))
    expired_at = fields.AwareDateTime(required=True, allow_none=True)
    withdrawn_at = fields.AwareDateTime(required=True, allow_none=True)
    activated_at = fields.AwareDateTime(required=True, allow_none=True)
    sub = fields.String(required=True, allow_none=True, **said("The account that it became"))
    mail_trouble = fields.String(
        required=True,
        allow_none=True,
        **said("How the newest mail ended that did not arrive: failed, suppressed, too_late"),
    )

    @pre_dump
    def _read(self, application: Application, **kwargs: Any) -> dict[str, Any]:
        return {name: getattr(application, name) for name in self.fields}


class SignSchema(Shape):
    """Something that may speak of abuse."""

    kind = fields.String(required=True)
    count = fields.Integer(required=True, **said("How often, where that says much; else 0"))


class EntrySchema(Shape):
    """What happened to an application."""

    at = fields.AwareDateTime(required=True)
    action = fields.String(required=True)
    actor = fields.String(required=True)
    who = fields.String(required=True, allow_none=True, **said("The actor's name, where we know one"))
    words = fields.String(required=True, allow_none=True, **said("A reason, note, question or answer"))


class HistorySchema(Shape):
    """What happened to an application, oldest first, and what speaks of abuse."""

    entries = fields.List(fields.Nested(EntrySchema), required=True)
    signs = fields.List(fields.Nested(SignSchema), required=True)


class QuestionSchema(Shape):
    """What a reviewer asked the applicant."""

    id = fields.UUID(required=True)
    asked_at = fields.AwareDateTime(required=True)
    asked_by = fields.String(required=True)
    text = fields.String(required=True)
    answered_at = fields.AwareDateTime(required=True, allow_none=True)
    answer = fields.String(required=True, allow_none=True)
    closed_at = fields.AwareDateTime(
        required=True, allow_none=True, **said("When the answer had become needless")
    )


class QuestionListSchema(Shape):
    """The newest questions of an application, oldest first."""

    items = fields.List(fields.Nested(QuestionSchema), required=True)


class NoteSchema(Shape):
    """What reviewers tell each other; no applicant reads it."""

    id = fields.UUID(required=True)
    written_at = fields.AwareDateTime(required=True)
    written_by = fields.String(required=True)
    text = fields.String(required=True)


class NoteListSchema(Shape):
    """The newest notes of an application, oldest first."""

    items = fields.List(fields.Nested(NoteSchema), required=True)


class TextSchema(Input):
    """Words on several lines."""

    text = fields.String(required=True, validate=validate.Length(1, LONGEST_TEXT))


class ClaimSchema(Input):
    """Who takes up an application."""

    instead_of = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(1, 200),
        **said("From whom it is taken over (`claimed_by`); of two who do so at once one has it"),
    )


class ReasonOfRejection(Input):
    """Why not."""

    reason = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=LONGEST_TEXT))
    reason_is_shown = fields.Boolean(
        load_default=True, truthy={True}, falsy={False}, **said("Whether the applicant reads the reason")
    )


class RejectSchema(ReasonOfRejection):
    """Why an application is rejected."""


class SeveralSchema(ReasonOfRejection):
    """One decision about several applications."""

    decision = fields.String(required=True, validate=validate.OneOf(("approve", "reject")))
    ids = fields.List(fields.UUID(), required=True, validate=validate.Length(1, MOST_AT_ONCE))

    @validates_schema
    def _reason_is_for_a_no(self, data: dict[str, Any], **kwargs: Any) -> None:
        if data["decision"] == "approve" and data["reason"]:
            raise ValidationError(gettext("A yes has no reason."), "reason")


class OutcomeSchema(Shape):
    """What came of one application."""

    id = fields.UUID(required=True, attribute="application_id")
    why_not = fields.String(required=True, allow_none=True, **said("null where it was decided as asked"))

    @pre_dump
    def _read(self, outcome: Any, **kwargs: Any) -> dict[str, Any]:
        why_not = str(outcome.why_not) if outcome.why_not is not None else None
        return {"application_id": outcome.application_id, "why_not": why_not}


class OutcomeListSchema(Shape):
    """What came of each, in the order in which they were named."""

    items = fields.List(fields.Nested(OutcomeSchema), required=True)


def application_filters() -> dict[str, fields.Field[Any]]:
    """What a list of applications may be narrowed by."""
    return {
        "state": fields.String(
            load_default="undecided",
            validate=validate.OneOf(queue.FILTERS),
            **said(
                "A state, or undecided, unclaimed, mine, others (claimed by them), waiting (for the applicant), all"
            ),
        ),
        "search": fields.String(
            load_default="",
            validate=validate.Length(max=LONGEST_EMAIL),
            **said(
                "Among the undecided parts of name or address, else how the address or a word of the name begins; "
                "@example.org: of that mail domain"
            ),
        ),
        "order": fields.String(load_default="oldest", validate=validate.OneOf(("oldest", "newest"))),
    }
