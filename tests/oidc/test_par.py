"""Pushed authorization requests: checked when they come, good for one sign-in of one client's, for a short time."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from libs.people.sessions import Session
from libs.service import parts_of
from services.oidc.protocol import limits
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty, basic, error_of, http
from tests.oidc.signing_party import SigningParty, segment
from tests.oidc.test_authorization_checks import shown, told
from tests.oidc.test_client_authentication import is_refused
from tests.pages import ORIGIN, Browser

Make = Callable[..., RelyingParty]
NAME = "urn:ietf:params:oauth:request_uri:"


def push(party: RelyingParty, **changes: Any) -> str:
    answer = party.post("/oauth2/par", party.parameters(**changes))
    assert answer.status_code == 201, answer.text
    return answer.json["request_uri"]


def use(party: RelyingParty, browser: Browser, request_uri: str, **more: Any) -> Browser:
    values = {"client_id": party.client_id, "request_uri": request_uri, **more}
    browser.get("/oauth2/authorize", query_string=values)
    return browser


def is_accepted(browser: Browser) -> bool:
    return browser.status == 303 and (
        browser.location.startswith("/oauth2/authorize/") or "code=" in browser.location
    )


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
def test_a_pushed_request_leads_to_a_code(
    browser: Browser, person: Session, make_client: Make, method: str
) -> None:
    party = make_client(auth_method=method)
    nothing = dict.fromkeys(party.parameters(), None)
    pushed = {**nothing, "client_id": party.client_id, "request_uri": push(party, state="pushed")}
    answer = party.answer(browser, **pushed)
    assert answer["state"] == "pushed"
    assert party.redeem(answer["code"]).status_code == 200


def test_the_answer_is_201_for_ninety_seconds_and_never_stored(client: RelyingParty) -> None:
    answer = client.post("/oauth2/par", client.parameters())
    assert answer.status_code == 201
    assert answer.content_type == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["expires_in"] == 90
    name = answer.json["request_uri"]
    assert name.startswith(NAME)
    assert len(name.removeprefix(NAME)) >= 43
    assert set(answer.json) == {"request_uri", "expires_in"}


def test_what_is_kept_is_kept_under_a_hash_and_for_that_time_alone(app: Flask, client: RelyingParty) -> None:
    redis = parts_of(app).redis
    redis.delete(*(list(redis.scan_iter("pushed:*")) or ["none"]))
    name = push(client, state="kept")
    (key,) = redis.scan_iter("pushed:*")
    assert name.removeprefix(NAME) not in key
    assert 0 < redis.ttl(key) <= 90
    kept = redis.get(key)
    assert json.loads(kept)["parameters"]["state"] == "kept"
    assert client.secret and client.secret not in kept


def test_credentials_are_no_part_of_the_request(app: Flask, make_client: Make, signer: SigningParty) -> None:
    redis = parts_of(app).redis
    poster = make_client(auth_method="client_secret_post")
    for party in (poster, signer):
        redis.delete(*(list(redis.scan_iter("pushed:*")) or ["none"]))
        push(party)
        (key,) = redis.scan_iter("pushed:*")
        kept = json.loads(redis.get(key))["parameters"]
        assert not {"client_secret", "client_assertion", "client_assertion_type"} & set(kept)
        assert kept["client_id"] == party.client_id


def test_what_stands_outside_counts_for_nothing(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    request_uri = push(client, scope="openid", state="pushed")
    outside = {"scope": "openid profile", "state": "outer", "redirect_uri": "https://evil.test/"}
    answer = client.answer(browser, request_uri=request_uri, **outside)
    assert answer["state"] == "pushed"
    assert client.redeem(answer["code"]).json["scope"] == "openid"


def test_it_is_used_once(browser: Browser, client: RelyingParty) -> None:
    request_uri = push(client)
    assert is_accepted(use(client, browser, request_uri))
    assert shown(use(client, browser, request_uri, redirect_uri=REDIRECT_URI))
    assert "used already" in browser.text


def test_twenty_browsers_side_by_side_are_one(app: Flask, client: RelyingParty) -> None:
    request_uri, accepted, barrier = push(client), [], threading.Barrier(20)

    def go() -> None:
        barrier.wait()
        accepted.append(is_accepted(use(client, Browser(app), request_uri)))

    threads = [threading.Thread(target=go) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accepted.count(True) == 1
    assert len(accepted) == 20


def test_it_belongs_to_the_client_that_pushed_it(
    browser: Browser, client: RelyingParty, make_client: Make
) -> None:
    request_uri = push(client)
    assert shown(use(make_client(), browser, request_uri))
    assert shown(use(client, browser, request_uri, client_id="nobody"))
    assert is_accepted(use(client, browser, request_uri)), "others do not use it up"


def test_an_expired_or_invented_one_is_shown_here(app: Flask, browser: Browser, client: RelyingParty) -> None:
    request_uri = push(client)
    redis = parts_of(app).redis
    for key in redis.scan_iter("pushed:*"):
        redis.delete(key)
    for name in (request_uri, NAME + "invented", NAME, NAME + "x" * 5000):
        assert shown(use(client, browser, name, redirect_uri=REDIRECT_URI))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"redirect_uri": "https://evil.test/"}, "invalid_request"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "invalid_request"),
        ({"scope": "openid admin"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"id_token_hint": "x.y.z"}, "invalid_request"),
        ({"request_uri": "https://rp.test/r"}, "invalid_request"),
        ({"request_uri": NAME + "x"}, "invalid_request"),
        ({"request": "x.y.z"}, "invalid_request_object"),
        ({"state": "a\x00b"}, "invalid_request"),
        ({"state": "x" * 20_000}, "invalid_request"),
    ],
    ids=str,
)
def test_the_checks_of_the_authorization_endpoint_are_made_at_once(
    client: RelyingParty, wrong: dict[str, Any], error: str
) -> None:
    answer = client.post("/oauth2/par", client.parameters(**wrong))
    assert error_of(answer) == (400, error)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["error_description"]


def test_nobody_pushes_without_proof(client: RelyingParty, make_client: Make) -> None:
    form = client.parameters()
    assert is_refused(client.post("/oauth2/par", form, credentials=False))
    assert is_refused(
        client.post("/oauth2/par", form, headers={"Authorization": basic(client.client_id, "x")})
    )
    assert is_refused(client.post("/oauth2/par", {**form, "client_id": make_client().client_id}))
    both = {**form, "client_secret": client.secret}
    assert is_refused(client.post("/oauth2/par", both))
    poster = make_client(auth_method="client_secret_post")
    header = {"Authorization": basic(poster.client_id, poster.secret or "")}
    assert is_refused(poster.post("/oauth2/par", poster.parameters(), credentials=False, headers=header)), (
        "as at the token endpoint, in its own way alone"
    )


def test_it_is_a_form_by_post_alone(app: Flask, client: RelyingParty) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = http(app).open("/oauth2/par", method=method, base_url=ORIGIN)
        assert error_of(answer) == (405, "invalid_request")
        assert answer.headers["Allow"] == "POST"
    header = {"Authorization": basic(client.client_id, client.secret or "")}
    as_json = http(app).post("/oauth2/par", base_url=ORIGIN, json=client.parameters(), headers=header)
    assert error_of(as_json) == (400, "invalid_request")
    in_query = client.post("/oauth2/par", client.parameters(), query_string={"scope": "openid"})
    assert error_of(in_query) == (400, "invalid_request")
    twice = client.post("/oauth2/par", {**client.parameters(), "state": ["a", "b"]})
    assert error_of(twice) == (400, "invalid_request")


def test_a_request_object_may_be_pushed(browser: Browser, person: Session, signer: SigningParty) -> None:
    answer = signer.post("/oauth2/par", {"request": signer.request_object(state="signed")})
    assert answer.status_code == 201, answer.text
    nothing = dict.fromkeys(signer.parameters(), None)
    pushed = {**nothing, "client_id": signer.client_id, "request_uri": answer.json["request_uri"]}
    assert signer.answer(browser, **pushed)["state"] == "signed"


def test_a_pushed_object_must_be_the_clients_own(
    signer: SigningParty, make_signer: Callable[..., SigningParty]
) -> None:
    other = make_signer()
    for text in (other.request_object(), f"{segment({'alg': 'none'})}.{segment(signer.parameters())}."):
        assert error_of(signer.post("/oauth2/par", {"request": text})) == (400, "invalid_request_object")


def test_a_client_that_must_push_is_held_to_it(browser: Browser, make_client: Make) -> None:
    party = make_client(require_pushed_authorization_requests=True)
    party.send(browser)
    assert told(browser)["error"] == "invalid_request"
    party.send(browser, redirect_uri="https://evil.test/")
    assert shown(browser)
    assert is_accepted(use(party, browser, push(party)))


def test_a_client_that_must_sign_signs_what_it_pushes(
    browser: Browser, make_signer: Callable[..., SigningParty]
) -> None:
    party = make_signer(require_signed_request_object=True, require_pushed_authorization_requests=True)
    assert error_of(party.post("/oauth2/par", party.parameters())) == (400, "invalid_request")
    answer = party.post("/oauth2/par", {"request": party.request_object()})
    assert is_accepted(use(party, browser, answer.json["request_uri"]))


def test_a_registration_that_changed_meanwhile_counts(
    app: Flask, browser: Browser, client: RelyingParty
) -> None:
    from services.oidc.flows.clients import update_client

    request_uri = push(client)
    with app.app_context():
        update_client(client.client_id, redirect_uris=["https://rp.test/elsewhere"])
    assert shown(use(client, browser, request_uri))


def test_a_refused_request_is_not_used_up(app: Flask, browser: Browser, client: RelyingParty) -> None:
    from services.oidc.flows.clients import update_client

    request_uri = push(client)
    with app.app_context():
        update_client(client.client_id, is_enabled=False)
    assert shown(use(client, browser, request_uri))
    with app.app_context():
        update_client(client.client_id, is_enabled=True)
    assert is_accepted(use(client, browser, request_uri))


def test_pushing_is_limited(client: RelyingParty, with_settings: Callable[..., None]) -> None:
    with_settings(TOKEN_REQUESTS_PER_ADDRESS="1 per minute", TOKEN_REQUESTS_PER_CLIENT="2 per minute")
    statuses = [client.post("/oauth2/par", client.parameters()).status_code for _ in range(4)]
    limits.forget()
    assert statuses == [201, 201, 429, 429]


def test_a_push_is_quick(client: RelyingParty) -> None:
    began = time.monotonic()
    push(client)
    assert time.monotonic() - began < 1
