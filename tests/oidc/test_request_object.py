"""Request objects, by value and by reference: what is in them is the request, and nothing else is believed."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from libs.people.sessions import Session
from services.oidc.protocol import client_documents
from services.oidc.protocol.authorization import request_object
from tests.oidc.relying_party import REDIRECT_URI
from tests.oidc.signing_party import ClientSite, SigningParty, hash_of, make_key, public, sign, unsigned
from tests.oidc.test_authorization_checks import shown, told
from tests.pages import ORIGIN, Browser

Make = Callable[..., SigningParty]
PATH = "/request.jwt"


@pytest.fixture
def party(make_signer: Make) -> SigningParty:
    """A client with a secret, and keys for its requests."""
    return make_signer(auth_method="client_secret_basic")


def ask(party: SigningParty, browser: Browser, text: str, **outside: Any) -> Browser:
    """Send the browser with a request object, beside it only what is named."""
    values = {"client_id": party.client_id, "request": text, **outside}
    browser.get("/oauth2/authorize", query_string={k: v for k, v in values.items() if v is not None})
    return browser


def is_accepted(browser: Browser) -> bool:
    return browser.status == 303 and (
        browser.location.startswith("/oauth2/authorize/") or "code=" in browser.location
    )


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_signed_request_leads_to_a_code(
    browser: Browser, person: Session, make_signer: Make, alg: str
) -> None:
    party = make_signer(alg=alg, auth_method="client_secret_basic", request_object_signing_alg=alg)
    text = party.request_object(state="from the object")
    nothing = dict.fromkeys(party.parameters(), None)
    answer = party.answer(browser, **{**nothing, "client_id": party.client_id, "request": text})
    assert answer["state"] == "from the object"
    assert party.redeem(answer["code"]).status_code == 200


def test_what_stands_outside_counts_for_nothing(
    browser: Browser, person: Session, party: SigningParty
) -> None:
    """RFC 9101 §6.3; as the Foundation's plans send it, with another redirect_uri and state outside."""
    text = party.request_object(scope="openid", nonce="inner-nonce", state=None)
    answer = party.answer(
        browser,
        request=text,
        redirect_uri="https://evil.test/",
        state="outer",
        scope="openid profile",
        nonce="outer-nonce",
        response_type="token",
    )
    assert "state" not in answer
    tokens = party.redeem(answer["code"]).json
    assert tokens["scope"] == "openid"
    body = tokens["id_token"].split(".")[1]
    import base64

    assert json.loads(base64.urlsafe_b64decode(body + "=="))["nonce"] == "inner-nonce"


@pytest.mark.parametrize("name", ["redirect_uri", "response_type", "scope", "code_challenge"])
def test_a_parameter_is_not_made_up_by_one_outside(browser: Browser, party: SigningParty, name: str) -> None:
    text = party.request_object(**{name: None})
    outside = {key: value for key, value in party.parameters().items() if key != "client_id"}
    ask(party, browser, text, **outside)
    assert not is_accepted(browser)


def test_a_wrong_request_in_an_object_is_refused_like_any(browser: Browser, party: SigningParty) -> None:
    ask(party, browser, party.request_object(redirect_uri="https://evil.test/"), redirect_uri=REDIRECT_URI)
    assert shown(browser)
    ask(party, browser, party.request_object(response_type="token", state="inner"), state="outer")
    assert told(browser)["error"] == "unsupported_response_type"
    assert told(browser)["state"] == "inner"
    ask(party, browser, party.request_object(state="a\x00b"))
    assert shown(browser)
    ask(party, browser, party.request_object(state="half \ud800 a character"))
    assert shown(browser)
    ask(party, browser, party.request_object(max_age="soon"))
    assert told(browser)["error"] == "invalid_request"


def test_numbers_and_objects_are_understood(browser: Browser, person: Session, party: SigningParty) -> None:
    for right in ({"max_age": 300}, {"claims": {"id_token": {"email": None}}}, {"display": None}):
        assert is_accepted(ask(party, browser, party.request_object(**right))), right
    for wrong in (
        {"max_age": -1},
        {"max_age": True},
        {"scope": ["openid"]},
        {"redirect_uri": [REDIRECT_URI]},
    ):
        assert not is_accepted(ask(party, browser, party.request_object(**wrong))), wrong


