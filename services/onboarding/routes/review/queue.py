"""/admin/applications: the queue, and decisions about several applications at once."""

import uuid
from typing import Any

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, ngettext
from marshmallow import ValidationError

from libs.audit import current_actor
from libs.people.access import staff
from services.onboarding.flows import people
from services.onboarding.flows.review import decisions, questions
from services.onboarding.flows.review import queue as flow
from services.onboarding.models import Application
from services.onboarding.routes.review import bp, words
from services.onboarding.schemas.forms import RejectionForm, first_errors

MOST_AT_ONCE = 4 * flow.PAGE_SIZE
HIGHEST_NUMBER = 99
"""Beside a filter; more than that is many."""


@bp.get("/admin/applications")
@staff("reviewer")
def queue() -> str:
    return _page()


@bp.post("/admin/applications")
@staff("reviewer")
def decide_several() -> ResponseReturnValue:
    """Decide about whatever is marked; a page says which were not decided, and why."""
    chosen = _marked()
    if not chosen:
        return _page(told=gettext("Nothing was marked.")), 422
    decision = request.form.get("decision")
    try:
        if decision == "approve":
            outcomes = decisions.approve_each(chosen)
        elif decision == "reject":
            form = RejectionForm().load(request.form)
            outcomes = decisions.reject_each(chosen, **form)
        else:
            abort(400)
    except ValidationError as error:
        return _page(errors=first_errors(error), marked=chosen), 422
    count = sum(outcome.why_not is None for outcome in outcomes)
    if decision == "approve":
        done = ngettext("%(num)s application was approved.", "%(num)s applications were approved.", count)
    else:
        done = ngettext("%(num)s application was rejected.", "%(num)s applications were rejected.", count)
    failed = [outcome for outcome in outcomes if outcome.why_not is not None]
    if failed:
        return render_template("review/several.html", done=done, failed=failed, back=_here()), 409
    flash(done, "good")
    return redirect(_here(), 303)


def _marked() -> list[uuid.UUID]:
    try:
        return [uuid.UUID(name) for name in request.form.getlist("application")[:MOST_AT_ONCE]]
    except ValueError:
        abort(400)


def _chosen() -> dict[str, str]:
    """What the address asks for: filter, search and order."""
    state, order = request.args.get("state", ""), request.args.get("order", "")
    return {
        "state": state if state in words.FILTERS else "undecided",
        "q": request.args.get("q", ""),
        "order": order if order == "newest" else "oldest",
    }


def _after() -> uuid.UUID | None:
    try:
        return uuid.UUID(request.args.get("after", ""))
    except ValueError:
        return None


def _here() -> str:
    """The part of the queue that the form stood on."""
    asked: dict[str, Any] = {**_chosen(), "after": _after()}
    return url_for("review.queue", **asked)


def _page(
    *, told: str | None = None, errors: dict[str, Any] | None = None, marked: list[uuid.UUID] | None = None
) -> str:
    chosen, after = _chosen(), _after()
    page = flow.find(
        state=chosen["state"], search=chosen["q"], newest_first=chosen["order"] == "newest", after=after
    )
    return render_template(
        "review/queue.html",
        page=page,
        chosen=chosen,
        is_first=after is None,
        here=_here(),
        filters=list(words.FILTERS.items()),
        groups=_groups(chosen),
        states=words.STATES,
        kinds=words.KINDS,
        asked=questions.standings(page.applications),
        question_words=words.QUESTIONS,
        names=people.names_of(application.claimed_by for application in page.applications),
        me=current_actor(),
        age=words.age,
        may_decide=_may_decide,
        told=told,
        errors=errors or {},
        marked=set(marked or ()),
        values=request.form,
    )


def _groups(chosen: dict[str, str]) -> list[dict[str, Any]]:
    """The filters of the undecided, each with how many it holds."""
    counts = flow.count_groups()
    return [
        {
            "word": name,
            "name": text,
            "number": _number(counts.by_group[name], is_cut=counts.is_cut),
            "is_current": name == chosen["state"],
        }
        for name, text in words.GROUPS.items()
    ]


def _number(count: int, *, is_cut: bool) -> str:
    if count > HIGHEST_NUMBER:
        return f"{HIGHEST_NUMBER}+"
    return f"{count}+" if is_cut else str(count)


def _may_decide(application: Application) -> bool:
    return application.state in flow.UNDECIDED
