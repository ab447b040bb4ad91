"""`blocks`: who may not sign in for a while."""

import uuid
from datetime import timedelta

import click
from flask.cli import AppGroup

from libs.commands import DURATION, LIMIT, command, done, show
from services.account.flows import blocks
from services.account.models import Block

blocks_group = AppGroup("blocks", help="Who may not sign in: addresses, networks, mail domains.")


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
