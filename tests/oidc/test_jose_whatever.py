"""Whatever a client signs, it is accepted or refused, and never an error of ours."""

import random
from typing import Any

from tests.oidc.jose_tricks import Honest
from tests.oidc.signing_party import SigningParty, segment
from tests.pages import ORIGIN, Browser

MEMBERS = ("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "redirect_uri", "scope", "max_age", "claims",
           "state", "nonce", "resource", "request", "request_uri", "registration", "id_token_hint")  # fmt: skip
HEADER = ("alg", "kid", "typ", "x5t", "cty")
VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1e999,
    1.5,
    2**63,
    10**30,
    "",
    "0",
    "x",
    "\x00",
    "\ud800",
    "é" * 30,
    "none",
    [],
    {},
)


def anything(chance: random.Random, depth: int = 2) -> Any:
    """A value of JSON, and some that are nearly of it."""
    kind = chance.randrange(4) if depth else 0
    if kind == 1:
        return [anything(chance, depth - 1) for _ in range(chance.randrange(4))]
    if kind == 2:
        return {str(chance.choice(VALUES)): anything(chance, depth - 1) for _ in range(chance.randrange(3))}
    return chance.choice((*VALUES, ORIGIN, [ORIGIN]))


def test_whatever_a_client_signs_is_accepted_or_refused(signer: SigningParty) -> None:
    """Never an error of ours: in its assertion, in its request, and where the browser brings what was pushed."""
    chance = random.Random(4711)
    for _ in range(150):
        claims = {name: anything(chance) for name in chance.sample(MEMBERS, chance.randrange(1, 4))}
        header = {name: anything(chance) for name in chance.sample(HEADER, chance.choice((0, 0, 1)))}
        _send_signed(signer, claims, header)


def _send_signed(signer: SigningParty, claims: dict[str, Any], header: dict[str, Any]) -> None:
    assertion = Honest(text=signer.assertion(), key=signer.key, address="")
    request = Honest(text=signer.request_object(), key=signer.key, address="")

    def changed(honest: Honest) -> str:
        head = segment({**honest.header, **header})
        return honest.signed_parts(head, segment({**honest.claims, **claims}))

    proven = signer.post("/oauth2/token", {"grant_type": "refresh_token"}, assertion=changed(assertion))
    assert proven.status_code in (400, 401), (claims, header, proven.text)
    pushed = signer.post("/oauth2/par", {"request": changed(request)})
    assert pushed.status_code in (201, 400), (claims, header, pushed.text)
    if pushed.status_code == 201:
        browser = Browser(signer.app)
        values = {"client_id": signer.client_id, "request_uri": pushed.json["request_uri"]}
        browser.get("/oauth2/authorize", query_string=values)
        assert browser.status == 303, browser.text
