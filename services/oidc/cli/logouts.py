"""logouts: what clients are told when a sign-in ends."""

import uuid

import click
from flask.cli import AppGroup

from libs.commands import LIMIT, command, done, show
from services.oidc.flows import logouts as flows
from services.oidc.flows.clients import get_client

logouts = AppGroup("logouts", help="Back-channel logouts: what clients are told when a sign-in ends.")


@logouts.command("list", help="The newest first; a delivery holds no more of a person than their number.")
@click.option("--parked", is_flag=True, help="Only those that nothing more happens to by itself.")
@click.option("--client", "client_id", metavar="ID", help="Only those of one client.")
@click.option("--limit", type=LIMIT, default=50, show_default=True)
@command
def list_logouts(parked: bool, client_id: str | None, limit: int, as_json: bool) -> None:
    if client_id is not None:
        get_client(client_id)
    found = flows.list_deliveries(state="parked" if parked else None, client_id=client_id, limit=limit)
    rows = [
        {
            "id": delivery.id,
            "created_at": delivery.created_at,
            "client": name,
            "client_id": delivery.client_id,
            "cause": delivery.cause,
            "state": delivery.state,
            "attempts": delivery.attempts,
            "last_error": delivery.last_error,
            "next_attempt_at": delivery.next_attempt_at if delivery.state == "queued" else None,
        }
        for delivery, name in found
    ]
    show(rows, as_json=as_json, empty="No logouts.")


@logouts.command("retry", help="Send parked ones again: those named, all (--parked), or all of one client.")
@click.argument("ids", nargs=-1, type=click.UUID, metavar="ID...")
@click.option("--parked", is_flag=True, help="All that are parked.")
@click.option("--client", "client_id", metavar="ID", help="With --parked: of one client alone.")
@command
def retry(ids: tuple[uuid.UUID, ...], parked: bool, client_id: str | None, as_json: bool) -> None:
    if bool(ids) == parked or (client_id is not None and not parked):
        raise click.UsageError("Name ids, or say --parked.")
    if client_id is not None:
        get_client(client_id)
    refused = []
    if parked:
        count = flows.retry_parked(client_id=client_id)
    else:
        wanted = dict.fromkeys(ids)
        for delivery_id in wanted:
            try:
                flows.retry(delivery_id)
            except (flows.NothingToRetry, flows.UnknownDelivery) as problem:
                refused.append(f"{delivery_id}: {problem.title}.")
        count = len(wanted) - len(refused)
    if count or not refused:
        done(f"{count} logout(s) are on their way again.", {"queued": count}, as_json=as_json)
    if refused:
        raise click.ClickException(" ".join(refused))
