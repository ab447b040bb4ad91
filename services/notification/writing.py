"""How a letter becomes a mail: subject, text and HTML from one source, in the reader's language."""

import functools
from dataclasses import dataclass, field
from typing import Any

from babel import Locale
from flask import current_app
from flask_babel import force_locale
from jinja2 import Template

from libs.service import parts_of
from services.notification.letters.letter import (
    Button,
    Code,
    Letter,
    Paragraph,
    Quotation,
    Reference,
    one_line,
)


@dataclass(frozen=True)
class Mail:
    """A letter as its reader sees it. Its content may open doors: never log it."""

    language: str
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)


def write(letter: Letter, *, language: str) -> Mail:
    """Write the letter in a language that we speak. Values stay literal: text in text, escaped in HTML."""
    public_url = parts_of(current_app).settings.PUBLIC_URL
    environment = current_app.jinja_env
    with force_locale(_locale(language)):
        subject = one_line(letter.subject())
        values = {
            "language": language,
            "subject": subject,
            "greeting": letter.greeting(),
            "blocks": [(_KINDS[type(block)], block) for block in letter.blocks(public_url)],
            "public_url": public_url,
        }
        # Not Flask's render_template: its context is about the person at a page.
        text = _render(environment.get_template("letter.txt"), values)
        html = _render(environment.get_template("letter.html"), values)
    return Mail(language=language, subject=subject, text=text.strip() + "\n", html=html)


@functools.cache
def _locale(language: str) -> Locale:
    """Babel would look into its folder for each mail."""
    return Locale.parse(language)


def _render(template: Template, values: dict[str, Any]) -> str:
    """As template.render(), which reads all that every template knows one by one through a chain of mappings."""
    context = template.new_context({**_globals(template), **values}, shared=True)
    return "".join(template.root_render_func(context))


@functools.cache
def _globals(template: Template) -> dict[str, Any]:
    return dict(template.globals)


_KINDS = {
    Paragraph: "paragraph",
    Button: "button",
    Code: "code",
    Quotation: "quotation",
    Reference: "reference",
}
