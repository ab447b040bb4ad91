"""CORS: which scripts in browsers may read which answers."""

from collections.abc import Callable

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from libs.people.sessions import Session
from tests.oidc.faults import database_away
from tests.oidc.relying_party import RelyingParty, error_of, http
from tests.pages import ORIGIN, Browser

SITE = "https://rp.test"
OPEN = (
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
    "/.well-known/jwks.json",
)
FOR_CLIENTS = ("/oauth2/token", "/oauth2/userinfo", "/oauth2/revoke", "/oauth2/par")


def preflight(app: Flask, path: str, origin: str, method: str = "POST") -> TestResponse:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return http(app).options(path, base_url=ORIGIN, headers=headers)


def said(response: TestResponse) -> dict[str, str]:
    return {
        name.lower(): value
        for name, value in response.headers.items()
        if name.lower().startswith("access-control-")
    }


@pytest.mark.parametrize("path", OPEN)
def test_public_documents_are_for_scripts_from_anywhere(app: Flask, path: str) -> None:
    answer = http(app).get(path, base_url=ORIGIN, headers={"Origin": "https://anywhere.test"})
    assert said(answer) == {"access-control-allow-origin": "*"}
    asked = preflight(app, path, "https://anywhere.test", "GET")
    assert asked.status_code == 204
    assert said(asked)["access-control-allow-methods"] == "GET"


@pytest.mark.parametrize("path", FOR_CLIENTS)
def test_the_site_of_a_redirect_uri_may_call_and_read(app: Flask, client: RelyingParty, path: str) -> None:
    asked = preflight(app, path, SITE)
    assert asked.status_code == 204
    assert said(asked)["access-control-allow-origin"] == SITE
    assert "Authorization" in said(asked)["access-control-allow-headers"]
    assert "POST" in said(asked)["access-control-allow-methods"]
    assert "Origin" in asked.headers["Vary"]


@pytest.fixture(autouse=True)
def _asked_anew() -> None:
    """No origin is remembered from a test before."""
    from services.oidc.flows.clients import origins

    origins._cache = (float("-inf"), frozenset())


@pytest.mark.parametrize("path", FOR_CLIENTS)
@pytest.mark.parametrize(
    "origin",
    ["https://evil.test", "http://rp.test", "https://rp.test:444", "https://rp.test.evil.test", "null", "*"],
)
def test_another_site_reads_nothing(app: Flask, client: RelyingParty, path: str, origin: str) -> None:
    assert said(preflight(app, path, origin)) == {}
    answer = http(app).post(path, base_url=ORIGIN, data={"x": "y"}, headers={"Origin": origin})
    assert said(answer) == {}


def test_a_script_of_the_client_gets_its_tokens_and_its_errors(
    app: Flask, browser: Browser, person: Session, public_client: RelyingParty
) -> None:
    code = public_client.code(browser)
    for expected in (200, 400):
        values = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": public_client.redirect_uri,
            "code_verifier": public_client.verifier,
        }
        answer = public_client.post("/oauth2/token", values, headers={"Origin": SITE})
        assert answer.status_code == expected
        assert said(answer)["access-control-allow-origin"] == SITE


def test_cookies_are_never_for_scripts(app: Flask, client: RelyingParty) -> None:
    for path in (*OPEN, *FOR_CLIENTS):
        for answer in (
            preflight(app, path, SITE),
            http(app).get(path, base_url=ORIGIN, headers={"Origin": SITE}),
        ):
            assert "access-control-allow-credentials" not in said(answer)


@pytest.mark.parametrize(
    "path", ["/oauth2/authorize", "/oauth2/logout", "/account/apps", "/oauth2/introspect", "/device"]
)
def test_pages_and_the_authorization_endpoint_say_nothing(
    app: Flask, client: RelyingParty, path: str
) -> None:
    assert said(preflight(app, path, SITE)) == {}
    assert said(http(app).get(path, base_url=ORIGIN, headers={"Origin": SITE})) == {}


def test_a_client_that_is_disabled_takes_its_site_along(
    app: Flask, make_client: Callable[..., RelyingParty]
) -> None:
    from services.oidc.flows.clients import origins, update_client

    a_second_later = (float("-inf"), frozenset[str]())
    client = make_client(redirect_uris=["https://gone.test/callback"])
    origins._cache = a_second_later
    assert said(preflight(app, "/oauth2/token", "https://gone.test"))
    with app.app_context():
        update_client(client.client_id, is_enabled=False)
    origins._cache = a_second_later
    assert said(preflight(app, "/oauth2/token", "https://gone.test")) == {}


def test_the_port_that_a_scheme_means_anyway_makes_no_other_site(
    app: Flask, make_client: Callable[..., RelyingParty]
) -> None:
    make_client(redirect_uris=["https://usual.test:443/callback", "http://127.0.0.1:80/callback"])
    for origin in ("https://usual.test", "http://127.0.0.1"):
        assert said(preflight(app, "/oauth2/token", origin))["access-control-allow-origin"] == origin


def test_with_the_database_away_scripts_hear_a_prompt_503_too(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from services.oidc.flows.clients import origins

    tokens = client.tokens(browser)
    assert said(preflight(app, "/oauth2/token", SITE))
    with database_away(app):
        for site_is_known in (True, False):
            headers = {"Origin": SITE, "Authorization": f"Bearer {tokens['access_token']}"}
            answer = http(app).get("/oauth2/userinfo", base_url=ORIGIN, headers=headers)
            assert error_of(answer) == (503, "temporarily_unavailable")
            assert int(answer.headers["Retry-After"]) > 0
            assert bool(said(answer)) is site_is_known
            origins._cache = (float("-inf"), origins._cache[1])
            asked = preflight(app, "/oauth2/token", SITE)
            assert (asked.status_code, bool(said(asked))) == (204, site_is_known)
            origins._cache = (float("-inf"), frozenset())
