"""clients: apps that sign people in."""

import sys
from datetime import timedelta
from typing import Any

import click
from flask.cli import AppGroup

from libs.commands import command, done, show, show_one
from libs.database import utcnow
from services.oidc.flows import clients as flows
from services.oidc.models import AUTH_METHODS, Client

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


@clients.command("show", help="All settings of a client; secrets by age only.")
@click.argument("client_id")
@command
def show_client(client_id: str, as_json: bool) -> None:
    show_one(_whole(flows.get_client(client_id)), as_json=as_json)


@clients.command("create", help="Register a client; its secret is printed this once.")
@click.option("--name", required=True)
@click.option("--redirect-uri", "redirect_uris", multiple=True, help="May be given several times.")
@click.option("--scope", default=" ".join(flows.DEFAULT_SCOPES), show_default=True)
@click.option("--grant", "grants", multiple=True, default=flows.USUAL["grants"], show_default=True)
@click.option("--auth-method", type=click.Choice(AUTH_METHODS), default=AUTH_METHODS[0], show_default=True)
@click.option("--post-logout-redirect-uri", "post_logout_redirect_uris", multiple=True)
@click.option("--native", is_flag=True, help="An app on a device: its loopback port may vary.")
@click.option("--first-party", is_flag=True, help="Ours: people are not asked for consent.")
@click.option("--no-pkce", is_flag=True, help="Do not require PKCE (weak; confidential clients only).")
@command
def create(
    name: str,
    redirect_uris: tuple[str, ...],
    scope: str,
    grants: tuple[str, ...],
    auth_method: str,
    post_logout_redirect_uris: tuple[str, ...],
    native: bool,
    first_party: bool,
    no_pkce: bool,
    as_json: bool,
) -> None:
    made = flows.create_client(
        name=name,
        redirect_uris=list(redirect_uris),
        scopes=scope.split(),
        grants=grants,
        auth_method=auth_method,
        post_logout_redirect_uris=post_logout_redirect_uris,
        application_type="native" if native else "web",
        require_pkce=not no_pkce,
        is_first_party=first_party,
    )
    shown: dict[str, Any] = {"client_id": made.client.client_id}
    if made.secret:
        shown["client_secret"] = made.secret
    if as_json:
        shown |= flows.settings_of(made.client)
    show_one(shown, as_json=as_json)


@clients.command("update", help="Change what is named; lists are replaced whole.")
@click.argument("client_id")
@click.option("--name")
@click.option("--redirect-uri", "redirect_uris", multiple=True)
@click.option("--scope")
@click.option("--grant", "grants", multiple=True)
@click.option("--auth-method", type=click.Choice(AUTH_METHODS))
@click.option("--post-logout-redirect-uri", "post_logout_redirect_uris", multiple=True)
@click.option("--native/--web", "is_native", default=None)
@click.option("--first-party/--third-party", "is_first_party", default=None)
@click.option("--pkce/--no-pkce", "require_pkce", default=None)
@click.option(
    "--rotate/--no-rotate", "rotate_refresh_tokens", default=None, help="A new refresh token at each use."
)
@click.option("--enable/--disable", "is_enabled", default=None)
@command
def update(client_id: str, scope: str | None, is_native: bool | None, as_json: bool, **changes: Any) -> None:
    for name in ("redirect_uris", "grants", "post_logout_redirect_uris"):
        changes[name] = changes[name] or None
    if is_native is not None:
        changes["application_type"] = "native" if is_native else "web"
    changes["scopes"] = scope.split() if scope else None
    chosen = {name: value for name, value in changes.items() if value is not None}
    client = flows.update_client(client_id, **chosen)
    done(
        f"Client {client_id} is updated.",
        {"client_id": client_id, **flows.settings_of(client)},
        as_json=as_json,
    )


@clients.command("rotate-secret", help="Give a client a new secret, printed this once.")
@click.argument("client_id")
@click.option(
    "--overlap-hours",
    type=click.IntRange(0, 24 * 90),
    default=int(flows.SECRET_OVERLAP / timedelta(hours=1)),
    show_default=True,
    help="How long the old secret works on; 0 ends it now.",
)
@command
def rotate_secret(client_id: str, overlap_hours: int, as_json: bool) -> None:
    secret = flows.rotate_secret(client_id, overlap=timedelta(hours=overlap_hours))
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


@clients.command("delete", help="Remove a client with its secrets, consents, grants and tokens.")
@click.argument("client_id")
@command
def delete(client_id: str, as_json: bool) -> None:
    flows.delete_client(client_id)
    done(f"Client {client_id} is deleted.", {"client_id": client_id, "deleted": True}, as_json=as_json)


def _whole(client: Client) -> dict[str, Any]:
    now = utcnow()
    return {
        "client_id": client.client_id,
        **flows.settings_of(client),
        "secrets": [
            f"since {secret.created_at:%Y-%m-%d %H:%M}"
            + (f", until {secret.expires_at:%Y-%m-%d %H:%M}" if secret.expires_at else "")
            for secret in client.secrets
            if secret.expires_at is None or secret.expires_at > now
        ],
        "created_at": client.created_at,
        "updated_at": client.updated_at,
    }
