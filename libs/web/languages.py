"""Languages: English and Russian; `ui_locales`, then the member's, then the cookie, then Accept-Language."""

from pathlib import Path

from flask import Flask, request, session
from flask_babel import Babel, get_locale

from libs.people import sessions
from libs.web.app import needed_where

LANGUAGES = {"en": "English", "ru": "Русский"}
DEFAULT = "en"
LIBS_TRANSLATIONS = Path(__file__).parent / "translations"


def supported(tags: str | None) -> str | None:
    """The first language of a list of BCP 47 tags (by space, comma or none) that we speak."""
    for tag in (tags or "").replace(",", " ").split():
        language = tag.split("-")[0].split("_")[0].lower()
        if language in LANGUAGES:
            return language
    return None


def choose_language() -> str:
    """The language of this request."""
    if not request:
        return DEFAULT
    asked = supported(request.args.get("ui_locales"))
    if asked:
        return asked
    member = _members_language()
    if member:
        return member
    return (
        supported(session.get("language"))
        or request.accept_languages.best_match(list(LANGUAGES), default=DEFAULT)
        or DEFAULT
    )


def _members_language() -> str | None:
    if request.path.startswith("/api/"):
        return None  # a cookie says nothing there
    try:
        person = sessions.current_session()
    except Exception:
        # An error page must be able to speak while Redis is away.
        return None
    return supported(str(person.claims.get("locale", ""))) if person else None


def remember_language(language: str) -> None:
    """Keep a choice in the browser's session."""
    if language in LANGUAGES:
        session["language"] = language


def current_language() -> str:
    locale = get_locale()
    return locale.language if locale else DEFAULT


def init_languages(app: Flask, translations: Path | None) -> None:
    """Catalogues of libs and of the service, the service's first."""
    folders = [str(folder) for folder in (translations, LIBS_TRANSLATIONS) if folder and folder.is_dir()]
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = ";".join(folders)
    app.config["BABEL_DEFAULT_LOCALE"] = DEFAULT
    Babel(app, locale_selector=choose_language)

    @app.before_request
    @needed_where(lambda _, method: method == "GET")
    def _remember_choice() -> None:
        if request.method == "GET" and request.query_string:
            chosen = supported(request.args.get("language"))
            if chosen:
                remember_language(chosen)
