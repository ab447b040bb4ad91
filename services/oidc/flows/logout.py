"""Logout's way through three pages: our question, account's sign-out, and our last word; each step sealed."""

from dataclasses import dataclass
from urllib.parse import urlencode

from flask import current_app

from libs.people.handover import InvalidTicket, open_ticket, seal_ticket
from libs.service import parts_of
from libs.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A checked logout request on its way."""

    client_id: str | None
    sub: str | None
    """Whom the client's hint names; None when the person has to be asked."""
    sid: str | None
    redirect_uri: str | None
    """Where to go in the end; checked, so whoever opens the ticket may follow it."""


def question_path(departure: Departure, *, ui_locales: str | None = None) -> str:
    """Our page that decides whether to ask: a GET, so that the browser brings its cookie."""
    content = {
        "client_id": departure.client_id,
        "sub": departure.sub,
        "sid": departure.sid,
        "redirect_uri": departure.redirect_uri,
    }
    ticket = seal_ticket(_settings(), purpose="logout-question", audience="oidc", content=content)
    query = {"ticket": ticket, **({"ui_locales": ui_locales} if ui_locales else {})}
    return "/oauth2/logout/question?" + urlencode(query)


def open_question(ticket: str) -> Departure | None:
    """What the question is about; None for a ticket that is old or not ours."""
    try:
        content = open_ticket(_settings(), ticket, purpose="logout-question", audience="oidc")
    except InvalidTicket:
        return None
    return Departure(**content)


def account_path(departure: Departure, *, sid: str | None) -> str:
    """account's page that ends the session `sid` (or the browser's own) and comes back to done_path."""
    content = {"sid": sid, "return_to": done_path(departure), "client_id": departure.client_id}
    ticket = seal_ticket(_settings(), purpose="logout", audience="account", content=content)
    return "/logout?" + urlencode({"ticket": ticket})


def done_path(departure: Departure) -> str:
    """Our page of the last word, which redirects where the client may be returned to."""
    if departure.redirect_uri is None:
        return "/oauth2/logout/done"
    content = {"redirect_uri": departure.redirect_uri}
    ticket = seal_ticket(_settings(), purpose="logout-done", audience="oidc", content=content)
    return "/oauth2/logout/done?" + urlencode({"ticket": ticket})


def open_done(ticket: str) -> str | None:
    """Where to go after sign-out; None for a ticket that is old or not ours."""
    try:
        return open_ticket(_settings(), ticket, purpose="logout-done", audience="oidc")["redirect_uri"]
    except InvalidTicket:
        return None


def _settings() -> Settings:
    return parts_of(current_app).settings
