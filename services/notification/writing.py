"""How a letter becomes a mail: subject, text and HTML from one source, in the reader's language."""

from dataclasses import dataclass, field
from datetime import datetime
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

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

# What goes over the wire is plain ASCII, so that every server takes it.
POLICY = SMTP.clone(cte_type="7bit")


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


def envelope(mail: Mail, *, sender: Address, recipient: str, header_id: str, date: datetime) -> EmailMessage:
    """The mail with its headers. Raises ValueError when the recipient cannot be an address."""
    message = EmailMessage(policy=POLICY)
    message["From"] = sender
    message["To"] = _address(recipient)
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(date)
    message["Message-ID"] = header_id
    # No out-of-office answer is wanted (RFC 3834 section 5).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    message["Content-Language"] = mail.language
    return message


def _address(text: str) -> Address:
    """Exactly one bare address, its domain in the form that DNS knows. Raises ValueError."""
    local, _, domain = text.rpartition("@")
    # The parser knows the form, but no letters beyond ASCII before the @ (RFC 6531 allows them).
    plain = "".join(letter if letter.isascii() else "x" for letter in local)
    try:
        domain = domain.encode("idna").decode("ascii")
        form = Address(addr_spec=f"{plain}@{domain}")
    except (HeaderParseError, IndexError, UnicodeError) as error:
        raise ValueError("not an address") from error
    if (form.username, form.domain) != (plain, domain):
        raise ValueError("not a bare address")
    return Address(username=local, domain=domain)
