"""Where an application stands, for the applicant: a signed link that looks and answers, and opens no account."""

import base64
import hashlib
import hmac
import uuid
from dataclasses import dataclass
from datetime import datetime

from flask import current_app

from libs.guard.keyring import derive
from libs.service import parts_of
from services.onboarding.extensions import db
from services.onboarding.models import OPEN, Application
from services.onboarding.settings import OnboardingSettings

PATH = "/apply/status"
PURPOSE = "status"
_ID_BYTES = 16
_LONGEST_TOKEN = 64


@dataclass(frozen=True)
class Step:
    """A step of the way in: `standing` is `done`, `now`, `ahead`, or `ended` where the way ends."""

    name: str
    standing: str
    at: datetime | None


def url_of(application: Application) -> str:
    """The link to this application's page. It works as long as the application is known, and SECRET_KEY holds.

    For the applicant alone, once the address is theirs: it says what they wrote and what was decided.
    """
    return _settings().PUBLIC_URL + path_of(application)


def path_of(application: Application) -> str:
    """The same for a browser that is here already."""
    return f"{PATH}?token={_token(application.id)}"


def find(token: str) -> Application | None:
    """The application of a link of ours; None for every other one, and once its person is forgotten."""
    application_id = _read(token)
    if application_id is None:
        return None
    application = db.session.get(Application, application_id, populate_existing=True)
    # What is left of somebody erased is a number.
    return application if application is not None and application.email else None


def steps_of(application: Application) -> list[Step]:
    """The way in, as far as it was gone and as it goes on."""
    is_confirmed = application.confirmed_at is not None
    steps = [Step("submitted", "done", application.submitted_at)]
    steps.append(_step("confirmed", application.confirmed_at, is_next=application.state in OPEN))
    if not _was_let_in_without_review(application):
        steps.append(_review(application, is_confirmed=is_confirmed))
    if application.state in ("rejected", "expired", "withdrawn"):
        ended_at = {
            "rejected": application.decided_at,
            "expired": application.expired_at,
            "withdrawn": application.withdrawn_at,
        }[application.state]
        went = [step for step in steps if step.standing == "done"]
        return [*went, Step(application.state, "ended", ended_at)]
    is_approved = application.state in ("approved", "activated")
    steps.append(
        Step("approved", "done", application.decided_at) if is_approved else Step("approved", "ahead", None)
    )
    is_next = is_approved and is_confirmed
    return [*steps, _step("activated", application.activated_at, is_next=is_next)]


def _step(name: str, at: datetime | None, *, is_next: bool) -> Step:
    if at is not None:
        return Step(name, "done", at)
    return Step(name, "now" if is_next else "ahead", None)


def _review(application: Application, *, is_confirmed: bool) -> Step:
    if application.decided_at is not None and application.state not in (
        "in_review",
        "confirmed",
        "submitted",
    ):
        return Step("reviewed", "done", None)
    is_now = application.state in OPEN and (is_confirmed or application.state == "in_review")
    return Step("reviewed", "now" if is_now else "ahead", None)


def _was_let_in_without_review(application: Application) -> bool:
    return (application.decided_by or "").startswith(("policy:", "invitation:"))


def _token(application_id: uuid.UUID) -> str:
    signed = application_id.bytes + _sign(_settings().SECRET_KEY, application_id.bytes)
    return base64.urlsafe_b64encode(signed).decode()


def _read(token: str) -> uuid.UUID | None:
    if len(token) != _LONGEST_TOKEN or not token.isascii():
        return None
    try:
        signed = base64.urlsafe_b64decode(token)
    except ValueError:
        return None
    if base64.urlsafe_b64encode(signed).decode() != token:
        return None  # written otherwise than we write it
    content, signature = signed[:_ID_BYTES], signed[_ID_BYTES:]
    settings = _settings()
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    holds = [hmac.compare_digest(_sign(key, content), signature) for key in keys]
    return uuid.UUID(bytes=content) if any(holds) else None


def _sign(secret: str, content: bytes) -> bytes:
    return hmac.new(derive(secret, PURPOSE), content, hashlib.sha256).digest()


def _settings() -> OnboardingSettings:
    settings: OnboardingSettings = parts_of(current_app).settings
    return settings
