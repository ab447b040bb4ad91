"""Pages: the templates that every service shares, and what they may use."""

import hashlib
from functools import cache
from pathlib import Path

from flask import Flask, request, url_for
from flask_babel import format_datetime
from jinja2 import ChoiceLoader, FileSystemLoader, StrictUndefined

from libs.people import sessions
from libs.settings import Settings
from libs.web.languages import LANGUAGES, current_language
from libs.web.redirects import own_path

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"


def init_pages(app: Flask, settings: Settings) -> None:
    """Let the app's templates extend the shared ones. An unknown name in a template is an error."""
    app.jinja_loader = ChoiceLoader([app.jinja_loader or FileSystemLoader([]), FileSystemLoader(TEMPLATES)])
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["moment"] = lambda value: format_datetime(value, "medium")
    app.jinja_env.globals.update(
        static_url=static_url,
        languages=LANGUAGES,
        current_language=current_language,
        language_url=_language_url,
        public_url=settings.PUBLIC_URL,
        is_development=settings.is_development,
        url_for=url_for,
    )

    @app.context_processor
    def _person() -> dict[str, object]:
        try:
            return {"person": sessions.current_session()}
        except Exception:
            # An error page must be able to speak while Redis or account's database is away.
            return {"person": None}


@cache
def static_url(name: str) -> str:
    """The address of a shared asset, versioned by its content so that it may be cached for a year."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def _language_url(language: str) -> str:
    """This page in another language. Secrets in the address are kept: they are what opens the page."""
    from urllib.parse import urlencode

    if request.method != "GET":
        return f"/?language={language}"
    arguments = [(name, value) for name, value in request.args.items(multi=True) if name != "language"]
    return own_path(query=urlencode([*arguments, ("language", language)]))
