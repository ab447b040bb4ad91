"""Commands of account about attempts to sign in: the record of them, and who is kept out. cli.py lists them."""

import uuid
from datetime import timedelta

import click
from flask.cli import AppGroup

from libs.commands import DURATION, LIMIT, command, done, show
from libs.database import utcnow
from libs.web.client_address import parse_network
from services.account.flows import blocks
from services.account.flows.lists import gather
from services.account.flows.login_events import Attempt, Wanted, count_failures, list_login_events
from services.account.models import Block

A_DAY, AN_HOUR = timedelta(days=1), timedelta(hours=1)

blocks_group = AppGroup("blocks", help="Who may not sign in: addresses, networks, mail domains.")


@click.command(
    "login-events", help="Attempts to sign in, newest first; the last 24 hours unless told otherwise."
)
@click.option("--since", type=DURATION, default=A_DAY, show_default="24h", help="How far back: 30m, 24h, 7d.")
@click.option("--limit", type=LIMIT, default=100, show_default=True)
@click.option("--email", help="Only of whoever has this address, or where it was typed.")
@click.option("--ip", help="Only from this address or network.")
@command
def login_events(since: timedelta, limit: int, email: str | None, ip: str | None, as_json: bool) -> None:
    network = parse_network(ip) if ip else None
    if ip and network is None:
        raise click.UsageError(f"{ip} is no IP address and no network.")
    wanted = Wanted(email=email, network=network, since=utcnow() - since)
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


@blocks_group.command("add", help="Let nobody from there sign in for a while. Open sessions stay.")
@click.option("--ip", help="An address, or a network such as 203.0.113.0/24.")
@click.option("--domain", help="A mail domain such as example.org; its subdomains are others.")
@click.option("--for", "life", type=DURATION, required=True, help="For how long: 30m, 24h, 7d.")
@click.option("--reason", required=True, help="Why, for the audit.")
@click.option("--force", is_flag=True, help="Even a network of our own kind, such as 10.0.0.0/8 or loopback.")
@command
def add(ip: str | None, domain: str | None, life: timedelta, reason: str, force: bool, as_json: bool) -> None:
    block = blocks.add_block(network=ip, domain=domain, life=life, reason=reason, even_our_own=force)
    done(
        f"Blocked {block.network or block.domain} until {block.expires_at:%Y-%m-%d %H:%M} UTC. Sessions that are open"
        f" stay. Lift it with: blocks lift {block.id}",
        _block_line(block),
        as_json=as_json,
    )


@blocks_group.command("list", help="The blocks that hold now, newest first.")
@click.option("--limit", type=LIMIT, default=100, show_default=True)
@command
def list_blocks(limit: int, as_json: bool) -> None:
    rows = [_block_line(block) for block in blocks.list_blocks(limit=limit)]
    show(rows, as_json=as_json, empty="Nobody is blocked.")


@blocks_group.command("lift", help="Let them sign in again.")
@click.argument("block_id", metavar="ID", type=click.UUID)
@command
def lift(block_id: uuid.UUID, as_json: bool) -> None:
    lifted = blocks.lift_block(block_id=block_id)
    sentence = "Lifted the block." if lifted else "The block had ended before."
    done(sentence, {"id": block_id, "lifted": lifted}, as_json=as_json)


def _block_line(block: Block) -> dict[str, object]:
    return {
        "id": block.id,
        "blocked": block.network or block.domain,
        "expires_at": block.expires_at,
        "reason": block.reason,
        "created_by": block.created_by,
    }
