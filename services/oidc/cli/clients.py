"""clients: apps that sign people in."""

import sys
from datetime import timedelta
from typing import Any

import click
from flask.cli import AppGroup

from libs.commands import DURATION, command, done, plain, show, show_one
from services.oidc.cli.client_options import chosen, read_text, setting_options, unset_option
from services.oidc.flows import clients as flows
from services.oidc.flows.clients.applying import Applied, apply_document
from services.oidc.flows.clients.checking import check_clients
from services.oidc.flows.clients.documents import read_document
from services.oidc.flows.clients.secrets import in_rows

clients = AppGroup("clients", help="Apps that sign people in here.")


@clients.command("list", help="Every client by name.")
@command
def list_clients(as_json: bool) -> None:
    rows = [
        {
            "client_id": client.client_id,
            "name": client.name,
            "auth_method": client.auth_method,
            "redirect_uris": client.redirect_uris,
            "scopes": client.scopes,
            "is_enabled": client.is_enabled,
        }
        for client in flows.list_clients()
    ]
    show(rows, as_json=as_json, empty="No clients.")


@clients.command("show", help="All settings of a client; of its secrets when they were made, used, and end.")
@click.argument("client_id")
@command
def show_client(client_id: str, as_json: bool) -> None:
    client = flows.get_client(client_id)
    secrets = [{name: plain(value) for name, value in row.items()} for row in in_rows(client)]
    show_one(
        {
            "client_id": client.client_id,
            **flows.settings_of(client),
            "secrets": secrets if as_json else [_secret_in_words(row) for row in in_rows(client)],
            "registered_itself": client.registration_token_digest is not None,
            "version": client.version,
            "created_at": client.created_at,
            "updated_at": client.updated_at,
        },
        as_json=as_json,
    )


def _secret_in_words(row: dict[str, Any]) -> str:
    used = f"{row['last_used_at']:%Y-%m-%d %H:%M}" if row["last_used_at"] else "never"
    words = f"since {row['created_at']:%Y-%m-%d %H:%M}, last used {used}"
    if row["expires_at"]:
        words += f", until {row['expires_at']:%Y-%m-%d %H:%M}" + (" (soon)" if row["ends_soon"] else "")
    return words


@clients.command("create")
@setting_options(with_usual=True)
@command
def create(as_json: bool, **options: Any) -> None:
    """Register a client; its secret is printed this once.

    What is not chosen is as usual: a confidential web app with PKCE and refresh tokens that rotate.
    """
    made = flows.create_client(**chosen(options))
    shown: dict[str, Any] = {"client_id": made.client.client_id}
    if made.secret:
        shown["client_secret"] = made.secret
    if as_json:
        shown |= flows.settings_of(made.client)
    show_one(shown, as_json=as_json)


