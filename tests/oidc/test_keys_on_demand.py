"""Keys of an algorithm come with whoever asks for it first, and whatever is offered can be signed."""

from collections.abc import Callable

import pytest
from flask import Flask
from joserfc import jwt
from joserfc.jwk import KeySet

from libs.people.bearer.tokens import KINDS, REGISTRIES
from libs.people.sessions import Session
from libs.service import parts_of
from services.oidc.protocol.keys import keys
from tests.oidc.key_tools import (
    DAY,
    beat,
    ensure,
    execute,
    header_of,
    is_read_by_apis,
    jwks,
    kid_of,
    pass_time,
    sign,
    states,
)
from tests.oidc.relying_party import RelyingParty
from tests.pages import Browser

pytestmark = pytest.mark.usefixtures("no_keys")


@pytest.mark.parametrize("alg", ["EdDSA", "PS256"])
def test_the_first_client_that_asks_for_an_algorithm_gets_keys_of_it_that_sign_at_once(
    app: Flask, browser: Browser, person: Session, make_client: Callable[..., RelyingParty], alg: str
) -> None:
    assert alg not in {key["alg"] for key in jwks(app)}
    make_client(id_token_signed_response_alg=alg, is_enabled=False)
    assert alg not in {key["alg"] for key in jwks(app)}, "nobody who is let in has asked"
    client = make_client(id_token_signed_response_alg=alg, access_token_signing_alg=alg)
    assert sorted(states(app, alg).values()) == ["current", "next"]
    tokens = client.tokens(browser)
    for token in (tokens["id_token"], tokens["access_token"]):
        assert header_of(token)["alg"] == alg
        jwt.decode(token, KeySet.import_key_set({"keys": jwks(app)}), registry=REGISTRIES[alg])
    assert client.userinfo(tokens["access_token"]).status_code == 200
    make_client(id_token_signed_response_alg=alg)
    assert len(states(app, alg)) == 2
    pass_time(app, 90 * DAY)
    beat(app)
    assert sorted(states(app, alg).values()) == ["current", "next", "previous"], "it rotates as the others do"


def test_a_client_that_changes_its_algorithm_gets_keys_of_it(
    app: Flask, make_client: Callable[..., RelyingParty]
) -> None:
    from services.oidc.flows.clients import update_client

    client = make_client()
    ensure(app)
    with app.app_context():
        update_client(client.client_id, userinfo_signed_response_alg="EdDSA")
    assert header_of(sign(app, "EdDSA"))["kid"] == kid_of(app, "EdDSA", "current")


def test_a_start_finds_the_algorithms_of_clients_that_are_there_already(
    app: Flask, make_client: Callable[..., RelyingParty]
) -> None:
    client = make_client()
    statement = "UPDATE clients SET access_token_signing_alg = 'PS256' WHERE client_id = '{}'"
    execute(app, statement.format(client.client_id))
    ensure(app)
    assert kid_of(app, "PS256", "current")
    execute(app, "UPDATE clients SET access_token_signing_alg = 'ES256'")


def test_whatever_we_offer_can_be_signed_even_when_nobody_has_prepared_it(app: Flask) -> None:
    from services.oidc.flows.clients.metadata import SIGNING_ALGORITHMS

    ensure(app)
    assert set(SIGNING_ALGORITHMS) == set(KINDS)
    for alg in SIGNING_ALGORITHMS:
        token = sign(app, alg)
        jwt.decode(token, KeySet.import_key_set({"keys": jwks(app)}), registry=REGISTRIES[alg])


def test_a_key_made_in_a_transaction_that_fails_is_nobodys(app: Flask) -> None:
    ensure(app)
    with app.app_context(), pytest.raises(RuntimeError), parts_of(app).db.transaction():
        lost = keys.signing_key("EdDSA").kid
        raise RuntimeError
    assert "EdDSA" not in {key["alg"] for key in jwks(app)}
    assert header_of(sign(app, "EdDSA"))["kid"] != lost


def test_our_own_apis_take_access_tokens_of_every_algorithm(
    app: Flask,
    account_app: Flask,
    browser: Browser,
    person: Session,
    make_client: Callable[..., RelyingParty],
) -> None:
    for alg in KINDS:
        client = make_client(access_token_signing_alg=alg, scopes=("openid", "me"))
        token = client.tokens(browser, scope="openid me")["access_token"]
        assert is_read_by_apis(app, account_app, token)
