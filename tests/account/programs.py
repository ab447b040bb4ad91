"""Programs at account's API: each bears an access token that the issuer's own code made with its own keys."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from flask import Flask
from werkzeug.test import Client, TestResponse

from libs.messaging.events import KeysChanged
from libs.service import parts_of
from tests.conftest import receive, recorded
from tests.pages import ORIGIN


@dataclass
class Program:
    """A client and the token that it bears; no cookies."""

    app: Flask
    token: str = field(repr=False)

    def __call__(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> TestResponse:
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        http = Client(self.app, TestResponse, use_cookies=False)
        return http.open(f"/api/v1{path}", method=method, base_url=ORIGIN, headers=sent, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self("GET", path, **options)


def deliver_keys(account_app: Flask, oidc_app: Flask) -> None:
    """What the issuer published so far arrives at account."""
    from services.oidc.flows.keys import ensure_keys

    with oidc_app.app_context():
        ensure_keys()
    for event in recorded(oidc_app, KeysChanged):
        assert receive(account_app, event, "oidc") == "handled"


def bearing(app: Flask, oidc_app: Flask, person: Any, scope: str = "me", **changes: Any) -> Program:
    """The program of a person, or with None a client that acts for itself."""
    from services.oidc.protocol.tokens import sign

    now = int(time.time())
    claims = {
        "iss": ORIGIN,
        "aud": f"{ORIGIN}/api",
        "sub": person.sub if person else "an-app",
        "client_id": "an-app",
        "scope": scope,
        # Denials have the grain of a second: a test's next step must not fall under one of its own set-up.
        "iat": now + 1,
        "exp": now + 600,
        "auth_time": now if person else None,
        "jti": str(uuid.uuid4()),
        **(_standing(app, person.sub) if person else {}),
        **changes,
    }
    with oidc_app.app_context():
        token = sign(
            {name: value for name, value in claims.items() if value is not None},
            alg="ES256",
            token_type="at+jwt",
        )
    return Program(app, token)


def _standing(app: Flask, sub: str) -> dict[str, Any]:
    """The person's newest session, or one that nobody has, and their roles."""
    query = sa.text(
        "SELECT u.roles, (SELECT s.id FROM sign_in_sessions s WHERE s.user_id = u.id ORDER BY s.id DESC LIMIT 1)"
        " AS sid FROM users u WHERE u.sub = :sub"
    )
    with app.app_context(), parts_of(app).db.engine.connect() as connection:
        row = connection.execute(query, {"sub": sub}).one()
    return {"roles": list(row.roles), "sid": str(row.sid or uuid.uuid4())}
