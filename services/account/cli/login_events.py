"""`login-events` and `login-failures`: the record of attempts to sign in."""

from datetime import timedelta

import click

from libs.commands import DURATION, LIMIT, command, show
from libs.database import utcnow
from libs.lists import gather
from libs.observe.metrics import LOGIN_REASONS
from libs.web.client_address import parse_network
from services.account.flows.login_events import Attempt, Wanted, count_failures, list_login_events

A_DAY, AN_HOUR = timedelta(days=1), timedelta(hours=1)
OUTCOMES = {"success": True, "failure": False}


@click.command(
    "login-events", help="Attempts to sign in, newest first; the last 24 hours unless told otherwise."
)
@click.option("--since", type=DURATION, default=A_DAY, show_default="24h", help="How far back: 30m, 24h, 7d.")
@click.option("--limit", type=LIMIT, default=100, show_default=True)
@click.option("--email", help="Only of whoever has this address, or where it was typed.")
@click.option("--ip", help="Only from this address or network.")
@click.option("--outcome", type=click.Choice(list(OUTCOMES)), help="Only those that ended so.")
@click.option("--reason", type=click.Choice(LOGIN_REASONS), help="Only failures for this.")
@click.option("--method", help="Only by this way: password, passkey, totp, a provider's name …")
@command
def login_events(
    since: timedelta,
    limit: int,
    email: str | None,
    ip: str | None,
    outcome: str | None,
    reason: str | None,
    method: str | None,
    as_json: bool,
) -> None:
    network = parse_network(ip) if ip else None
    if ip and network is None:
        raise click.UsageError(f"{ip} is no IP address and no network.")
    wanted = Wanted(
        email=email,
        network=network,
        success=OUTCOMES.get(outcome or ""),
        reason=reason,
        method=method,
        since=utcnow() - since,
    )
    page = gather(lambda before, count: list_login_events(wanted, before=before, limit=count), limit=limit)
    show([_line(attempt) for attempt in page.rows], as_json=as_json, empty="No login events.")


def _line(attempt: Attempt) -> dict[str, object]:
    event, user = attempt
    return {
        "created_at": event.created_at,
        "email": user.email if user else "Unknown",
        "ip_address": event.ip,
        "success": event.success,
        "failure_reason": event.failure_reason,
    }


@click.command(
    "login-failures",
    help="Why attempts to sign in failed, most first; in the last hour unless told otherwise.",
)
@click.option(
    "--since", type=DURATION, default=AN_HOUR, show_default="1h", help="How far back: 30m, 24h, 7d."
)
@command
def login_failures(since: timedelta, as_json: bool) -> None:
    rows: list[dict[str, object]] = [
        {"failure_reason": reason, "count": count} for reason, count in count_failures(since=utcnow() - since)
    ]
    show(rows, as_json=as_json, empty="No failures.")