NOW = int(time.time())
"""When the run began: what is wrong by it stays wrong however long that takes."""
WRONG: dict[str, dict[str, Any]] = {
    "no client_id": {"client_id": None},
    "another client_id": {"client_id": "somebody"},
    "client_id a list": {"client_id": ["x"]},
    "another iss": {"iss": "https://evil.test"},
    "another aud": {"aud": "https://evil.test"},
    "aud a number": {"aud": 4},
    "expired": {"exp": NOW - 600},
    "exp a string": {"exp": "soon"},
    "not yet": {"nbf": NOW + 36_000},
    "issued in the future": {"iat": NOW + 36_000},
    "an object within": {"request": "x.y.z"},
    "an address within": {"request_uri": "https://rp.test/r"},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_object_with_a_wrong_claim_is_shown_here(
    browser: Browser, party: SigningParty, wrong: str, log_text: Callable[[], str]
) -> None:
    """Even with a registered redirect_uri outside: nothing of such a request is proven."""
    ask(party, browser, party.request_object(**WRONG[wrong]), redirect_uri=REDIRECT_URI)
    assert shown(browser)
    assert "invalid_request_object" in log_text()


def test_iss_and_aud_may_be_left_out_and_aud_may_name_several(browser: Browser, party: SigningParty) -> None:
    assert is_accepted(ask(party, browser, party.request_object(iss=None, aud=None)))
    assert is_accepted(ask(party, browser, party.request_object(aud=[ORIGIN, "https://other.test"])))
    now = int(time.time())
    times = {"exp": now + 300, "nbf": now - 5, "iat": now, "jti": "any"}
    assert is_accepted(ask(party, browser, party.request_object(**times)))


def test_an_assertion_is_no_request(browser: Browser, party: SigningParty) -> None:
    """RFC 9101 §10.8: neither by its sub nor by its typ."""
    assert shown(ask(party, browser, party.request_object(sub=party.client_id)))
    for kind in ("client-authentication+jwt", "at+jwt", "logout+jwt", "dpop+jwt", ""):
        assert shown(ask(party, browser, party.request_object(header={"typ": kind}))), kind
    for kind in ("oauth-authz-req+jwt", "JWT", "application/oauth-authz-req+jwt"):
        assert is_accepted(ask(party, browser, party.request_object(header={"typ": kind}))), kind


def test_an_object_of_another_client_is_refused(
    browser: Browser, party: SigningParty, make_signer: Make
) -> None:
    other = make_signer(auth_method="client_secret_basic")
    assert shown(ask(party, browser, other.request_object()))
    assert shown(ask(party, browser, party.request_object(key=other.key)))


def test_a_client_without_keys_signs_nothing(browser: Browser, make_client: Callable[..., Any]) -> None:
    party = SigningParty(**vars(make_client()), key=make_key())
    assert shown(ask(party, browser, party.request_object()))


def test_unsigned_objects_are_for_clients_registered_so(
    browser: Browser, person: Session, party: SigningParty, make_signer: Make
) -> None:
    free = make_signer(auth_method="client_secret_basic", request_object_signing_alg="none")
    assert free.code(browser, request=unsigned(free.parameters(state="inner")))
    assert is_accepted(ask(free, browser, free.request_object())), "it may sign, too"
    assert shown(ask(party, browser, unsigned(party.parameters())))
    for alg in ("None", "NONE", "nOnE", ""):
        assert shown(ask(free, browser, unsigned(free.parameters(), alg=alg)))
    assert shown(ask(free, browser, unsigned(free.parameters()) + "AAAA"))
    assert shown(ask(free, browser, unsigned({**free.parameters(), "client_id": party.client_id})))


def test_a_client_that_must_sign_is_held_to_it(browser: Browser, person: Session, make_signer: Make) -> None:
    strict = make_signer(auth_method="client_secret_basic", require_signed_request_object=True)
    strict.send(browser)
    assert told(browser)["error"] == "invalid_request"
    assert shown(ask(strict, browser, unsigned(strict.parameters())))
    assert is_accepted(ask(strict, browser, strict.request_object()))


def test_the_registered_algorithm_is_the_only_one(browser: Browser, make_signer: Make) -> None:
    rsa, ec = make_key("RS256", "rsa"), make_key("ES256", "ec")
    party = make_signer(
        key=rsa, jwks=public(rsa, ec), auth_method="client_secret_basic", request_object_signing_alg="PS256"
    )
    assert is_accepted(ask(party, browser, party.request_object(alg="PS256")))
    assert shown(ask(party, browser, party.request_object(alg="RS256")))
    assert shown(ask(party, browser, party.request_object(key=ec, alg="ES256")))


def test_both_ways_at_once_and_one_way_twice_are_refused(browser: Browser, party: SigningParty) -> None:
    text = party.request_object()
    assert shown(ask(party, browser, text, request_uri="https://rp.test/r"))
    assert shown(ask(party, browser, [text, text]))  # type: ignore[arg-type]
    assert shown(ask(party, browser, text, client_id=[party.client_id, "x"]))
    party.send(browser, request=text, scope=["openid", "email"])
    assert told(browser)["error"] == "invalid_request"


# -- by reference ------------------------------------------------------------------------------------------------


@pytest.fixture
def referring(site: ClientSite, make_signer: Make) -> SigningParty:
    """A client that registered where its request objects are."""
    return make_signer(auth_method="client_secret_basic", request_uris=[site.url(PATH), site.url("/b#old")])


def refer(party: SigningParty, browser: Browser, uri: str, **outside: Any) -> Browser:
    return ask(party, browser, None, request_uri=uri, **outside)  # type: ignore[arg-type]


def test_a_request_is_fetched_from_where_it_was_registered(
    browser: Browser, person: Session, site: ClientSite, referring: SigningParty
) -> None:
    uri = site.show(PATH, referring.request_object(state="inner") + "\n")
    answer = referring.answer(browser, request_uri=uri, state="outer", redirect_uri="https://evil.test/")
    assert answer["state"] == "inner"
    assert referring.redeem(answer["code"]).status_code == 200
    assert site.asked == [PATH]
    assert is_accepted(refer(referring, browser, uri))
    assert len(site.asked) == 2, "it may have changed"


def test_its_hash_says_what_must_be_there_so_that_it_is_fetched_once(
    browser: Browser, site: ClientSite, referring: SigningParty
) -> None:
    text = referring.request_object()
    uri = site.show("/b", text)
    for _ in range(3):
        assert is_accepted(refer(referring, browser, f"{uri}#{hash_of(text)}"))
    assert site.asked == ["/b"]
    changed = referring.request_object(state="changed")
    site.show("/b", changed)
    assert is_accepted(refer(referring, browser, f"{uri}#{hash_of(changed)}"))
    assert is_accepted(refer(referring, browser, f"{uri}#a-name-and-no-hash"))


def test_a_hash_of_something_else_is_no_error_and_nothing_is_remembered_by_it(
    browser: Browser, site: ClientSite, referring: SigningParty
) -> None:
    """The Foundation's plans register addresses before they know what will be there."""
    uri = site.show("/b", referring.request_object())
    for _ in range(2):
        assert is_accepted(refer(referring, browser, f"{uri}#{hash_of('something else')}"))
    assert site.asked == ["/b", "/b"]


def test_what_was_fetched_is_remembered_in_bounds(
    browser: Browser, site: ClientSite, referring: SigningParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_object, "MOST_REMEMBERED", 2)
    for number in range(4):
        text = referring.request_object(state=str(number))
        assert is_accepted(refer(referring, browser, f"{site.show(PATH, text)}#{hash_of(text)}"))
    assert len(request_object._remembered) <= 2


@pytest.mark.parametrize(
    "change",
    [
        lambda uri: uri + "?x=1",
        lambda uri: uri + "/",
        lambda uri: uri.replace("request", "%72equest"),
        lambda uri: uri.replace("http", "HTTP"),
        lambda uri: uri.replace("127.0.0.1", "localhost"),
        lambda uri: uri.replace("127.0.0.1", "user@127.0.0.1"),
        lambda uri: "http://169.254.169.254/latest/meta-data",
        lambda uri: "file:///etc/passwd",
        lambda uri: "urn:ietf:params:oauth:request_uri:nobodys",
        lambda uri: "#",
    ],
)
def test_no_other_address_is_fetched(
    browser: Browser, site: ClientSite, referring: SigningParty, change: Callable[[str], str]
) -> None:
    uri = site.show(PATH, referring.request_object())
    assert shown(refer(referring, browser, change(uri), redirect_uri=REDIRECT_URI))
    assert site.asked == []


@pytest.mark.parametrize("answer", [None, b"\xff\xfe", "x" * 20_000, "", "no JWT", "<html>"])
def test_whatever_else_is_there_is_refused(
    browser: Browser, site: ClientSite, referring: SigningParty, answer: Any
) -> None:
    uri = site.url(PATH)
    site.answers[PATH] = answer
    assert shown(refer(referring, browser, uri))


def test_an_address_that_failed_is_left_alone_for_a_moment(
    browser: Browser, site: ClientSite, referring: SigningParty
) -> None:
    uri = site.url(PATH)
    for _ in range(5):
        assert shown(refer(referring, browser, uri))
    assert len(site.asked) == 1
    site.show(PATH, referring.request_object())
    client_documents._failed_at.clear()  # a moment later
    assert is_accepted(refer(referring, browser, uri))


def test_a_registered_address_inside_our_own_network_is_not_fetched(
    app: Flask, browser: Browser, site: ClientSite, referring: SigningParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    from libs.service import parts_of

    parts = parts_of(app)
    monkeypatch.setattr(parts, "settings", dataclasses.replace(parts.settings, OUTBOUND_ALLOWED_HOSTS=()))
    assert shown(refer(referring, browser, site.show(PATH, referring.request_object())))
    assert site.asked == []


def test_a_fetched_object_is_held_to_the_same_rules(
    browser: Browser, site: ClientSite, referring: SigningParty, party: SigningParty
) -> None:
    for text in (
        unsigned(referring.parameters()),
        party.request_object(),
        referring.request_object(exp=NOW - 600),
        sign(referring.parameters(), b"secret", alg="HS256"),
    ):
        assert shown(refer(referring, browser, site.show(PATH, text)))
