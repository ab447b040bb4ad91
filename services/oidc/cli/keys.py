"""keys: what tokens are signed with."""

from flask.cli import AppGroup

from libs.commands import command, show
from services.oidc.flows.keys import list_keys

keys = AppGroup("keys", help="What tokens are signed with.")


@keys.command("list", help="Every key, those that sign first.")
@command
def list_signing_keys(as_json: bool) -> None:
    rows = [
        {
            "kid": key.kid,
            "alg": key.alg,
            "state": key.state,
            "created_at": key.created_at,
            "activated_at": key.activated_at,
            "replaced_at": key.replaced_at,
            "retired_at": key.retired_at,
        }
        for key in list_keys()
    ]
    show(rows, as_json=as_json, empty="No keys.")
