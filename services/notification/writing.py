"""How a letter becomes a mail: subject, text and HTML from one source, in the reader's language."""

from dataclasses import dataclass, field

from flask import current_app
from flask_babel import force_locale

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
    with force_locale(language):
        subject = one_line(letter.subject())
        values = {
            "language": language,
            "subject": subject,
            "greeting": letter.greeting(),
            "blocks": [(_KINDS[type(block)], block) for block in letter.blocks(public_url)],
            "public_url": public_url,
        }
        # Not Flask's render_template: its context is about the person at a page.
        text = environment.get_template("letter.txt").render(values)
        html = environment.get_template("letter.html").render(values)
    return Mail(language=language, subject=subject, text=text.strip() + "\n", html=html)


_KINDS = {
    Paragraph: "paragraph",
    Button: "button",
    Code: "code",
    Quotation: "quotation",
    Reference: "reference",
}
