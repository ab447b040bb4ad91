"""/admin/login-events: staff look through the attempts to sign in, and take them along as a file."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template, request, stream_with_context
from flask.typing import ResponseReturnValue
from flask_babel import format_decimal, gettext
from werkzeug.exceptions import BadRequest

from libs.database import utcnow
from libs.observe.metrics import LOGIN_REASONS
from libs.people.access import staff
from libs.web.client_address import parse_network
from services.account.flows.devices import device_name, method_name, outcome_name
from services.account.flows.login_events import (
    EXPORTED,
    Attempt,
    Wanted,
    export_login_events,
    list_login_events,
)
from services.account.flows.places import country_name
from services.account.flows.users import MAX_EMAIL_LENGTH, find_user
from services.account.routes.browser import asked_before

bp = Blueprint("login_events", __name__, url_prefix="/admin/login-events")

LISTED = 50
METHODS = ("password", "passkey", "totp", "recovery_code", "mail_code", "link", "enrolment")
"""What the form offers; a provider's name works in the address, too."""
NAMES = ("email", "ip", "outcome", "reason", "method", "since", "until")
COLUMNS = (
    "created_at", "email", "typed_hash", "ip_address", "country", "user_agent", "method", "success",
    "failure_reason", "sid", "correlation_id",
)  # fmt: skip
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")
"""What makes a spreadsheet take a cell for a formula."""


@bp.get("")
@staff("support")
def index() -> ResponseReturnValue:
    """The list, narrowed by what the address names; `before` is where the page before this one ended."""
    entered = _entered(request.args)
    wanted, errors = _read(entered)
    page = list_login_events(wanted, before=asked_before(), limit=LISTED) if not errors else None
    named = {name: value for name, value in entered.items() if value}
    next_url = f"{request.path}?{urlencode({**named, 'before': str(page.before)})}" if page else ""
    return (
        render_template(
            "login_events.html",
            page=page,
            entered=entered,
            errors=errors,
            named=named,
            next_url=next_url,
            is_first=asked_before() is None,
            is_nobody=bool(entered["email"]) and not errors and find_user(email=entered["email"]) is None,
            reasons=[("", gettext("Any")), *((word, outcome_name(word)) for word in LOGIN_REASONS)],
            methods=[("", gettext("Any")), *((word, method_name(word)) for word in METHODS)],
            outcomes=[
                ("", gettext("Any")),
                ("success", gettext("Signed in")),
                ("failure", gettext("Failed")),
            ],
            exported=format_decimal(EXPORTED),
            device_name=device_name,
            method_name=method_name,
            outcome_name=outcome_name,
            country_name=country_name,
        ),
        422 if errors else 200,
    )


@bp.post("/export")
@staff("support")
def export() -> ResponseReturnValue:
    """The same list as a CSV file, sent while it is read; a POST, since the audit keeps who took what."""
    wanted, errors = _read(_entered(request.form))
    if errors:
        raise BadRequest
    lines = stream_with_context(_lines(export_login_events(wanted)))
    name = f"login-events-{utcnow():%Y%m%dT%H%M%SZ}.csv"
    return Response(
        lines,
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


def _entered(given: Mapping[str, str]) -> dict[str, str]:
    return {name: given.get(name, "").replace("\x00", "").strip() for name in NAMES}


def _read(entered: Mapping[str, str]) -> tuple[Wanted, dict[str, str]]:
    """What is wanted, and what of it cannot be, by field."""
    errors = {}
    network = parse_network(entered["ip"]) if entered["ip"] else None
    if entered["ip"] and network is None:
        errors["ip"] = gettext("This is no address and no network: write 203.0.113.9 or 203.0.113.0/24.")
    since, until = _day(entered["since"]), _day(entered["until"])
    for name, value in (("since", since), ("until", until)):
        if entered[name] and value is None:
            errors[name] = gettext("Write a day as 2026-01-31.")
    wanted = Wanted(
        email=entered["email"][:MAX_EMAIL_LENGTH] or None,
        network=network,
        success={"success": True, "failure": False}.get(entered["outcome"]),
        reason=entered["reason"] if entered["reason"] in LOGIN_REASONS else None,
        method=entered["method"][:64] or None,
        since=since,
        until=until + timedelta(days=1) if until else None,
    )
    return wanted, errors


def _day(text: str) -> datetime | None:
    """The beginning of a day in UTC."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return day if 1970 <= day.year <= 9998 else None


def _lines(batches: Iterator[Sequence[Attempt]]) -> Iterator[str]:
    yield _csv([COLUMNS])
    for batch in batches:
        yield _csv([_cells(attempt) for attempt in batch])


def _cells(attempt: Attempt) -> list[str]:
    event, user = attempt
    return [
        event.created_at.isoformat(timespec="seconds"),
        *map(
            _harmless,
            (
                user.email if user else "",
                event.typed_hash,
                event.ip,
                event.country,
                event.user_agent,
                event.method,
            ),
        ),
        "yes" if event.success else "no",
        *map(_harmless, (event.failure_reason, event.sid, event.correlation_id)),
    ]


def _harmless(value: Any) -> str:
    """A cell that no spreadsheet runs: what begins like a formula is marked as text (OWASP, CSV injection)."""
    text = str(value or "")
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_SIGNS) else text


def _csv(rows: Sequence[Sequence[str]]) -> str:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows(rows)
    return written.getvalue()
