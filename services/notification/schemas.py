"""What goes in and out of notification's API, and what a mail provider reports."""

from typing import Any

from marshmallow import ValidationError, fields, post_load, pre_dump, validate

from libs.web.api import Input, Shape, said
from services.notification.flows.feedback import UNKNOWN
from services.notification.flows.search import LONGEST
from services.notification.models import REPORTS, RESULTS, STATES, SUPPRESSION_REASONS

LONGEST_REASON = 200
MOST_EVENTS = 1000
LONGEST_DETAIL = 2000
ADDRESS = r"[^\s\0]+@[^\s\0]+\Z"
"""What may be one; whether it is, nobody knows but its server."""


# -- messages ----------------------------------------------------------------------------------------------------


class MessageSchema(Shape):
    """A mail to one address: that it was asked for and what became of it, never what it says."""

    id = fields.UUID(required=True)
    template = fields.String(required=True)
    to = fields.String(required=True, attribute="recipient")
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    reason = fields.String(
        required=True, allow_none=True, **said("Why it is failed, parked or suppressed: a stable word")
    )
    message_id = fields.String(
        required=True, attribute="header_id", **said("Its Message-ID, in every attempt")
    )
    asked_by = fields.String(required=True, **said("The service that asked for it"))
    correlation_id = fields.String(
        required=True, allow_none=True, **said("Under which our logs tell how it came to be")
    )
    created_at = fields.AwareDateTime(required=True)
    sent_at = fields.AwareDateTime(required=True, allow_none=True)
    expires_at = fields.AwareDateTime(required=True, allow_none=True, **said("When the link in it ends"))
    next_attempt_at = fields.AwareDateTime(required=True, allow_none=True, **said("While it waits"))

    @pre_dump
    def _read(self, message: Any, **kwargs: Any) -> dict[str, Any]:
        values = {column.key: getattr(message, column.key) for column in message.__table__.columns}
        values["next_attempt_at"] = message.due_at if message.state in ("queued", "deferred") else None
        return values


class AttemptSchema(Shape):
    """A try to deliver a message."""

    number = fields.Integer(required=True)
    started_at = fields.AwareDateTime(required=True)
    duration_ms = fields.Integer(required=True, allow_none=True)
    result = fields.String(
        required=True, allow_none=True, **said(f"One of {', '.join(RESULTS)}; null while it lasts")
    )
    answer = fields.String(required=True, allow_none=True, **said("What the mail server said, shortened"))


class ReportSchema(Shape):
    """What a mail provider told of a message that had left."""

    type = fields.String(required=True, validate=validate.OneOf(REPORTS))
    permanent = fields.Boolean(required=True, attribute="is_permanent")
    detail = fields.String(required=True, allow_none=True)
    received_at = fields.AwareDateTime(required=True)


class WholeMessageSchema(MessageSchema):
    """A message with its attempts, and what came back after it had left."""

    attempts = fields.List(fields.Nested(AttemptSchema), required=True, **said("The oldest first"))
    reports = fields.List(fields.Nested(ReportSchema), required=True, **said("The oldest first"))

    @pre_dump
    def _read(self, message: Any, **kwargs: Any) -> dict[str, Any]:
        values = super()._read(message, **kwargs)
        return {**values, "attempts": message.attempts, "reports": message.reports}


def message_filters() -> dict[str, fields.Field[Any]]:
    """What a list of messages may be narrowed by: all that is named has to hold."""

    def text(words: str, longest: int = LONGEST) -> fields.String:
        return fields.String(load_default="", validate=validate.Length(max=longest), **said(words))

    return {
        "to": text(
            "An address in any spelling, or the beginning of one: without an @, or with a * at its end"
        ),
        "template": text("Such as activation_link"),
        "state": fields.String(validate=validate.OneOf(STATES)),
        "correlation_id": text("A number from the logs"),
        "message_id": text("A Message-ID"),
    }


# -- suppressions ------------------------------------------------------------------------------------------------


class SuppressionSchema(Shape):
    """An address that is written to no more, but for the safety of an account."""

    email = fields.String(required=True)
    reason = fields.String(required=True, validate=validate.OneOf(SUPPRESSION_REASONS))
    detail = fields.String(required=True, **said("What the server or the report said, shortened"))
    created_at = fields.AwareDateTime(required=True)


class LiftingSchema(Input):
    """Which address may have mail again, and why."""

    email = fields.String(required=True, validate=validate.Length(1, LONGEST))
    reason = fields.String(
        required=True,
        validate=[validate.Length(1, LONGEST_REASON), validate.Regexp(r".*\S")],
        **said("For the audit"),
    )


# -- feedback ----------------------------------------------------------------------------------------------------


class EventSchema(Shape):
    """One event of a type that we know; members that mean nothing here are passed over."""

    type = fields.String(required=True)
    address = fields.String(required=True, validate=[validate.Length(max=LONGEST), validate.Regexp(ADDRESS)])
    message_id = fields.String(allow_none=True, load_default=None)
    permanent = fields.Boolean(load_default=False, truthy={True}, falsy={False})
    detail = fields.String(allow_none=True, load_default="")

    @post_load
    def _cut(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {**data, "detail": (data["detail"] or "")[:LONGEST_DETAIL]}


class FeedbackSchema(Shape):
    """What a webhook brings. Of an event whose type we do not know only that it came is read."""

    events = fields.List(
        fields.Dict(keys=fields.String()), required=True, validate=validate.Length(max=MOST_EVENTS)
    )

    @post_load
    def _read_events(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        events, errors = [], {}
        for number, event in enumerate(data["events"]):
            try:
                events.append(
                    EventSchema().load(event) if event.get("type") in REPORTS else {"type": UNKNOWN}
                )
            except ValidationError as error:
                for field, words in error.normalized_messages().items():
                    errors[f"events.{number}.{field}"] = words
        if errors:
            raise ValidationError(errors)
        return {"events": events}
