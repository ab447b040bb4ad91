"""/api/v1/applications: what reviewers do on /admin/applications, for programs of theirs and clients by themselves."""

import uuid
from typing import Any
from uuid import UUID

from libs.people.access import bearer
from libs.web.api import APIBlueprint, page_query, part, tagged
from services.onboarding.extensions import idempotency, limiter
from services.onboarding.flows import states
from services.onboarding.flows.review import claims, decisions, history, notes, questions, queue, signs
from services.onboarding.models import Application
from services.onboarding.routes.api.callers import read_form
from services.onboarding.schemas.applications import (
    ApplicationSchema,
    ClaimSchema,
    HistorySchema,
    NoteListSchema,
    NoteSchema,
    OutcomeListSchema,
    QuestionListSchema,
    QuestionSchema,
    RejectSchema,
    SeveralSchema,
    TextSchema,
    application_filters,
)
from services.onboarding.schemas.forms import NoteForm, QuestionForm, RejectionForm

bp = APIBlueprint("applications", __name__, limiter=limiter, description="Who asks to join, for reviewers.")

PATH = "/api/v1/applications/<uuid:application_id>"


@bp.get("/api/v1/applications")
@bearer("applications:read", role="reviewer")
@bp.arguments(page_query(uuid.UUID, **application_filters()), location="query")
@bp.page_of(ApplicationSchema)
def find(wanted: dict[str, Any]) -> Any:
    """List applications, the undecided ones by age unless another filter is named."""
    (after,) = wanted.get("cursor", (None,))
    found = queue.find(
        state=wanted["state"],
        search=wanted["search"],
        newest_first=wanted["order"] == "newest",
        after=after,
        size=wanted["limit"],
    )
    return part(found.applications, goes_on=[found.after] if found.after else None)


@bp.post("/api/v1/applications/decisions")
@bearer("applications:write", role="reviewer")
@bp.arguments(SeveralSchema)
@bp.response(200, OutcomeListSchema)
def decide_several(body: dict[str, Any]) -> Any:
    """Approve or reject several applications, each by itself: what stands in one's way stops none of the others."""
    if body["decision"] == "approve":
        return {"items": decisions.approve_each(body["ids"])}
    return {"items": decisions.reject_each(body["ids"], **_reason(body))}


@bp.get(PATH)
@bearer("applications:read", role="reviewer")
@bp.response(200, ApplicationSchema)
@bp.problems(404)
@bp.versioned
def show(application_id: UUID) -> Any:
    """Show an application."""
    return _whole(states.get(application_id))


@bp.get(f"{PATH}/history")
@bearer("applications:read", role="reviewer")
@bp.response(200, HistorySchema)
@bp.problems(404)
def show_history(application_id: UUID) -> Any:
    """Show what happened to an application, and what speaks of abuse."""
    application = states.get(application_id)
    return {"entries": history.of(application_id), "signs": signs.of(application)}


@bp.get(f"{PATH}/questions")
@bearer("applications:read", role="reviewer")
@bp.response(200, QuestionListSchema)
@bp.problems(404)
def list_questions(application_id: UUID) -> Any:
    """List what the applicant was asked, and the answers."""
    return {"items": questions.of(states.get(application_id).id)}


@bp.post(f"{PATH}/questions")
@bearer("applications:write", role="reviewer")
@idempotency.once("applications.ask")
@bp.arguments(TextSchema)
@bp.response(201, QuestionSchema)
@bp.problems(404, 409)
def ask(body: dict[str, Any], application_id: UUID) -> Any:
    """Mail the applicant a question. Whoever asks claims the application with it.

    One question at a time, and only to an address that is proven.
    """
    text = read_form(QuestionForm, {"question": body["text"]})["question"]
    return questions.ask(application_id=application_id, text=text)


@bp.get(f"{PATH}/notes")
@bearer("applications:read", role="reviewer")
@bp.response(200, NoteListSchema)
@bp.problems(404)
def list_notes(application_id: UUID) -> Any:
    """List what reviewers wrote to each other."""
    return {"items": notes.of(states.get(application_id).id)}


@bp.post(f"{PATH}/notes")
@bearer("applications:write", role="reviewer")
@idempotency.once("applications.note")
@bp.arguments(TextSchema)
@bp.response(201, NoteSchema)
@bp.problems(404)
def note(body: dict[str, Any], application_id: UUID) -> Any:
    """Write a note for reviewers. The applicant sees it in a copy of their data alone, if they ask for one."""
    text = read_form(NoteForm, {"note": body["text"]})["note"]
    return notes.add(application_id=application_id, text=text)


@bp.post(f"{PATH}/claim")
@bearer("applications:write", role="reviewer")
@bp.arguments(ClaimSchema, required=False)
@bp.response(200, ApplicationSchema)
@bp.problems(404, 409)
def claim(body: dict[str, Any], application_id: UUID) -> Any:
    """Take up an application, so that no two reviewers read the same one."""
    return _whole(claims.claim(application_id=application_id, instead_of=body["instead_of"]))


@bp.post(f"{PATH}/release")
@bearer("applications:write", role="reviewer")
@bp.response(200, ApplicationSchema)
@bp.problems(404, 409)
def release(application_id: UUID) -> Any:
    """Give one's own claim back: the application waits for anybody again."""
    return _whole(claims.release(application_id=application_id))


@bp.post(f"{PATH}/approve")
@bearer("applications:write", role="reviewer")
@bp.response(200, ApplicationSchema)
@bp.problems(404, 409)
def approve(application_id: UUID) -> Any:
    """Say yes. The activation mail leaves once the address is proven too, now or later."""
    return _whole(decisions.approve(application_id=application_id))


@bp.post(f"{PATH}/reject")
@bearer("applications:write", role="reviewer")
@bp.arguments(RejectSchema, required=False)
@bp.response(200, ApplicationSchema)
@bp.problems(404, 409)
def reject(body: dict[str, Any], application_id: UUID) -> Any:
    """Say no; the applicant is mailed the decision, and the reason if it is shown."""
    return _whole(decisions.reject(application_id=application_id, **_reason(body)))


@bp.post(f"{PATH}/take-back")
@bearer("applications:write", role="reviewer")
@bp.response(200, ApplicationSchema)
@bp.problems(404, 409)
def take_back(application_id: UUID) -> Any:
    """Undecide, until the person has enrolled: the application is in review again, and the applicant is told."""
    return _whole(decisions.take_back(application_id=application_id))


def _reason(body: dict[str, Any]) -> dict[str, Any]:
    return read_form(RejectionForm, {name: body[name] for name in ("reason", "reason_is_shown")})


def _whole(application: Application) -> Any:
    return tagged(application, application.version)