@clients.command("update")
@click.argument("client_id")
@setting_options(with_usual=False)
@unset_option
@command
def update(client_id: str, cleared: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Change what is named; lists are replaced whole.

    An --auth-method that takes a secret makes a first one, printed this once; one that takes none ends those there
    are. --disable ends what the client was given: its grants and tokens.
    """
    changes = chosen(options, cleared)
    if not changes:
        raise click.UsageError("Say what to change: --help lists the settings.")
    changed = flows.change_client(client_id, **changes)
    shown: dict[str, Any] = {"client_id": client_id}
    if changed.secret:
        shown["client_secret"] = changed.secret
    done(
        f"Client {client_id} is updated.",
        {**shown, **flows.settings_of(changed.client)},
        as_json=as_json,
    )
    if changed.secret and not as_json:
        show_one(shown, as_json=False)


@clients.command("rotate-secret")
@click.argument("client_id")
@click.option(
    "--overlap-hours",
    type=click.IntRange(0, 24 * 90),
    default=int(flows.SECRET_OVERLAP / timedelta(hours=1)),
    show_default=True,
    help="How long the old secret works on; 0 ends it now.",
)
@click.option(
    "--expires-in", "lifetime", type=DURATION, help="How long the new one works (90d); else without end."
)
@command
def rotate_secret(client_id: str, overlap_hours: int, lifetime: timedelta | None, as_json: bool) -> None:
    """Give a client a new secret, printed this once.

    Two hold at once: the newest, and for the overlap the one before it.
    """
    secret = flows.rotate_secret(client_id, overlap=timedelta(hours=overlap_hours), lifetime=lifetime)
    show_one({"client_id": client_id, "client_secret": secret}, as_json=as_json)


@clients.command("verify-secret", help="Say whether a secret (asked for, or from stdin) is right.")
@click.argument("client_id")
@command
def verify_secret(client_id: str, as_json: bool) -> None:
    if sys.stdin.isatty():
        secret = click.prompt("Client secret", hide_input=True)
    else:
        secret = sys.stdin.readline().rstrip("\r\n")
    if not flows.verify_secret(client_id, secret=secret):
        raise click.ClickException("That is not a secret of this client.")
    done("The secret is right.", {"client_id": client_id, "valid": True}, as_json=as_json)


@clients.command("check")
@click.argument("client_id", default="all")
@command
def check(client_id: str, as_json: bool) -> None:
    """Hold the settings of a client, or of all that are enabled, against RFC 9700: what is weak, and what helps.

    Fetches jwks_uri and sector_identifier_uri. Exits 1 when something is weak; notes alone exit 0.
    """
    findings = check_clients(None if client_id == "all" else client_id)
    show(
        [
            {
                "client_id": finding.client_id,
                "level": finding.level,
                "about": finding.about,
                "what": finding.what,
                "fix": finding.fix,
                "why": finding.why,
            }
            for finding in findings
        ],
        as_json=as_json,
        empty="Nothing is weak.",
    )
    if any(finding.level == "weak" for finding in findings):
        raise SystemExit(1)


@clients.command("apply")
@click.option("-f", "--file", "source", required=True, metavar="FILE", help="YAML or JSON; - for stdin.")
@click.option("--dry-run", is_flag=True, help="Only say what would be changed.")
@command
def apply(source: str, dry_run: bool, as_json: bool) -> None:
    """Make clients as a file says: all of it or, when something cannot be, nothing.

    \b
    clients:
      - client_id: billing
        name: Billing
        redirect_uris: [https://billing.example.com/callback]
        secret_from_env: BILLING_SECRET      # or secret_sha256: HEX

    Settings go by our names or by those of client metadata. Clients and settings that are not named stay as they are;
    null is what is usual. A secret never stands in the file: without one of the two lines a new confidential client is
    given a secret, printed this once.
    """
    applied = apply_document(read_document(read_text(source)), dry_run=dry_run)
    if as_json:
        show([_applied_row(one) for one in applied], as_json=True)
        return
    for one in applied:
        click.echo(f"{one.client_id}: {one.action}" + (" (not done: --dry-run)" if dry_run else ""))
        for name, (before, after) in one.changes.items():
            click.echo(f"  {name}: {before} → {after}" if one.action == "updated" else f"  {name}: {after}")
        if one.secret:
            click.echo(f"  client_secret: {one.secret}")
    if not applied:
        click.echo("The file names no clients.")


def _applied_row(one: Applied) -> dict[str, Any]:
    row: dict[str, Any] = {
        "client_id": one.client_id,
        "action": one.action,
        "changes": {
            name: {"before": before, "after": after} for name, (before, after) in one.changes.items()
        },
    }
    if one.secret:
        row["client_secret"] = one.secret
    return row


@clients.command("delete", help="Remove a client with its secrets, consents, grants and tokens.")
@click.argument("client_id")
@command
def delete(client_id: str, as_json: bool) -> None:
    flows.delete_client(client_id)
    done(f"Client {client_id} is deleted.", {"client_id": client_id, "deleted": True}, as_json=as_json)
