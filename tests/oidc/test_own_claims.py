"""Claims of a client's own: another name for what we know, the same for everybody, roles; never what tokens mean by."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from joserfc import jwt

from libs.people.sessions import Session
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import RelyingParty
from tests.oidc.test_sign_in import jwks
from tests.pages import Browser

Make = Callable[..., RelyingParty]
MAPPING: dict[str, Any] = {
    "https://app.test/handle": "nickname",
    "username": "email",
    "tenant": {"value": "community"},
    "level": {"value": 3},
    "groups": "roles",
}


@pytest.fixture
def staff(app: Flask, browser: Browser) -> Session:
    return sign_in_copy(browser, app, roles=["support"], claims={"nickname": "ada", "gender": None})


def id_token_claims(app: Flask, id_token: str) -> dict[str, Any]:
    return dict(jwt.decode(id_token, jwks(app), algorithms=["RS256"]).claims)


def both(app: Flask, client: RelyingParty, tokens: dict[str, Any]) -> list[dict[str, Any]]:
    """What the ID token says, and what userinfo says."""
    return [id_token_claims(app, tokens["id_token"]), client.userinfo(tokens["access_token"]).json]


def test_they_stand_in_the_id_token_and_in_userinfo(
    app: Flask, browser: Browser, staff: Session, make_client: Make
) -> None:
    client = make_client(claims_mapping=MAPPING)
    for told in both(app, client, client.tokens(browser, scope="openid profile email")):
        assert told["https://app.test/handle"] == "ada"
        assert told["username"] == staff.claims["email"]
        assert (told["tenant"], told["level"], told["groups"]) == ("community", 3, ["support"])


def test_what_a_scope_opens_needs_that_scope_under_any_name(
    app: Flask, browser: Browser, staff: Session, make_client: Make
) -> None:
    client = make_client(claims_mapping=MAPPING)
    for told in both(app, client, client.tokens(browser, scope="openid")):
        assert "https://app.test/handle" not in told
        assert "username" not in told
        assert told["tenant"] == "community"


def test_what_nobody_knows_of_a_person_is_left_out(
    app: Flask, browser: Browser, staff: Session, make_client: Make
) -> None:
    client = make_client(claims_mapping={"sex": "gender", "site": "website"})
    for told in both(app, client, client.tokens(browser, scope="openid profile")):
        assert not {"sex", "site"} & set(told)


def test_a_role_that_is_taken_away_leaves_the_next_tokens(
    app: Flask, browser: Browser, staff: Session, make_client: Make
) -> None:
    from services.oidc.flows.subjects import remember_subject

    client = make_client(claims_mapping={"groups": "roles"})
    tokens = client.tokens(browser)
    with app.app_context():
        remember_subject(sub=staff.sub, version=2, status="active", roles=[], claims=staff.claims)
    assert client.userinfo(tokens["access_token"]).json["groups"] == []
    fresh = client.refresh(tokens["refresh_token"]).json
    assert id_token_claims(app, fresh["id_token"])["groups"] == []


def test_other_clients_hear_nothing_of_it(
    app: Flask, browser: Browser, staff: Session, make_client: Make
) -> None:
    make_client(claims_mapping=MAPPING)
    other = make_client()
    for told in both(app, other, other.tokens(browser, scope="openid profile email")):
        assert not set(MAPPING) & set(told)


@pytest.mark.parametrize(
    "mapping",
    [
        {"sub": "email"},
        {"aud": {"value": "x"}},
        {"exp": {"value": 9}},
        {"roles_of": "password"},
        {"x": "{{ 7*7 }}"},
        {"x": {"value": ["list"]}},
        {"x": {"value": "v", "more": 1}},
        {"x": 5},
        {"": "email"},
        {"a\nb": "email"},
        ["email"],
        {f"claim{number}": "email" for number in range(31)},
    ],
    ids=str,
)
def test_what_is_no_plain_mapping_is_refused(make_client: Make, mapping: Any) -> None:
    from services.oidc.flows.clients import InvalidClient

    with pytest.raises(InvalidClient) as refused:
        make_client(claims_mapping=mapping)
    assert "claims_mapping" in refused.value.errors
