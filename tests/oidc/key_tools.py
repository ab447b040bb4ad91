"""Signing keys as tests look at them, and moments that have passed for them."""

import json
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask
from joserfc import jws

from libs.messaging.events import KeysChanged
from libs.people.bearer.tokens import ACCESS_TOKEN_TYPE, read_token
from libs.service import parts_of
from tests.conftest import receive, recorded, run_command
from tests.oidc.relying_party import http
from tests.pages import ORIGIN

DAY = timedelta(days=1)


def look_again() -> None:
    """The next look of this process is due, whatever its clock says."""
    from services.oidc.protocol.keys import keys

    with keys._lock:  # a look under way, for health say, would call what it read before the latest
        keys._looked_at = float("-inf")


def jwks(app: Flask) -> list[dict[str, Any]]:
    """What a client gets that asks now."""
    look_again()
    document = http(app).get("/.well-known/jwks.json", base_url=ORIGIN).json
    return list(document["keys"])


def kids(app: Flask) -> set[str]:
    return {key["kid"] for key in jwks(app)}


def listed(app: Flask, alg: str | None = None) -> list[dict[str, Any]]:
    """The keys as the command lists them."""
    done = run_command(app, "keys", "list", "--json")
    assert done.exit_code == 0, done.output
    return [row for row in json.loads(done.output) if alg in (None, row["alg"])]


def kid_of(app: Flask, alg: str, state: str) -> str:
    """The only key of an algorithm in a state."""
    [kid] = [row["kid"] for row in listed(app, alg) if row["state"] == state]
    return str(kid)


def states(app: Flask, alg: str) -> dict[str, str]:
    return {row["kid"]: row["state"] for row in listed(app, alg)}


def beat(app: Flask) -> None:
    """What the clock does: the task runs."""
    with app.app_context():
        parts_of(app).tasks.functions["oidc.rotate_keys"]()
    look_again()


def ensure(app: Flask) -> int:
    """What a process begins with. Returns how many keys came."""
    from services.oidc.flows.keys import ensure_keys

    with app.app_context():
        made = ensure_keys()
    look_again()
    return made


def pass_time(app: Flask, time: timedelta) -> None:
    """So much time goes by for every key."""
    columns = ("created_at", "activated_at", "replaced_at", "retired_at", "withdrawn_at")
    moved = ", ".join(f"{name} = {name} - :time" for name in columns)
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(sa.text(f"UPDATE signing_keys SET {moved}"), {"time": time})
    look_again()


def execute(app: Flask, statement: str) -> None:
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(sa.text(statement))
    look_again()


def rows(app: Flask) -> list[Any]:
    with app.app_context():
        return list(
            parts_of(app).db.fetch_all(sa.text("SELECT * FROM signing_keys ORDER BY created_at, kid"))
        )


def header_of(token: str) -> dict[str, Any]:
    return dict(jws.extract_compact(token.encode()).headers())


def sign(app: Flask, alg: str, **claims: Any) -> str:
    """A token of the issuer's as any of its processes would make it now."""
    from services.oidc.protocol.tokens import ID_TOKEN_TYPE, sign

    look_again()
    with app.app_context():
        return sign({"iss": ORIGIN, **claims}, alg=alg, token_type=ID_TOKEN_TYPE)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def is_read_by_apis(app: Flask, account_app: Flask, access_token: str) -> bool:
    """Whether our own APIs take the token for one of the issuer's, once they know what the issuer has told."""
    for event in recorded(app, KeysChanged):
        assert receive(account_app, event, "oidc") == "handled"
    with account_app.app_context():
        find_key = parts_of(account_app).issuer_keys.find
        claims = read_token(access_token, token_type=ACCESS_TOKEN_TYPE, issuer=ORIGIN, find_key=find_key)
    return claims is not None
