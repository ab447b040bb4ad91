"""The keys at a client's jwks_uri: fetched seldom, found anew when they change, kept while it is away."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from services.oidc.protocol import client_documents, client_keys
from services.oidc.protocol.client_keys import read_keys, the_one
from tests.oidc.relying_party import error_of
from tests.oidc.signing_party import ClientSite, SigningParty, make_key, public

Make = Callable[..., SigningParty]
PATH = "/jwks.json"


def is_accepted(party: SigningParty, key: Any = None, **options: Any) -> bool:
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    answer = party.post("/oauth2/token", form, assertion=party.assertion(key=key, **options))
    assert error_of(answer) in ((400, "invalid_grant"), (401, "invalid_client"))
    return answer.status_code == 400


@pytest.fixture
def party(site: ClientSite, make_signer: Make) -> SigningParty:
    """A client whose one key stands at its jwks_uri."""
    key = make_key()
    site.show(PATH, public(key))
    return make_signer(key=key, jwks_uri=site.url(PATH))


def known_of(party: SigningParty) -> Any:
    return client_keys.client_keys._known[party.client_id]


def test_they_are_fetched_once(party: SigningParty, site: ClientSite) -> None:
    assert all(is_accepted(party) for _ in range(5))
    assert site.asked == [PATH]


def test_a_new_key_works_at_its_first_use(party: SigningParty, site: ClientSite) -> None:
    assert is_accepted(party)
    fresh = make_key(kid="k2")
    site.show(PATH, public(fresh))
    assert is_accepted(party, fresh)
    assert len(site.asked) == 2
    assert not is_accepted(party), "and the one that was taken away is gone"


def test_a_flood_of_wild_kids_fetches_once(party: SigningParty, site: ClientSite) -> None:
    assert is_accepted(party)
    for number in range(20):
        assert not is_accepted(party, make_key(kid=f"wild-{number}"))
    assert len(site.asked) == 2
    assert is_accepted(party)


def test_after_a_while_a_kid_that_is_not_there_is_looked_for_again(
    party: SigningParty, site: ClientSite
) -> None:
    assert is_accepted(party)
    fresh = make_key(kid="k2")
    assert not is_accepted(party, fresh)
    site.show(PATH, public(fresh))
    assert not is_accepted(party, fresh)
    known_of(party).looked_at -= client_keys.LOOK_INTERVAL.total_seconds()
    assert is_accepted(party, fresh)


def test_a_key_that_was_taken_away_is_seen_in_ten_minutes(party: SigningParty, site: ClientSite) -> None:
    assert is_accepted(party)
    site.show(PATH, public(make_key(kid="another")))
    assert is_accepted(party)
    known_of(party).fetched_at -= client_keys.KEYS_LIFETIME.total_seconds()
    assert not is_accepted(party)


@pytest.mark.parametrize("answer", [None, "no JSON", "[]", {"keys": "x"}, "[" * 60_000, {}])
def test_while_their_address_is_away_they_serve_on_for_some_hours(
    party: SigningParty, site: ClientSite, answer: Any
) -> None:
    assert is_accepted(party)
    site.answers[PATH] = answer
    known_of(party).fetched_at -= client_keys.KEYS_LIFETIME.total_seconds()
    assert is_accepted(party)
    assert is_accepted(party)
    assert len(site.asked) == 2, "an address that failed is left alone for a moment"
    known_of(party).fetched_at -= client_keys.LONGEST_AWAY.total_seconds()
    assert not is_accepted(party)


def test_an_address_that_comes_back_is_used_again(party: SigningParty, site: ClientSite) -> None:
    right = site.answers.pop(PATH)
    assert not is_accepted(party)
    site.show(PATH, right)
    assert not is_accepted(party)
    client_documents._failed_at.clear()  # a moment later
    assert is_accepted(party)


def test_a_changed_registration_is_seen(app: Flask, party: SigningParty, site: ClientSite) -> None:
    from services.oidc.flows.clients import update_client

    assert is_accepted(party)
    fresh, third = make_key(kid="k2"), make_key(kid="k3")
    with app.app_context():
        update_client(party.client_id, jwks_uri=site.show("/moved.json", public(fresh)))
    assert is_accepted(party, fresh)
    assert not is_accepted(party)
    with app.app_context():
        update_client(party.client_id, jwks_uri=None, jwks=public(third))
    assert is_accepted(party, third)
    assert not is_accepted(party, fresh)
    assert site.asked[:2] == [PATH, "/moved.json"]


def test_an_address_inside_our_own_network_is_not_fetched(
    site: ClientSite, make_signer: Make, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    from libs.service import parts_of

    key = make_key()
    site.show(PATH, public(key))
    party = make_signer(key=key, jwks_uri=site.url(PATH))
    parts = parts_of(app)
    monkeypatch.setattr(parts, "settings", dataclasses.replace(parts.settings, OUTBOUND_ALLOWED_HOSTS=()))
    assert not is_accepted(party)
    assert site.asked == []


def test_too_much_is_not_read(party: SigningParty, site: ClientSite) -> None:
    site.show(PATH, {**public(party.key), "more": "x" * client_keys.MAX_BYTES})
    assert not is_accepted(party)


def test_many_at_once_fetch_once(
    party: SigningParty, site: ClientSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_documents, "_places", threading.BoundedSemaphore(8))
    right, release, results = site.answers[PATH], threading.Event(), []

    def slowly(_: Any) -> Any:
        release.wait(5)
        return right

    site.answers[PATH] = slowly
    threads = [threading.Thread(target=lambda: results.append(is_accepted(party))) for _ in range(8)]
    for thread in threads:
        thread.start()
    while not site.asked:
        time.sleep(0.01)
    release.set()
    for thread in threads:
        thread.join()
    assert results == [True] * 8
    assert site.asked == [PATH]


def test_a_hung_address_holds_nobody_for_long(
    party: SigningParty, site: ClientSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    site.answers[PATH] = lambda _: release.wait(10) and None
    began = time.monotonic()
    try:
        assert not is_accepted(party)
        assert time.monotonic() - began < client_documents.FETCH_TIMEOUT.total_seconds() + 1
        began = time.monotonic()
        assert not is_accepted(party)
        assert time.monotonic() - began < 1, "it is left alone for a moment"
    finally:
        release.set()


def test_slow_addresses_never_tie_up_all_of_a_process(
    party: SigningParty, site: ClientSite, make_signer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_documents, "_places", threading.BoundedSemaphore(1))
    form, release = {"grant_type": "refresh_token", "refresh_token": "x"}, threading.Event()
    site.answers["/hung"] = lambda _: release.wait(10) and None
    assert is_accepted(party)
    key = make_key()
    slow, other = (make_signer(key=key, jwks_uri=site.url(path)) for path in ("/hung", PATH))
    thread = threading.Thread(target=lambda: is_accepted(slow))
    thread.start()
    try:
        while "/hung" not in site.asked:
            time.sleep(0.01)
        began = time.monotonic()
        for waiting in (slow, other):
            answer = waiting.post("/oauth2/token", form)
            assert error_of(answer) == (503, "temporarily_unavailable")
            assert answer.headers["Retry-After"] == "2"
        assert is_accepted(party), "what is known serves on"
        known_of(party).fetched_at -= client_keys.KEYS_LIFETIME.total_seconds()
        assert is_accepted(party), "even when it is a little old"
        assert time.monotonic() - began < 1
    finally:
        release.set()
        thread.join()


def test_the_process_remembers_a_bounded_number_of_clients(
    make_signer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_keys, "MOST_CLIENTS", 3)
    parties = [make_signer() for _ in range(5)]
    assert all(is_accepted(party) for party in parties)
    assert len(client_keys.client_keys._known) == 3
    assert is_accepted(parties[0])


def test_what_is_no_public_key_for_signing_is_passed_over() -> None:
    right = make_key().as_dict(private=False)
    rsa = RSAKey.generate_key(2048, {"kid": "rsa"}).as_dict(private=False)
    useless: list[Any] = [
        None,
        "x",
        {},
        {"kty": "EC"},
        {"kty": ["EC"]},
        ECKey.generate_key("P-256", {"kid": "private"}).as_dict(private=True),
        OctKey.generate_key(256, {"kid": "symmetric"}).as_dict(private=True),
        ECKey.generate_key("P-384", {"kid": "curve"}).as_dict(private=False),
        ECKey.generate_key("secp256k1", {"kid": "curve"}).as_dict(private=False),
        OKPKey.generate_key("X25519", {"kid": "exchange"}).as_dict(private=False),
        OKPKey.generate_key("Ed448", {"kid": "curve"}).as_dict(private=False),
        {**right, "use": "enc"},
        {**right, "alg": "ES384"},
        {**right, "alg": "ECDH-ES"},
        {**right, "key_ops": ["sign"]},
        {**right, "key_ops": "verify"},
        {**right, "kid": 7},
        {**right, "x": "AAAA"},
        {**right, "x": 5},
        {**right, "crv": "P-384"},
        {**rsa, "n": rsa["n"][:170]},
        {**rsa, "n": rsa["n"] * 20},
        {**rsa, "e": rsa["n"]},
        {**rsa, "e": "AA"},
    ]
    for member in useless:
        assert read_keys({"keys": [member]}) == (), member
    found = read_keys({"keys": [*useless[:10], right, rsa]})
    assert [key.kid for key in found] == ["k1", "rsa"]
    assert the_one(found, alg="ES256", kid="k1") is found[0]
    assert the_one(found, alg="RS256", kid="k1") is None
    assert the_one(found, alg="PS256", kid=None) is found[1]
    assert the_one([found[0], found[0]], alg="ES256", kid="k1") is None, "no telling which"


@pytest.mark.parametrize("jwks", [None, [], {}, {"keys": {}}, {"keys": None}, "keys"])
def test_what_is_no_key_set_holds_no_keys(jwks: Any) -> None:
    assert read_keys(jwks) == ()
