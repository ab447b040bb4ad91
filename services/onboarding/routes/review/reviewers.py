"""/admin/applications/mail: when a reviewer wants mail about what waits."""

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from marshmallow import ValidationError

from libs.people.access import current_session, staff
from services.onboarding.flows.review import reviewers
from services.onboarding.routes.review import bp, words
from services.onboarding.schemas.forms import MailChoiceForm, first_errors


@bp.get("/admin/applications/mail")
@staff("reviewer")
def show_mail_choice() -> str:
    return _page(chosen=reviewers.choice_of(current_session().sub))


@bp.post("/admin/applications/mail")
@staff("reviewer")
def choose_mail() -> ResponseReturnValue:
    try:
        reviewers.choose(sub=current_session().sub, **MailChoiceForm().load(request.form))
    except ValidationError as error:
        return _page(chosen="", errors=first_errors(error)), 422
    flash(gettext("Your choice is kept."), "good")
    return redirect(url_for("review.show_mail_choice"), 303)


def _page(*, chosen: str, errors: dict[str, str] | None = None) -> str:
    return render_template(
        "review/reviewers.html",
        chosen=chosen,
        choices=words.MAILS,
        email=current_session().claims.get("email"),
        errors=errors or {},
    )
