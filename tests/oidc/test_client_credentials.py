"""Client credentials: a client by itself gets a token of its own, held by a row, and nothing of anybody's."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from joserfc import jwt
from werkzeug.test import TestResponse

from libs.database import utcnow
from libs.guard.single_use import digest
from libs.people.sessions import Session
from libs.service import parts_of
from tests.oidc.relying_party import RelyingParty, error_of
from tests.pages import ORIGIN, Browser

Make = Callable[..., RelyingParty]
ORDERS = "https://orders.test/api"


@pytest.fixture
def orders(app: Flask) -> Iterator[str]:
    """Somebody's API with two scopes."""
    from services.oidc.extensions import db
    from services.oidc.flows.resources import forget
    from services.oidc.models import Resource

    scopes = {"orders:read": "see your orders", "orders:write": "change your orders"}
    with app.app_context(), db.transaction() as session:
        session.add(Resource(identifier=ORDERS, name="Orders", scopes=scopes))
    forget()
    yield ORDERS
    with app.app_context(), db.transaction() as session:
        session.execute(sa.delete(Resource).where(Resource.identifier == ORDERS))
    forget()


@pytest.fixture
def machine(make_client: Make) -> RelyingParty:
    """A client that acts for itself at our own API."""
    return make_client(grants=["client_credentials"], scopes=["openid", "email", "me", "users:read"])


def get_token(client: RelyingParty, **values: Any) -> TestResponse:
    return client.post("/oauth2/token", {"grant_type": "client_credentials", **values})


def claims_of(app: Flask, token: str, alg: str = "ES256") -> dict[str, Any]:
    from services.oidc.protocol.keys import keys

    with app.app_context():
        claims: dict[str, Any] = jwt.decode(token, keys.signing_key(alg).jwk, algorithms=[alg]).claims
    return claims


def test_a_client_gets_a_token_for_itself_alone(app: Flask, machine: RelyingParty) -> None:
    answer = get_token(machine)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json) == {"access_token", "token_type", "expires_in", "scope"}
    assert answer.json["scope"] == "users:read", "what needs a person is left out"
    claims = claims_of(app, answer.json["access_token"])
    assert claims["sub"] == claims["client_id"] == machine.client_id
    assert claims["aud"] == f"{ORIGIN}/api"
    assert claims["exp"] - claims["iat"] == answer.json["expires_in"] <= 600
    assert not {"roles", "auth_time", "acr", "amr", "sid", "grant_id", "nonce"} & set(claims)


def test_the_id_of_the_token_is_its_row(app: Flask, machine: RelyingParty) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import AccessToken

    claims = claims_of(app, get_token(machine).json["access_token"])
    with app.app_context():
        row = db.session.get(AccessToken, uuid.UUID(claims["jti"]))
        assert (row.client_id, row.grant_id, row.digest) == (machine.client_id, None, None)
        assert (row.scope, row.audience) == ("users:read", [f"{ORIGIN}/api"])
        assert int(row.expires_at.timestamp()) == claims["exp"]


@pytest.mark.parametrize("scope", ["openid", "email", "me", "users:read openid", "users:write", "nonsense"])
def test_a_scope_of_a_person_or_of_others_is_refused(machine: RelyingParty, scope: str) -> None:
    assert error_of(get_token(machine, scope=scope)) == (400, "invalid_scope")


def test_a_client_without_such_scopes_gets_a_token_that_opens_nothing(app: Flask, make_client: Make) -> None:
    client = make_client(grants=["client_credentials"], scopes=["openid", "profile"])
    answer = get_token(client).json
    assert "scope" not in answer
    claims = claims_of(app, answer["access_token"])
    assert (claims["scope"], claims["aud"]) == ("", ORIGIN)
    assert client.userinfo(answer["access_token"]).status_code == 401


def test_only_clients_with_the_grant_get_one(client: RelyingParty, public_client: RelyingParty) -> None:
    assert error_of(get_token(client)) == (400, "unauthorized_client")
    assert error_of(get_token(public_client)) == (401, "invalid_client")


def test_a_wrong_secret_gets_none(make_client: Make) -> None:
    client = make_client(grants=["client_credentials"], auth_method="client_secret_post")
    client.secret = "wrong"
    assert error_of(get_token(client)) == (401, "invalid_client")


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_each_client_has_its_algorithm(app: Flask, make_client: Make, alg: str) -> None:
    client = make_client(grants=["client_credentials"], scopes=["users:read"], access_token_signing_alg=alg)
    token = get_token(client).json["access_token"]
    assert claims_of(app, token, alg)["client_id"] == client.client_id
    assert client.introspect(token)["active"] is True


