"""APIs of others: they learn about tokens addressed to them, and clients choose which of them a token is for."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.guard.single_use import digest
from libs.people.sessions import Session
from tests.oidc.relying_party import RelyingParty, error_of
from tests.pages import ORIGIN, Browser

Make = Callable[..., RelyingParty]
ORDERS, STOCK = "https://orders.test/api", "https://stock.test/api"
SCOPE = "openid orders:read stock:read"


@pytest.fixture
def api(app: Flask, make_client: Make) -> Iterator[RelyingParty]:
    """As whom the orders API introspects; the stock API is somebody else's."""
    from services.oidc.extensions import db
    from services.oidc.flows.resources import forget
    from services.oidc.models import Resource

    server = make_client(
        name="Orders API", grants=["client_credentials"], redirect_uris=["https://orders.test/cb"]
    )
    with app.app_context(), db.transaction() as session:
        session.add(
            Resource(
                identifier=ORDERS,
                name="Orders",
                scopes={"orders:read": "see orders"},
                client_id=server.client_id,
            )
        )
        session.add(Resource(identifier=STOCK, name="Stock", scopes={"stock:read": "see the stock"}))
    forget()
    yield server
    with app.app_context(), db.transaction() as session:
        session.execute(sa.delete(Resource).where(Resource.identifier.in_([ORDERS, STOCK])))
    forget()


@pytest.fixture
def shop(api: RelyingParty, make_client: Make) -> RelyingParty:
    return make_client(scopes=SCOPE.split(), subject_type="pairwise")


@pytest.mark.parametrize("form", ["jwt", "opaque"])
def test_an_api_learns_about_tokens_addressed_to_it_and_only_what_concerns_it(
    app: Flask, browser: Browser, person: Session, api: RelyingParty, shop: RelyingParty, form: str
) -> None:
    from services.oidc.flows.clients import update_client

    with app.app_context():
        update_client(shop.client_id, access_token_format=form)
    token = shop.tokens(browser, scope=SCOPE)["access_token"]
    own = shop.introspect(token)
    assert (own["aud"], own["scope"]) == ([ORIGIN, ORDERS, STOCK], SCOPE)
    told = api.introspect(token)
    assert (told["active"], told["aud"], told["scope"]) == (True, ORDERS, "orders:read")
    assert told["sub"] == own["sub"] != person.sub, "the number of the token's client"
    assert (told["client_id"], told["token_type"]) == (shop.client_id, "Bearer")
    assert {"exp", "iat", "jti", "auth_time", "acr", "amr"} <= set(told)
    assert "sid" not in told


def test_and_about_no_other_token(
    browser: Browser, person: Session, api: RelyingParty, shop: RelyingParty, make_client: Make
) -> None:
    tokens = shop.tokens(browser, scope=SCOPE)
    stock_only = shop.tokens(browser, scope="openid stock:read")["access_token"]
    for token in (stock_only, tokens["refresh_token"], tokens["id_token"]):
        assert api.introspect(token) == {"active": False}
    assert make_client().introspect(tokens["access_token"]) == {"active": False}
    shop.post("/oauth2/revoke", {"token": tokens["access_token"]})
    assert api.introspect(tokens["access_token"]) == {"active": False}


def test_a_token_of_a_client_by_itself_is_introspected_by_the_api_too(
    api: RelyingParty, make_client: Make
) -> None:
    client = make_client(grants=["client_credentials"], scopes=["orders:read"])
    token = client.post("/oauth2/token", {"grant_type": "client_credentials"}).json["access_token"]
    told = api.introspect(token)
    assert (told["sub"], told["aud"], told["scope"]) == (client.client_id, ORDERS, "orders:read")


def test_an_api_cannot_revoke_what_is_addressed_to_it(
    browser: Browser, person: Session, api: RelyingParty, shop: RelyingParty
) -> None:
    token = shop.tokens(browser, scope=SCOPE)["access_token"]
    assert error_of(api.post("/oauth2/revoke", {"token": token})) == (400, "invalid_grant")
    assert shop.introspect(token)["active"] is True


# -- resource indicators (RFC 8707) ------------------------------------------------------------------------------


def test_a_code_is_redeemed_for_one_of_its_resources(
    browser: Browser, person: Session, shop: RelyingParty
) -> None:
    def aud(response: Any) -> Any:
        assert response.status_code == 200, response.text
        return shop.introspect(response.json["access_token"])["aud"]

    narrow = shop.redeem(shop.code(browser, scope=SCOPE), resource=ORDERS)
    assert aud(narrow) == [ORIGIN, ORDERS]
    assert narrow.json["scope"] == "openid orders:read"
    assert aud(shop.refresh(narrow.json["refresh_token"])) == [ORIGIN, ORDERS, STOCK], "that response alone"


def test_a_refresh_may_name_several_and_none_that_was_not_granted(
    app: Flask, browser: Browser, person: Session, shop: RelyingParty
) -> None:
    code = shop.code(browser, scope=SCOPE)
    token = shop.redeem(code).json["refresh_token"]
    for wrong in ("https://nobody.test/", "", "nonsense"):
        if wrong:
            assert error_of(shop.refresh(token, resource=wrong)) == (400, "invalid_target")
    answer = shop.refresh(token, resource=[STOCK, ORDERS])
    assert shop.introspect(answer.json["access_token"])["aud"] == [ORIGIN, ORDERS, STOCK]
    change_grant(app, code, resources=[STOCK])
    token = answer.json["refresh_token"]
    assert error_of(shop.refresh(token, resource=ORDERS)) == (400, "invalid_target")
    allowed = shop.refresh(token, resource=STOCK)
    assert allowed.status_code == 200, "the refusals have spent nothing"
    assert shop.introspect(allowed.json["access_token"])["aud"] == [ORIGIN, STOCK]


def test_a_refused_target_leaves_the_code_as_it_was(
    browser: Browser, person: Session, shop: RelyingParty
) -> None:
    code = shop.code(browser, scope="openid orders:read")
    assert error_of(shop.redeem(code, resource=STOCK)) == (400, "invalid_target")
    assert error_of(shop.redeem(code, resource="https://nobody.test/")) == (400, "invalid_target")
    assert shop.redeem(code, resource=ORDERS).status_code == 200


def change_grant(app: Flask, code: str, **values: Any) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import Grant

    with app.app_context(), db.transaction() as session:
        changed = session.execute(sa.update(Grant).where(Grant.code_digest == digest(code)).values(**values))
        assert changed.rowcount == 1
