"""Programs at the issuer's own API: each bears an access token that its own code made with its own keys."""

import time
import uuid
from typing import Any

from flask import Flask

from tests.account.programs import Program
from tests.pages import ORIGIN

EVERYTHING = "clients:read clients:write"


def bearing(
    app: Flask, *roles: str, scope: str = EVERYTHING, is_person: bool = True, **changes: Any
) -> Program:
    """The program of a person with these roles, or of a client that acts for itself."""
    from services.oidc.protocol.tokens import sign

    now = int(time.time())
    person = {"sub": str(uuid.uuid4()), "sid": str(uuid.uuid4()), "roles": list(roles), "auth_time": now}
    claims = {
        "iss": ORIGIN,
        "aud": f"{ORIGIN}/api",
        "client_id": "a-program",
        "scope": scope,
        "iat": now + 1,
        "exp": now + 600,
        "jti": str(uuid.uuid4()),
        **(person if is_person else {"sub": "a-program"}),
        **changes,
    }
    with app.app_context():
        known = {name: value for name, value in claims.items() if value is not None}
        return Program(app, sign(known, alg="ES256", token_type="at+jwt"))
