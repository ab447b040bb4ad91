"""The runbook's blocks about keys that sign tokens."""

import json

import requests

from tests.runbook.conftest import Operator
from tests.runbook.expected import Expected
from tests.running import wait_until

_suspected: set[str] = set()
"""Keys that a block is expected to withdraw."""


def a_key_that_verifies(operator: Operator) -> dict[str, str]:
    listed = json.loads(operator.command("oidc", "keys", "list", "--json"))
    return {"KID": next(key["kid"] for key in listed if key["state"] in ("previous", "next"))}


def left_no_file(operator: Operator, said: str) -> None:
    assert not list(operator.bin.glob("*.pem"))
    assert "BEGIN" in operator.read_secrets()["OIDC_PRIVATE_KEY_PEM"]


def is_mine(operator: Operator, said: str) -> None:
    """The imported key signs, and is published."""
    listed = json.loads(operator.command("oidc", "keys", "list", "--json"))
    [signing] = [key for key in listed if key["state"] == "current" and key["alg"] == "RS256"]
    assert signing["is_imported"]
    wait_until(lambda: signing["kid"] in published(operator))


def published(operator: Operator) -> set[str]:
    answer = requests.get(f"{operator.house.origin}/.well-known/jwks.json", timeout=30)
    return {key["kid"] for key in answer.json()["keys"]}


def suspects(operator: Operator) -> None:
    _suspected.update(published(operator))


def are_gone(operator: Operator, said: str) -> None:
    assert all(kid in said for kid in _suspected)
    wait_until(lambda: published(operator).isdisjoint(_suspected))


ABOUT_SIGNING_KEYS = {
    "OIDC signing keys / 1": Expected((r"kid +\| alg +\| state", r"\| RS256 \| next +\|", r"^[4-9]$")),
    "OIDC signing keys / 2": Expected(
        (r"RS256: \S+ signs from now on, instead of", r"the replaced keys verify until")
    ),
    "A signing key of your own / 1": Expected((r"writing RSA key",)),
    "A signing key of your own / 2": Expected((r"patched$",), after=left_no_file),
    "A signing key of your own / 3": Expected((r"successfully rolled out",)),
    "A signing key of your own / 4": Expected((r"^[4-9]$", r"\| RS256 \| next +\| .*\| True$")),
    "A signing key of your own / 5": Expected(
        (r"RS256: \S+ signs from now on", r"until .* a client may hold keys from before it"), after=is_mine
    ),
    "Signing keys in the hands of others / 1": Expected(
        (r"RS256: \S+ signs from now on", r"Until .* clients may hold our keys", r"people stay signed in"),
        suspects,
        are_gone,
    ),
    "Signing keys in the hands of others / 2": Expected((r"is retired",), a_key_that_verifies),
}
