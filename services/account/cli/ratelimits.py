"""`ratelimits`: the limits that hold people up, and enhanced mode."""

from datetime import timedelta

import click
from flask import current_app
from flask.cli import AppGroup

from libs.commands import DURATION, command, done, plain, show
from libs.service import parts_of
from libs.web.client_address import parse_address
from services.account.flows import limits, users

LONGEST_ENHANCED = timedelta(days=7)

ratelimits_group = AppGroup("ratelimits", help="Rate limits that hold now.")


@ratelimits_group.command("list", help="Counts that hold now, of everybody or of one address or person.")
@click.option("--ip", help="An IP address.")
@click.option("--user", "email", help="An e-mail address, or a client id.")
@command
def list_limits(ip: str | None, email: str | None, as_json: bool) -> None:
    ip, user = _whose(ip, email)
    show(limits.list_limits(ip=ip, user=user), as_json=as_json, empty="No limit is counting.")
    ends_at = parts_of(current_app).enhanced.ends_at()
    if ends_at and not as_json:
        click.echo(f"Enhanced mode is on until {plain(ends_at)}.")


@ratelimits_group.command(
    "reset",
    help="Forget the counts and waits of one address and its network, or of one person, in all services.",
)
@click.option("--ip", help="An IP address.")
@click.option("--user", "email", help="An e-mail address, or a client id.")
@command
def reset_limits(ip: str | None, email: str | None, as_json: bool) -> None:
    ip, user = _whose(ip, email)
    if bool(ip) == bool(user):
        raise click.UsageError("Name an address with --ip or a person with --user.")
    keys = limits.reset_limits(ip=ip, user=user)
    done(f"Forgot {len(keys)} count(s).", {"reset": len(keys)}, as_json=as_json)


@ratelimits_group.command(
    "enhance",
    help="Tighten sign-in, registration and token limits to a quarter, in all services within a second, and ask for a "
    "code by mail on browsers that are not known. Ends by itself.",
)
@click.option("--for", "life", type=DURATION, default="1h", show_default=True, help="How long; at most 7d.")
@command
def enhance(life: timedelta, as_json: bool) -> None:
    if life > LONGEST_ENHANCED:
        raise click.UsageError("Seven days are the most: say it again when they are over.")
    ends_at = limits.enhance_limits(life=life)
    done(f"Limits are enhanced until {plain(ends_at)}.", {"enhanced_until": ends_at}, as_json=as_json)


@ratelimits_group.command("relax", help="End enhanced mode before its time.")
@command
def relax(as_json: bool) -> None:
    changed = limits.relax_limits()
    sentence = "Limits are as usual again." if changed else "Limits were not enhanced."
    done(sentence, {"changed": changed}, as_json=as_json)


def _whose(ip: str | None, email: str | None) -> tuple[str | None, str | None]:
    """The forms under which limits are counted. Raises click.UsageError."""
    if ip:
        address = parse_address(ip)
        if address is None:
            raise click.UsageError(f"{ip} is not an IP address.")
        ip = address
    return ip, users.normalise_email(email) if email else None