@pytest.mark.parametrize("form", ["jwt", "opaque"])
def test_it_is_introspected_and_revoked_in_either_form(make_client: Make, form: str) -> None:
    client = make_client(grants=["client_credentials"], scopes=["users:read"], access_token_format=form)
    token, other = get_token(client).json["access_token"], get_token(client).json["access_token"]
    assert (token.count(".") == 2) is (form == "jwt")
    told = client.introspect(token)
    assert (told["active"], told["sub"], told["client_id"]) == (True, client.client_id, client.client_id)
    assert (told["scope"], told["aud"], told["token_type"]) == ("users:read", f"{ORIGIN}/api", "Bearer")
    assert told["jti"] and not {"sid", "auth_time", "acr", "amr"} & set(told)
    assert make_client().introspect(token) == {"active": False}
    assert error_of(make_client().post("/oauth2/revoke", {"token": token})) == (400, "invalid_grant")
    assert client.userinfo(token).status_code == 401
    assert client.post("/oauth2/revoke", {"token": token}).status_code == 200
    assert client.introspect(token) == {"active": False}
    assert client.introspect(other)["active"] is True, "one token ends alone"
    assert client.post("/oauth2/revoke", {"token": token}).status_code == 200, "again is no error"


def test_an_opaque_one_is_kept_as_a_hash_and_expires(app: Flask, make_client: Make) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import AccessToken

    client = make_client(grants=["client_credentials"], access_token_format="opaque")
    token = get_token(client).json["access_token"]
    with app.app_context(), db.transaction() as session:
        changed = session.execute(
            sa.update(AccessToken).where(AccessToken.digest == digest(token)).values(expires_at=utcnow())
        )
        assert changed.rowcount == 1
    assert client.introspect(token) == {"active": False}


def test_a_disabled_client_has_no_living_tokens(app: Flask, machine: RelyingParty, make_client: Make) -> None:
    from services.oidc.flows.clients import update_client

    token = get_token(machine).json["access_token"]
    with app.app_context():
        update_client(machine.client_id, is_enabled=False)
    assert error_of(get_token(machine)) == (401, "invalid_client")
    with app.app_context():
        update_client(machine.client_id, is_enabled=True)
    assert machine.introspect(token)["active"] is False, "what it had is gone"
    assert get_token(machine).status_code == 200


def test_a_resource_narrows_the_token_to_itself(app: Flask, make_client: Make, orders: str) -> None:
    client = make_client(grants=["client_credentials"], scopes=["users:read", "orders:read", "orders:write"])
    both = claims_of(app, get_token(client).json["access_token"])
    assert both["aud"] == [f"{ORIGIN}/api", orders]
    answer = get_token(client, resource=orders).json
    assert answer["scope"] == "orders:read orders:write"
    assert claims_of(app, answer["access_token"])["aud"] == orders
    several = get_token(client, resource=[orders, f"{ORIGIN}/api"], scope="orders:read users:read").json
    assert claims_of(app, several["access_token"])["aud"] == [f"{ORIGIN}/api", orders]
    for wrong in ("https://nobody.test/api", "nonsense", ORIGIN):
        assert error_of(get_token(client, resource=wrong)) == (400, "invalid_target")
    assert error_of(get_token(client, resource=orders, scope="users:read")) == (400, "invalid_target")


def test_tokens_issued_and_refused_are_counted(app: Flask, machine: RelyingParty) -> None:
    def value(name: str, **labels: str) -> float:
        found = parts_of(app).metrics.registry.get_sample_value(
            name, {"grant": "client_credentials", **labels}
        )
        assert found is not None, "series start at 0"
        return found

    issued = value("id_oidc_token_issued_total")
    failed = value("id_oidc_token_failed_total", error="invalid_client")
    get_token(machine)
    machine.secret = "wrong"
    get_token(machine)
    assert value("id_oidc_token_issued_total") == issued + 1
    assert value("id_oidc_token_failed_total", error="invalid_client") == failed + 1


def test_our_own_api_knows_the_client_by_itself(
    app: Flask, machine: RelyingParty, browser: Browser, person: Session
) -> None:
    from libs.people.bearer import _bearer_of
    from libs.people.bearer.tokens import ACCESS_TOKEN_TYPE, read_token
    from services.oidc.protocol.keys import keys

    token = get_token(machine).json["access_token"]
    with app.app_context():
        claims = read_token(token, token_type=ACCESS_TOKEN_TYPE, issuer=ORIGIN, find_key=keys.find)
    assert claims is not None
    bearer = _bearer_of(claims)
    assert (bearer.sub, bearer.client_id, bearer.roles) == (None, machine.client_id, ())
    assert bearer.scopes == {"users:read"}
