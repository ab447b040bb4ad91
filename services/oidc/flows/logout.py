"""Logout's way through three pages: our question, account's sign-out, and our last word; each step sealed."""

import dataclasses
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import current_app

from libs.people.handover import InvalidTicket, open_ticket, seal_ticket
from libs.service import parts_of
from libs.settings import Settings
from libs.web.redirects import safe_path
from services.oidc.flows.logouts import SignedOut


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A checked logout request on its way."""

    client_id: str | None = None
    sub: str | None = None
    """Whom the client's hint names, as the client knows them; None when the person has to be asked."""
    sid: str | None = None
    """The session that the hint names, as the client knows it."""
    logout_hint: str | None = None
    """Whom the client believes to sign out: it helps to choose among several accounts, and proves nothing."""
    redirect_uri: str | None = None
    """Where to go in the end; checked, so whoever opens the ticket may follow it."""
    ui_locales: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What account says of a sign-out that is done."""

    sessions: tuple[SignedOut, ...] = ()
    return_to: str | None = None
    """A page of ours to go on to, where no client is waiting."""


def question_path(departure: Departure) -> str:
    """Our page that decides whether to ask: a GET, so that the browser brings its cookie."""
    content = dataclasses.asdict(departure)
    ticket = seal_ticket(_settings(), purpose="logout-question", audience="oidc", content=content)
    return _path("/oauth2/logout/question", departure, ticket=ticket)


def open_question(ticket: str) -> Departure | None:
    """What the question is about; None for a ticket that is old or not ours."""
    try:
        content = open_ticket(_settings(), ticket, purpose="logout-question", audience="oidc")
    except InvalidTicket:
        return None
    return Departure(**content)


def account_path(departure: Departure, *, sid: str | None, is_hint: bool = False) -> str:
    """account's page that ends the session `sid` and comes back to done_path; without one it asks.

    With `is_hint` nobody has looked whether this browser holds that session: where it does not, account asks.
    """
    content = {
        "sid": sid,
        "is_hint": is_hint,
        "return_to": done_path(departure),
        "client_id": departure.client_id,
    }
    ticket = seal_ticket(_settings(), purpose="logout", audience="account", content=content)
    return _path("/logout", departure, ticket=ticket)


def done_path(departure: Departure) -> str:
    """Our page of the last word, which goes on to where the client may be returned to."""
    if departure.redirect_uri is None:
        return _path("/oauth2/logout/done", departure)
    content = {"redirect_uri": departure.redirect_uri}
    ticket = seal_ticket(_settings(), purpose="logout-done", audience="oidc", content=content)
    return _path("/oauth2/logout/done", departure, ticket=ticket)


def open_done(ticket: str) -> str | None:
    """Where to go after sign-out; None for a ticket that is old or not ours."""
    try:
        return open_ticket(_settings(), ticket, purpose="logout-done", audience="oidc")["redirect_uri"]
    except InvalidTicket:
        return None


def open_ended(ticket: str) -> Ended:
    """What account has ended; nothing for a ticket that is old or not account's."""
    try:
        content = open_ticket(_settings(), ticket, purpose="logout-ended", audience="oidc")
    except InvalidTicket:
        return Ended()
    return Ended(
        sessions=tuple(SignedOut(**one) for one in content["sessions"]),
        return_to=safe_path(content.get("return_to"), "") or None,
    )


def _path(path: str, departure: Departure, **query: str) -> str:
    if departure.ui_locales:
        query["ui_locales"] = departure.ui_locales
    return f"{path}?{urlencode(query)}" if query else path


def _settings() -> Settings:
    return parts_of(current_app).settings
