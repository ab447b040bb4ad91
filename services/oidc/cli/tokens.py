"""tokens: what clients were issued."""

import click
from flask.cli import AppGroup

from libs.commands import command, done
from services.oidc.flows.revoking import revoke_tokens

tokens = AppGroup("tokens", help="What clients were issued.")


@tokens.command(
    "revoke", help="End every grant of a person: refresh and access tokens; sign-in sessions stay."
)
@click.option("--user", "email", required=True, help="The person's e-mail address.")
@command
def revoke(email: str, as_json: bool) -> None:
    sub, ended = revoke_tokens(email=email)
    done(f"{ended} grant(s) of {email} have ended.", {"sub": sub, "grants_ended": ended}, as_json=as_json)
