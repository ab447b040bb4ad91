"""/api/v1/mail-feedback: a mail provider's webhook, as Standard Webhooks signs it (docs/mail-feedback.md)."""

import json
from typing import Any

import marshmallow as ma
from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from libs.people.access import protocol
from libs.web.problems import Problem
from services.notification.extensions import limiter
from services.notification.flows import feedback
from services.notification.schemas import FeedbackSchema

bp = Blueprint("feedback", __name__)

MOST_BYTES = 256 * 1024


class BadFeedback(Problem):
    """It is signed, and cannot be read; `errors` says where."""

    status, slug, title = 422, "invalid-input", "These are no events"


@bp.post("/api/v1/mail-feedback")
@limiter.limit("mail_feedback", "600 per minute")
@protocol("a mail provider sends it, and proves itself by a signature")
def take() -> ResponseReturnValue:
    """Whatever it brings, the answer is the same: it tells of no address whether it is known here."""
    request.max_content_length = MOST_BYTES
    webhook_id = request.headers.get("webhook-id", "")
    body = request.get_data(cache=False)
    feedback.check_signature(
        webhook_id=webhook_id,
        timestamp=request.headers.get("webhook-timestamp", ""),
        signatures=request.headers.get("webhook-signature", ""),
        body=body,
    )
    events = _read(body)
    feedback.take(webhook_id=webhook_id, events=events)
    return {"events": len(events)}


def _read(body: bytes) -> list[feedback.Feedback]:
    try:
        events = FeedbackSchema().load(json.loads(body))["events"]
    except (ValueError, RecursionError) as error:
        raise BadFeedback(errors={"body": "This is not JSON."}) from error
    except ma.ValidationError as error:
        raise BadFeedback(
            errors={field: _said(words) for field, words in error.normalized_messages().items()}
        ) from error
    return [feedback.Feedback(**event) for event in events]


def _said(words: Any) -> str:
    return " ".join(map(str, words)) if isinstance(words, list) else str(words)
