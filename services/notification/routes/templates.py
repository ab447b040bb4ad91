"""/admin/messages/templates: the mails that we write, with invented content, for staff to read."""

import dataclasses

from flask import Blueprint, current_app, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext

from libs.people.access import staff
from libs.service import parts_of
from libs.web.languages import LANGUAGES, current_language
from libs.web.problems import Problem
from services.notification.letters import LETTERS, UnknownTemplate, letter_of
from services.notification.letters.letter import sample
from services.notification.routes.letter_frame import framed, letter_page
from services.notification.routes.messages import TEMPLATE_WORDS
from services.notification.writing import Mail, write

bp = Blueprint("templates", __name__)


class NoSuchMail(Problem):
    status, slug, title = 404, "unknown-template", lazy_gettext("No mail has this name")


@bp.get("/admin/messages/templates")
@staff("reviewer", "support")
def template_list() -> ResponseReturnValue:
    rows = [
        {
            "name": name,
            "words": TEMPLATE_WORDS.get(name, name),
            "subjects": [(language, _mail(name, language).subject) for language in LANGUAGES],
            "context": [field.name for field in dataclasses.fields(letter)],
        }
        for name, letter in LETTERS.items()
    ]
    rows.sort(key=lambda row: str(row["words"]).casefold())
    return render_template("templates.html", rows=rows)


@bp.get("/admin/messages/templates/<name>")
@staff("reviewer", "support")
def template(name: str) -> ResponseReturnValue:
    language = _language()
    mail = _mail(name, language)
    frame = framed(url_for("templates.template_html", name=name, language=language))
    return render_template(
        "template.html",
        name=name,
        words=TEMPLATE_WORDS.get(name, name),
        mail=mail,
        frame=frame,
        context=[field.name for field in dataclasses.fields(letter_of(name))],
    )


@bp.get("/admin/messages/templates/<name>/html")
@staff("reviewer", "support")
def template_html(name: str) -> ResponseReturnValue:
    return letter_page(_mail(name, _language()).html, links_work=False)


def _language() -> str:
    """The one that is asked for, else the reader's own."""
    asked = request.args.get("language", "")
    return asked if asked in LANGUAGES else current_language()


def _mail(name: str, language: str) -> Mail:
    """A mail with invented content. Raises NoSuchMail."""
    public_url = parts_of(current_app).settings.PUBLIC_URL
    try:
        return write(sample(letter_of(name), public_url=public_url), language=language)
    except UnknownTemplate as error:
        raise NoSuchMail from error
