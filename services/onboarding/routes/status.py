"""/apply/status: where an application stands, for whoever holds the signed link to it."""

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import format_date, gettext
from marshmallow import ValidationError
from werkzeug.wrappers import Response

from libs.people.access import public
from libs.service import parts_of
from libs.web.languages import current_language
from services.onboarding.extensions import limiter
from services.onboarding.flows import answers, apply, ending, states
from services.onboarding.flows import status as flow
from services.onboarding.flows.links import LinkEnded
from services.onboarding.flows.review import questions
from services.onboarding.models import Application
from services.onboarding.routes.links import show_ended
from services.onboarding.schemas.forms import AnswerForm, first_errors

bp = Blueprint("status", __name__, url_prefix=flow.PATH)
bp.register_error_handler(LinkEnded, show_ended)


@bp.get("")
@public
def show() -> str:
    return _page(_application())


@bp.post("/answer")
@limiter.limit("register", "20 per minute")
@public
def answer() -> ResponseReturnValue:
    application = _application()
    typed = request.form.get("text", "")
    try:
        text = AnswerForm().load({"text": typed})["text"]
        questions.answer(application_id=application.id, text=text)
    except ValidationError as error:
        return _page(application, typed=typed, error=first_errors(error)["text"]), 422
    except questions.NothingAsked:
        flash(gettext("This question has been answered, or is no longer asked."), "info")
        return _back()
    flash(gettext("Thank you: your answer is with our reviewers."), "good")
    return _back()


@bp.post("/again")
@limiter.limit("register", "20 per minute")
@public
def again() -> ResponseReturnValue:
    """A fresh mail with the link of the next step."""
    apply.send_again_for_status(token=_token())
    flash(
        gettext("If there is a link that you need now, a mail with it is on its way. It may take a minute."),
        "info",
    )
    return _back()


@bp.get("/withdraw")
@public
def ask() -> ResponseReturnValue:
    application = _application()
    if not ending.may_be_withdrawn(application):
        return _back()
    return render_template("status/withdraw.html", application=application, token=_token())


@bp.post("/withdraw")
@public
def withdraw() -> ResponseReturnValue:
    application = _application()
    try:
        ending.withdraw(application_id=application.id)
    except states.NotPossible:
        flash(
            gettext("The application had gone on before you pressed the button: nothing is withdrawn."), "bad"
        )
        return _back()
    flash(gettext("Your application is withdrawn."), "good")
    return _back()


def _token() -> str:
    return request.args.get("token", "")


def _application() -> Application:
    """Raises LinkEnded for a link that is none of ours."""
    application = flow.find(_token())
    if application is None:
        raise LinkEnded("unknown")
    return application


def _back() -> Response:
    return redirect(url_for("status.show", token=_token()), 303)


def _page(application: Application, *, typed: str = "", error: str | None = None) -> str:
    question = questions.open_of(application.id)
    settings = parts_of(current_app).settings
    return render_template(
        "status/status.html",
        application=application,
        token=_token(),
        steps=flow.steps_of(application),
        question=question,
        answered=[one for one in questions.of(application.id) if one.answered_at is not None],
        answers=answers.in_words(application, current_language()),
        may_withdraw=ending.may_be_withdrawn(application),
        answer_by=format_date(question.asked_at + settings.QUESTION_LIFETIME, "long") if question else "",
        typed=typed,
        error=error,
    )
