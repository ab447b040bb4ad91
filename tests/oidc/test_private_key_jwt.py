"""private_key_jwt: an assertion that a client signed, at every endpoint, once, and nothing that only looks like one."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from flask import Flask
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from libs.people.sessions import Session
from tests.oidc.relying_party import RelyingParty, basic, error_of, http
from tests.oidc.signing_party import ASSERTION_TYPE, SigningParty, make_key, public
from tests.oidc.test_client_authentication import is_refused
from tests.pages import ORIGIN, Browser

Make = Callable[..., SigningParty]
PATHS = ("/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/par")
FORM = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"}


def try_it(party: SigningParty, path: str = "/oauth2/token", **options: Any) -> TestResponse:
    right = party.parameters() if path == "/oauth2/par" else FORM
    return party.post(path, {**right, **options.pop("form", {})}, **options)


def is_accepted(response: TestResponse) -> bool:
    return response.status_code in (200, 201) or error_of(response) == (400, "invalid_grant")


@pytest.mark.parametrize("path", PATHS)
def test_a_signed_assertion_proves_the_client_everywhere(signer: SigningParty, path: str) -> None:
    assert is_accepted(try_it(signer, path))


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
def test_each_algorithm_for_clients_works(make_signer: Make, alg: str) -> None:
    party = make_signer(alg=alg, token_endpoint_auth_signing_alg=alg)
    assert is_accepted(try_it(party))
    assert is_accepted(try_it(party, assertion=party.assertion(header={"kid": None}))), "there is one key"


def test_ed25519_is_known_by_both_its_names(make_signer: Make) -> None:
    """RFC 9864 §2.2; libraries have begun to use the new one."""
    for registered in ("EdDSA", "Ed25519", None):
        party = make_signer(alg="EdDSA", token_endpoint_auth_signing_alg=registered)
        assert is_accepted(try_it(party))
        assert is_accepted(try_it(party, assertion=party.assertion(alg="Ed25519")))


def test_a_whole_sign_in(browser: Browser, person: Session, signer: SigningParty) -> None:
    tokens = signer.tokens(browser)
    assert signer.refresh(tokens["refresh_token"]).status_code == 200
    assert signer.introspect(tokens["access_token"])["active"] is True


def test_an_assertion_of_authlibs_client_is_understood(make_signer: Make) -> None:
    key = RSAKey.generate_key(2048, {"kid": "authlib"})
    party = make_signer(alg="RS256", key=key)
    session = OAuth2Session(client_id=party.client_id, client_secret=key)
    assertion = PrivateKeyJWT().sign(session, f"{ORIGIN}/oauth2/token")
    assert is_accepted(try_it(party, assertion=assertion))


@pytest.mark.parametrize("path", PATHS)
def test_it_may_be_addressed_to_the_issuer_the_token_endpoint_or_the_one_called(
    signer: SigningParty, path: str
) -> None:
    for aud in (ORIGIN, [ORIGIN], f"{ORIGIN}/oauth2/token", f"{ORIGIN}{path}", [ORIGIN, f"{ORIGIN}{path}"]):
        assert is_accepted(try_it(signer, path, assertion=signer.assertion(aud=aud))), aud


NOW = int(time.time())
WRONG: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "https://evil.test"},
    "one of two audiences is another's": {"aud": [ORIGIN, "https://evil.test/token"]},
    "the audience with a slash": {"aud": ORIGIN + "/"},
    "another endpoint of ours": {"aud": f"{ORIGIN}/oauth2/authorize"},
    "no audience": {"aud": None},
    "an empty list": {"aud": []},
    "an audience that is a number": {"aud": 1},
    "an audience in a list in a list": {"aud": [[ORIGIN]]},
    "iss is another": {"iss": "somebody"},
    "no iss": {"iss": None},
    "iss a list": {"iss": ["x"]},
    "no exp": {"exp": None},
    "expired": {"exp": NOW - 600},
    "far future": {"exp": NOW + 10 * 3600},
    "exp a string": {"exp": str(NOW + 60)},
    "exp true": {"exp": True},
    "exp infinite": {"exp": 10**400},
    "exp negative": {"exp": -1},
    "not yet": {"nbf": NOW + 3600},
    "issued in the future": {"iat": NOW + 3600},
    "iat null": {"iat": "null"},
    "no jti": {"jti": None},
    "jti a number": {"jti": 1},
    "jti empty": {"jti": ""},
    "jti endless": {"jti": "x" * 1000},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_claim_is_refused_with_the_usual_words(
    signer: SigningParty, wrong: str, log_text: Callable[[], str]
) -> None:
    response = try_it(signer, assertion=signer.assertion(**WRONG[wrong]))
    assert is_refused(response)
    unknown = try_it(signer, assertion=signer.assertion(iss="nobody", sub="nobody"))
    assert response.json == unknown.json
    assert "the assertion is refused: " in log_text()


def test_ten_seconds_of_clock_difference_are_tolerated(signer: SigningParty) -> None:
    now = int(time.time())
    assert is_accepted(try_it(signer, assertion=signer.assertion(exp=now - 5)))
    assert is_accepted(try_it(signer, assertion=signer.assertion(iat=now + 8, nbf=now + 8, exp=now + 90)))


def test_an_assertion_works_once_at_whatever_endpoint(signer: SigningParty) -> None:
    assertion = signer.assertion(aud=ORIGIN)
    assert is_accepted(try_it(signer, assertion=assertion))
    for path in PATHS:
        assert is_refused(try_it(signer, path, assertion=assertion))
    jti = "the same id"
    assert is_accepted(try_it(signer, assertion=signer.assertion(jti=jti)))
    assert is_refused(try_it(signer, assertion=signer.assertion(jti=jti)))


def test_two_clients_may_use_the_same_jti(signer: SigningParty, make_signer: Make) -> None:
    other = make_signer()
    assert is_accepted(try_it(signer, assertion=signer.assertion(jti="same")))
    assert is_accepted(try_it(other, assertion=other.assertion(jti="same")))


def test_twenty_uses_side_by_side_are_one(signer: SigningParty) -> None:
    assertion, answers, barrier = signer.assertion(), [], threading.Barrier(20)

    def use() -> None:
        barrier.wait()
        answers.append(try_it(signer, assertion=assertion))

    threads = [threading.Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [400, *[401] * 19]


def test_a_refused_assertion_is_not_used_up(signer: SigningParty) -> None:
    jti = "kept for the right one"
    assert is_refused(try_it(signer, assertion=signer.assertion(jti=jti, key=make_key())))
    assert is_accepted(try_it(signer, assertion=signer.assertion(jti=jti)))


def test_the_keys_of_another_client_prove_nothing(signer: SigningParty, make_signer: Make) -> None:
    other = make_signer()
    assert is_refused(try_it(signer, assertion=signer.assertion(key=other.key)))


def test_the_algorithm_is_the_one_that_was_registered(make_signer: Make) -> None:
    rsa, ec = make_key("RS256", "rsa"), make_key("ES256", "ec")
    party = make_signer(key=rsa, jwks=public(rsa, ec), token_endpoint_auth_signing_alg="PS256")
    assert is_accepted(try_it(party, assertion=party.assertion(alg="PS256")))
    assert is_refused(try_it(party, assertion=party.assertion(alg="RS256")))
    assert is_refused(try_it(party, assertion=party.assertion(key=ec, alg="ES256")))


def test_without_a_kid_there_must_be_no_choice(make_signer: Make) -> None:
    first, second = make_key(kid="a"), make_key(kid="b")
    party = make_signer(key=first, jwks=public(first, second))
    assert is_refused(try_it(party, assertion=party.assertion(header={"kid": None})))
    assert is_accepted(try_it(party))


@pytest.mark.parametrize("path", PATHS)
def test_no_other_method_works_for_it_and_it_works_for_no_other_client(
    client: RelyingParty, make_client: Callable[..., RelyingParty], signer: SigningParty, path: str
) -> None:
    assert is_refused(signer.post(path, {**FORM, "client_id": signer.client_id}, credentials=False))
    header = {"Authorization": basic(signer.client_id, signer.secret or "x")}
    assert is_refused(http(signer.app).post(path, base_url=ORIGIN, data=FORM, headers=header))
    key = make_key()
    for other in (make_client(jwks=public(key)), make_client(auth_method="none", jwks=public(key))):
        party = SigningParty(**vars(other), key=key)
        party.auth_method = "private_key_jwt"
        assert is_refused(try_it(party, path))


@pytest.mark.parametrize("path", PATHS)
def test_two_methods_at_once_are_refused(signer: SigningParty, path: str) -> None:
    assert is_refused(try_it(signer, path, form={"client_secret": "x"}))
    header = {"Authorization": basic(signer.client_id, "x")}
    assert is_refused(try_it(signer, path, headers=header))


def test_half_an_assertion_is_no_public_client(make_client: Callable[..., RelyingParty]) -> None:
    public_client = make_client(auth_method="none")
    for half in ({"client_assertion": "x"}, {"client_assertion_type": ASSERTION_TYPE}):
        assert is_refused(public_client.post("/oauth2/token", {**FORM, **half}))


def test_the_type_of_the_assertion_and_the_id_in_the_form_must_be_right(
    signer: SigningParty, client: RelyingParty
) -> None:
    saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"
    assert is_refused(try_it(signer, form={"client_assertion_type": saml}))
    assert is_refused(try_it(signer, form={"client_assertion_type": None}))
    assert is_refused(try_it(signer, form={"client_id": client.client_id}))
    assert is_refused(try_it(signer, form={"client_id": "nobody"}))
    assert is_accepted(try_it(signer, form={"client_id": signer.client_id}))


def test_a_request_object_is_no_assertion(signer: SigningParty) -> None:
    assert is_refused(try_it(signer, assertion=signer.request_object()))
    typed = signer.assertion(header={"typ": "oauth-authz-req+jwt"})
    assert is_refused(try_it(signer, assertion=typed))
    for right in ("JWT", "jwt", "client-authentication+jwt"):
        assert is_accepted(try_it(signer, assertion=signer.assertion(header={"typ": right})))


def test_a_disabled_client_is_refused(app: Flask, signer: SigningParty) -> None:
    from services.oidc.flows.clients import update_client

    with app.app_context():
        update_client(signer.client_id, is_enabled=False)
    assert is_refused(try_it(signer))
