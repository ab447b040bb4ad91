"""The gateway's own words: what either front door says when a request does not reach any service.

They need no app, no session and no request, so that nginx can carry them written out.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from babel.support import NullTranslations, Translations
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from libs.web.languages import LANGUAGES, supported
from libs.web.pages import static_url

HERE = Path(__file__).parent
REQUEST_ID = "$request_id"
"""Stands in the body for the id of the request; nginx knows its own variable by this name."""
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"


def N_(text: str) -> str:
    return text


WORDS = {
    400: (
        "odd-request",
        N_("That request could not be understood"),
        N_("It is written in a way that we do not accept. Start from the start page."),
    ),
    405: (
        "method-not-allowed",
        N_("That request is of a kind that we do not answer"),
        N_("Pages can be opened and forms can be sent. Start from the start page."),
    ),
    413: (
        "too-large",
        N_("That is too much at once"),
        N_("What was sent is larger than we accept. Go back and send less."),
    ),
    414: (
        "address-too-long",
        N_("That address is too long"),
        N_("We do not accept an address of this length. Start from the start page."),
    ),
    421: (
        "unknown-host",
        N_("This address is not ours"),
        N_("The request reached us under a name that is not ours. Check the address you opened."),
    ),
    431: (
        "headers-too-large",
        N_("Your browser sent too much along with that"),
        N_(
            "Its cookies or other headers are larger than we accept. Delete the cookies of this site and try again."
        ),
    ),
    503: (
        "unavailable",
        N_("We are having a short interruption"),
        N_("Nothing that you did before is lost. Please try again in a moment."),
    ),
}


@dataclass(frozen=True)
class Refusal:
    """One answer: for one status, and a program (`json`) or a reader of one language."""

    status: int
    reader: str
    content_type: str
    body: str


@cache
def refusals() -> dict[tuple[int, str], Refusal]:
    """Every refusal by status and reader."""
    return {(status, reader): _make(status, reader) for status in WORDS for reader in ("json", *LANGUAGES)}


def refusal(status: int, *, path: str, accept: str, accept_language: str) -> Refusal:
    """The refusal for who asks; by the same rules as in nginx.conf.template."""
    wants_json = re.search(r"application/(problem\+)?json", accept) and "text/html" not in accept
    if path.startswith("/api/") or wants_json:
        return refusals()[status, "json"]
    first = supported(accept_language.partition(",")[0].partition(";")[0])
    return refusals()[status, first or "en"]


def _make(status: int, reader: str) -> Refusal:
    slug, title, detail = WORDS[status]
    if reader == "json":
        problem = {
            "type": f"urn:updspace-id:problem:{slug}",
            "title": title,
            "status": status,
            "detail": detail,
            "correlation_id": REQUEST_ID,
        }
        return Refusal(status, reader, "application/problem+json", json.dumps(problem))
    words = _translations(reader)
    pages = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
    )
    body = pages.get_template("refusal.html").render(
        _=words.gettext,
        language=reader,
        title=words.gettext(title),
        detail=words.gettext(detail),
        static_url=static_url,
        request_id=REQUEST_ID,
    )
    return Refusal(status, reader, "text/html; charset=utf-8", body)


def _translations(language: str) -> NullTranslations:
    return Translations.load(str(HERE / "translations"), [language])
