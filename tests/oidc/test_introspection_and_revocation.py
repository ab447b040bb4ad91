"""Introspection tells a client about its own tokens; revocation ends what the client was given."""

from collections.abc import Callable

import pytest

from libs.people.sessions import Session
from tests.oidc.relying_party import RelyingParty, error_of
from tests.pages import ORIGIN, Browser

Make = Callable[..., RelyingParty]


def test_a_client_learns_about_its_own_tokens(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    tokens = client.tokens(browser)
    access = client.introspect(tokens["access_token"])
    assert access["active"] is True
    assert (access["iss"], access["sub"], access["client_id"]) == (ORIGIN, person.sub, client.client_id)
    assert (access["token_type"], access["scope"]) == ("Bearer", "openid profile email")
    assert access["exp"] - access["iat"] <= 600
    refresh = client.introspect(tokens["refresh_token"])
    assert refresh["active"] is True
    assert (refresh["sub"], refresh["scope"]) == (person.sub, "openid profile email")
    assert "token_type" not in refresh


def test_and_nothing_about_anybody_elses(
    browser: Browser, person: Session, client: RelyingParty, make_client: Make
) -> None:
    tokens, other = client.tokens(browser), make_client()
    for token in (tokens["access_token"], tokens["refresh_token"], tokens["id_token"], "nonsense", "\x00"):
        assert other.introspect(token) == {"active": False}


def test_the_hint_changes_nothing(browser: Browser, person: Session, client: RelyingParty) -> None:
    tokens = client.tokens(browser)
    for hint in ("access_token", "refresh_token", "whatever"):
        for token in (tokens["access_token"], tokens["refresh_token"]):
            answer = client.post("/oauth2/introspect", {"token": token, "token_type_hint": hint})
            assert answer.json["active"] is True
            assert answer.headers["Cache-Control"] == "no-store"


def test_a_spent_refresh_token_is_not_active(browser: Browser, person: Session, client: RelyingParty) -> None:
    first = client.tokens(browser)["refresh_token"]
    client.refresh(first)
    assert client.introspect(first) == {"active": False}


@pytest.mark.parametrize("path", ["/oauth2/introspect", "/oauth2/revoke"])
def test_a_request_without_a_token_is_malformed(client: RelyingParty, path: str) -> None:
    assert error_of(client.post(path, {})) == (400, "invalid_request")
    assert error_of(client.post(path, {"token": ["a", "b"]})) == (400, "invalid_request")
    assert error_of(client.post(path + "?token=x", {"token": "x"})) == (400, "invalid_request")


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_revoking_either_token_ends_the_grant(
    browser: Browser, person: Session, client: RelyingParty, kind: str
) -> None:
    tokens = client.tokens(browser)
    answer = client.post("/oauth2/revoke", {"token": tokens[kind]})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert client.userinfo(tokens["access_token"]).status_code == 401
    assert client.introspect(tokens["access_token"]) == {"active": False}
    assert error_of(client.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert client.post("/oauth2/revoke", {"token": tokens[kind]}).status_code == 200, "again is no error"


def test_revoking_another_clients_token_has_no_effect(
    browser: Browser, person: Session, client: RelyingParty, make_client: Make
) -> None:
    tokens, other = client.tokens(browser), make_client()
    for kind in ("access_token", "refresh_token"):
        assert error_of(other.post("/oauth2/revoke", {"token": tokens[kind]})) == (400, "invalid_grant")
    assert client.userinfo(tokens["access_token"]).status_code == 200
    assert client.refresh(tokens["refresh_token"]).status_code == 200


def test_revoking_nonsense_is_no_error(client: RelyingParty) -> None:
    for token in ("nonsense", "a.b.c", "\x00", "a" * 50_000):
        assert client.post("/oauth2/revoke", {"token": token}).status_code == 200
