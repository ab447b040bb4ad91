"""registration-tokens: who may register clients over HTTP."""

import uuid
from datetime import timedelta

import click
from flask.cli import AppGroup

from libs.commands import DURATION, command, done, show, show_one
from services.oidc.flows import registration_tokens as flows

registration_tokens = AppGroup(
    "registration-tokens", help="Initial access tokens, with which apps register themselves (RFC 7591)."
)


@registration_tokens.command("create", help="Make a token; it is printed this once.")
@click.option("--note", required=True, help="Whom it is for.")
@click.option("--uses", type=click.IntRange(1, flows.MOST_USES), default=1, show_default=True)
@click.option("--any-number", is_flag=True, help="Any number of clients, instead of --uses.")
@click.option("--expires-in", "lifetime", type=DURATION, default="7d", show_default=True)
@command
def create(note: str, uses: int, any_number: bool, lifetime: timedelta, as_json: bool) -> None:
    row, text = flows.create_registration_token(
        note=note, uses=None if any_number else uses, lifetime=lifetime
    )
    show_one(
        {"id": row.id, "token": text, "uses_left": row.uses_left, "expires_at": row.expires_at},
        as_json=as_json,
    )


@registration_tokens.command("list", help="Every token, newest first.")
@command
def list_tokens(as_json: bool) -> None:
    rows = [
        {
            "id": row.id,
            "note": row.note,
            "state": flows.state_of(row),
            "uses_left": "any" if row.uses_left is None else row.uses_left,
            "created_at": row.created_at,
            "created_by": row.created_by,
            "expires_at": row.expires_at,
        }
        for row in flows.list_registration_tokens()
    ]
    show(rows, as_json=as_json, empty="No tokens.")


@registration_tokens.command("revoke", help="End a token; clients that it registered stay.")
@click.argument("token_id", type=click.UUID)
@command
def revoke(token_id: uuid.UUID, as_json: bool) -> None:
    was_living = flows.revoke_registration_token(token_id)
    sentence = f"Token {token_id} is revoked." if was_living else f"Token {token_id} was revoked before."
    done(sentence, {"id": token_id, "revoked": True}, as_json=as_json)
