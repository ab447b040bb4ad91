"""Programs at notification's API: each bears an access token that the issuer's own code made with its own keys."""

from typing import Any

from flask import Flask

from tests.account.programs import Program, deliver_keys
from tests.oidc.programs import bearing as at_the_issuer

EVERYTHING = "messages:read messages:write"


def bearing(app: Flask, oidc_app: Flask, *roles: str, scope: str = EVERYTHING, **more: Any) -> Program:
    """The program of a person with these roles, or with `is_person=False` of a client that acts for itself."""
    deliver_keys(app, oidc_app)
    return Program(app, at_the_issuer(oidc_app, *roles, scope=scope, **more).token)
