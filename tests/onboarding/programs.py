"""Programs at onboarding's API: each bears an access token that the issuer's own code made with its own keys."""

import time
import uuid
from typing import Any

from flask import Flask

from tests.account.programs import Program, deliver_keys
from tests.pages import ORIGIN

EVERYTHING = "applications:read applications:write"


class Programs:
    """Makes programs for onboarding, which knows the issuer's keys."""

    def __init__(self, app: Flask, oidc_app: Flask):
        self.app, self.oidc_app = app, oidc_app
        deliver_keys(app, oidc_app)

    def of_person(self, *roles: str, scope: str = EVERYTHING, **changes: Any) -> Program:
        """Of a person with these roles, who has just signed in."""
        now = int(time.time())
        person = {"sub": str(uuid.uuid4()), "sid": str(uuid.uuid4()), "roles": list(roles), "auth_time": now}
        return self._bearing({**person, "scope": scope, **changes})

    def of_client(self, *, scope: str = EVERYTHING) -> Program:
        """Of a client that acts for itself."""
        return self._bearing({"sub": "a-program", "scope": scope})

    def of_nobody(self) -> Program:
        """Without a token of ours."""
        return Program(self.app, "no-token")

    def _bearing(self, claims: dict[str, Any]) -> Program:
        from services.oidc.protocol.tokens import sign

        now = int(time.time())
        whole = {
            "iss": ORIGIN,
            "aud": f"{ORIGIN}/api",
            "client_id": "a-program",
            "iat": now + 1,
            "exp": now + 600,
            "jti": str(uuid.uuid4()),
            **claims,
        }
        with self.oidc_app.app_context():
            return Program(self.app, sign(whole, alg="ES256", token_type="at+jwt"))
