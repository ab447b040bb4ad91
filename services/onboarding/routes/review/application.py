"""/admin/applications/ID: one application, and everything that a reviewer may do about it."""

import uuid
from typing import Any

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from marshmallow import ValidationError
from werkzeug.wrappers import Response as AnyResponse

from libs.audit import current_actor
from libs.people.access import staff
from libs.web.languages import current_language
from libs.web.problems import Problem
from services.onboarding.flows import answers, people, states
from services.onboarding.flows.review import (
    claims,
    decisions,
    history,
    mails,
    notes,
    questions,
    signs,
    standing,
)
from services.onboarding.models import UNDECIDED, Application
from services.onboarding.routes.review import bp, words
from services.onboarding.schemas.forms import NoteForm, QuestionForm, RejectionForm, first_errors

PATH = "/admin/applications/<uuid:application_id>"


@bp.get(PATH)
@staff("reviewer")
def show(application_id: uuid.UUID) -> str:
    return _page(_get(application_id))


@bp.post(PATH)
@staff("reviewer")
def decide(application_id: uuid.UUID) -> ResponseReturnValue:
    _get(application_id)
    decision = request.form.get("decision")
    try:
        if decision == "approve":
            application = decisions.approve(application_id=application_id)
        elif decision == "reject":
            form = RejectionForm().load(request.form)
            application = decisions.reject(application_id=application_id, **form)
        else:
            abort(400)
    except (ValidationError, Problem) as error:
        return _refused(application_id, error)
    return _done(application_id, _outcome(application))


@bp.post(f"{PATH}/claim")
@staff("reviewer")
def claim(application_id: uuid.UUID) -> ResponseReturnValue:
    """Take it up, or over from whom the page names (`instead_of`)."""
    _get(application_id)
    try:
        claims.claim(application_id=application_id, instead_of=request.form.get("instead_of"))
    except Problem as error:
        return _refused(application_id, error)
    return _done(application_id, gettext("You have claimed this application."))


@bp.post(f"{PATH}/release")
@staff("reviewer")
def release(application_id: uuid.UUID) -> ResponseReturnValue:
    _get(application_id)
    try:
        claims.release(application_id=application_id)
    except Problem as error:
        return _refused(application_id, error)
    return _done(application_id, gettext("The application waits for any reviewer again."))


@bp.post(f"{PATH}/ask")
@staff("reviewer")
def ask(application_id: uuid.UUID) -> ResponseReturnValue:
    _get(application_id)
    try:
        questions.ask(application_id=application_id, text=QuestionForm().load(request.form)["question"])
    except (ValidationError, Problem) as error:
        return _refused(application_id, error)
    return _done(application_id, gettext("The question is on its way to the applicant."))


@bp.post(f"{PATH}/note")
@staff("reviewer")
def write_note(application_id: uuid.UUID) -> ResponseReturnValue:
    _get(application_id)
    try:
        notes.add(application_id=application_id, text=NoteForm().load(request.form)["note"])
    except ValidationError as error:
        return _refused(application_id, error)
    return _done(application_id, gettext("The note is kept, for reviewers."))


@bp.post(f"{PATH}/take-back")
@staff("reviewer")
def take_back(application_id: uuid.UUID) -> ResponseReturnValue:
    _get(application_id)
    try:
        decisions.take_back(application_id=application_id)
    except Problem as error:
        return _refused(application_id, error)
    return _done(
        application_id, gettext("The decision is taken back. The applicant is told that we look again.")
    )


@bp.post(f"{PATH}/mail")
@staff("reviewer")
def send_mail(application_id: uuid.UUID) -> ResponseReturnValue:
    """A fresh mail for whoever got none."""
    _get(application_id)
    try:
        mails.send_again(application_id=application_id)
    except Problem as error:
        return _refused(application_id, error)
    return _done(application_id, gettext("A fresh mail is on its way to the applicant."))


def _outcome(application: Application) -> str:
    if application.state == "rejected":
        return gettext("Rejected. The applicant is told by mail.")
    if application.confirmed_at is None:
        return gettext("Approved. The activation mail leaves as soon as the address is confirmed.")
    return gettext("Approved. The activation mail is on its way.")


def _done(application_id: uuid.UUID, words: str) -> AnyResponse:
    flash(words, "good")
    return redirect(url_for("review.show", application_id=application_id), 303)


def _refused(application_id: uuid.UUID, error: ValidationError | Problem) -> ResponseReturnValue:
    """The page as it stands now, with why nothing was done, and what was entered still in its fields."""
    if isinstance(error, ValidationError):
        return _page(_get(application_id), errors=first_errors(error)), 422
    return _page(_get(application_id), told=error.detail or error.title), error.status


def _get(application_id: uuid.UUID) -> Application:
    try:
        return states.get(application_id)
    except states.NoSuchApplication:
        abort(404)


def _page(application: Application, *, errors: dict[str, Any] | None = None, told: Any = None) -> str:
    asked = questions.open_of(application.id)
    others = [other for other in history.of_address(application.email_folded) if other.id != application.id]
    return render_template(
        "review/application.html",
        application=application,
        is_undecided=application.state in UNDECIDED,
        is_anothers=standing.is_held_by_another(application),
        is_mine=application.state == "in_review" and application.claimed_by == current_actor(),
        holder=standing.name_of(application.claimed_by),
        question=asked,
        asked=questions.standings([application]).get(application.id),
        question_words=words.QUESTIONS,
        may_be_taken_back=decisions.may_be_taken_back(application),
        is_mail_waited_for=mails.is_waited_for(application, is_asked=asked is not None),
        trouble=words.TROUBLES.get(application.mail_trouble or ""),
        way_out=words.WAYS_OUT.get(application.mail_trouble or ""),
        signs=[words.sign(sign) for sign in signs.of(application) if not sign.kind.startswith("mail_")],
        history=history.of(application.id),
        others=others,
        neighbours=history.of_network(application),
        names=people.names_of([application.decided_by]),
        states=words.STATES,
        kinds=words.KINDS,
        actions=words.ACTIONS,
        ago=words.ago,
        answers=answers.in_words(application, current_language()),
        values=request.form,
        errors=errors or {},
        told=told,
    )
