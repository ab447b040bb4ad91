"""`suppressions`: addresses that are written to no more."""

from typing import Any

import click
from flask.cli import AppGroup

from libs.commands import LIMIT, command, done, show
from services.notification.flows import suppressions
from services.notification.models import SUPPRESSION_REASONS

suppressions_group = AppGroup("suppressions", help="Addresses that are written to no more.")


@suppressions_group.command("list", help="The newest first.")
@click.option("--search", default="", help="How the address begins.")
@click.option("--reason", "why", type=click.Choice(SUPPRESSION_REASONS), help="Only those of this reason.")
@click.option("--limit", type=LIMIT, default=100, show_default=True)
@command
def list_suppressions(search: str, why: str | None, limit: int, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"email": row.email, "reason": row.reason, "created_at": row.created_at, "detail": row.detail or None}
        for row in suppressions.list_suppressions(text=search, reason=why, limit=limit)
    ]
    show(rows, as_json=as_json, empty="No address is suppressed.")


@suppressions_group.command("lift", help="Write to an address again.")
@click.argument("address")
@click.option("--reason", required=True, help="Why, for the audit.")
@command
def lift(address: str, reason: str, as_json: bool) -> None:
    suppressions.lift(email=address, reason=reason)
    done(f"{address} may have mail again.", {"email": address, "suppressed": False}, as_json=as_json)
