"""Whatever a provider may do, and declarations of one that cannot be right."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import redis
from flask import Flask
from joserfc.jwk import RSAKey

from libs.service import parts_of
from libs.settings import SettingsError
from services.account.settings import AccountSettings
from tests.account.conftest import Person, is_signed_in, rows
from tests.account.linking_steps import NAMES, arrive, declare, depart, failures, link, linked, sign_in_with
from tests.account.provider_server import CLIENT_ID, CLIENT_SECRET, Account, ProviderServer
from tests.pages import Browser

# -- what a provider may do ------------------------------------------------------------------------------------


def test_who_says_no_is_back_at_the_sign_in_page(
    app: Flask, browser: Browser, provider: ProviderServer
) -> None:
    provider.denies = True
    sign_in_with(browser, provider, path="/login?continue=/demo")
    assert browser.location == "/login?continue=%2Fdemo"
    assert "You cancelled it there" in browser.get(browser.location).text
    assert failures(app)[0] == ("github", "cancelled")


def test_who_says_no_to_linking_is_back_at_the_list(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    provider.denies = True
    link(linker, provider)
    assert linker.location == "/account/links"
    assert "You cancelled it there" in linker.get("/account/links").text
    assert not linked(app, person)


@pytest.mark.parametrize(
    ("name", "failure"),
    [("github", failure) for failure in ("500", "404", "drop", "garbage", "redirect", "huge", "429")]
    + [("discord", "garbage"), ("acme", "500"), ("acme", "garbage"), ("acme", "deep")],
)
def test_a_provider_that_fails_leads_back_to_the_sign_in_page(
    app: Flask, browser: Browser, provider: ProviderServer, name: str, failure: str
) -> None:
    back = provider.visit(depart(browser, name, "/login?continue=/demo"))
    provider.failure = failure
    arrive(browser, back)
    assert browser.location == "/login?continue=%2Fdemo"
    browser.get(browser.location)
    assert "does not answer at the moment" in browser.text or "did not tell us who you are" in browser.text
    assert failures(app)[0] == (name, "provider_error")


def test_a_provider_that_hangs_takes_no_longer_than_its_time(
    app: Flask, browser: Browser, provider: ProviderServer
) -> None:
    declare(app, provider, PROVIDER_TIMEOUT_MS=200)
    back = provider.visit(depart(browser))
    provider.failure = "hang"
    arrive(browser, back)
    assert browser.location.startswith("/login")
    assert failures(app)[0] == ("github", "provider_error")


def test_an_issuer_that_cannot_be_discovered_leads_back(
    app: Flask, browser: Browser, provider: ProviderServer
) -> None:
    provider.failure = "500"
    browser.fill("/login", button="with-acme")
    assert browser.location == "/login?continue=%2Faccount"
    assert failures(app)[0] == ("acme", "provider_error")


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://another.test"},
        {"token_endpoint": "http://another.test/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://another.test/authorize"},
        {"jwks_uri": "file:///etc/passwd"},
        {"token_endpoint": None},
    ],
)
def test_a_discovery_document_that_cannot_be_right_is_not_used(
    app: Flask, browser: Browser, provider: ProviderServer, metadata: dict[str, Any]
) -> None:
    provider.metadata = metadata
    browser.fill("/login", button="with-acme")
    assert browser.location == "/login?continue=%2Faccount"
    assert failures(app)[0] == ("acme", "provider_error")


def test_an_endpoint_inside_our_own_network_is_not_called(
    app: Flask, linker: Browser, provider: ProviderServer
) -> None:
    """The issuer names where its tokens are; only a host that settings name may be private."""
    for name, url in (
        ("token_endpoint", "https://localhost:1/token"),
        ("jwks_uri", "https://169.254.169.254/keys"),
    ):
        declare(app, provider)
        provider.metadata = {name: url}
        browser = Browser(app)
        sign_in_with(browser, provider, "acme")
        assert browser.location.startswith("/login")
        assert failures(app)[0] == ("acme", "provider_error")


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"}, {"nonce": None}, {"aud": "another"}, {"aud": None}, {"aud": [CLIENT_ID, "another"]},
        {"aud": [CLIENT_ID, "another"], "azp": "another"}, {"azp": "another"}, {"iss": "https://another.test"},
        {"iss": None}, {"exp": 1}, {"exp": None}, {"iat": None}, {"sub": None}, {"sub": ""}, {"sub": 42},
        {"sub": "x" * 300},
    ],
)  # fmt: skip
def test_an_id_token_that_is_not_for_this_visit_signs_nobody_in(
    app: Flask, linker: Browser, provider: ProviderServer, claims: dict[str, Any]
) -> None:
    link(linker, provider, "acme")
    provider.claims = claims
    browser = Browser(app)
    sign_in_with(browser, provider, "acme")
    assert not is_signed_in(browser)
    assert failures(app)[0] == ("acme", "provider_error")


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_an_id_token_under_no_key_of_the_issuer_signs_nobody_in(
    app: Flask, linker: Browser, provider: ProviderServer, algorithm: str
) -> None:
    link(linker, provider, "acme")
    provider.id_token_alg = algorithm
    browser = Browser(app)
    sign_in_with(browser, provider, "acme")
    assert not is_signed_in(browser)
    assert failures(app)[0] == ("acme", "provider_error")


def test_a_key_that_was_made_since_is_fetched_and_a_foreign_one_refused(
    app: Flask, linker: Browser, provider: ProviderServer
) -> None:
    link(linker, provider, "acme")
    old = provider.key
    try:
        provider.key = RSAKey.generate_key(2048, {"kid": "k2", "use": "sig"})
        browser = Browser(app)
        sign_in_with(browser, provider, "acme")
        assert is_signed_in(browser)
        for kid in ("k2", "k3"):
            provider.jwks = [provider.key.as_dict(private=False)]
            published, provider.key = provider.key, RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})
            thief = Browser(app)
            sign_in_with(thief, provider, "acme")
            assert not is_signed_in(thief)
            provider.key = published
    finally:
        provider.key = old


@pytest.mark.parametrize("iss", ["https://another.test", None])
def test_an_answer_of_another_issuer_is_refused(
    app: Flask, linker: Browser, provider: ProviderServer, iss: str | None
) -> None:
    """RFC 9207, where the issuer says that it names itself; the code never leaves for a token endpoint."""
    link(linker, provider, "acme")
    provider.answer_iss = iss
    browser = Browser(app)
    provider.requests.clear()
    sign_in_with(browser, provider, "acme")
    assert not is_signed_in(browser)
    assert "POST /token" not in provider.requests


def test_a_code_of_somebody_else_is_refused(app: Flask, linker: Browser, provider: ProviderServer) -> None:
    """PKCE: a code that another visit was given does not go with this visit's verifier."""
    link(linker, provider)
    thief, victim = Browser(app), Browser(app)
    stolen = dict(parse_qsl(urlsplit(provider.visit(depart(victim))).query))["code"]
    own = dict(parse_qsl(urlsplit(provider.visit(depart(thief))).query))
    arrive(thief, "/link/github/callback?" + urlencode({**own, "code": stolen}))
    assert not is_signed_in(thief)
    assert failures(app)[0] == ("github", "provider_error")


def test_an_address_that_the_app_may_not_see_is_not_needed(
    app: Flask, linker: Browser, provider: ProviderServer
) -> None:
    provider.hides_addresses = True
    link(linker, provider)
    other = Browser(app)
    sign_in_with(other, provider)
    assert is_signed_in(other)


@pytest.mark.parametrize("number", [0, -1, True, None, "7"])
def test_a_subject_that_is_none_signs_nobody_in(
    app: Flask, browser: Browser, provider: ProviderServer, number: Any
) -> None:
    provider.account = Account(number)
    sign_in_with(browser, provider)
    assert failures(app)[0] == ("github", "provider_error")


def test_what_the_provider_calls_itself_is_shown_as_text(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    provider.account.name = "<script>x</script>{{7*7}}\u202e\r\nBcc: a@b.test"
    link(linker, provider)
    text = linker.get("/account/links").text
    assert "<script>x" not in text and "&lt;script&gt;" in text and "{{7*7}}" in text
    query = "SELECT l.name FROM linked_identities l JOIN users u ON u.id = l.user_id WHERE sub = :sub"
    (row,) = rows(app, query, sub=person.sub)
    assert row.name.isprintable()


def test_tokens_and_codes_are_kept_nowhere(
    app: Flask, linker: Browser, provider: ProviderServer, log_text: Callable[[], str]
) -> None:
    for name in NAMES:
        link(linker, provider, name)
        sign_in_with(Browser(app), provider, name)
    provider.claims = {"nonce": "wrong"}
    sign_in_with(Browser(app), provider, "acme")
    marked = [*provider.issued, CLIENT_SECRET]
    assert len(marked) > 10
    log = log_text()
    assert not [secret for secret in marked if secret in log]
    tables = [row[0] for row in rows(app, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    everything = "".join(
        str(row) for table in tables for row in rows(app, f'SELECT t::text FROM "{table}" t')
    )
    assert not [secret for secret in marked if secret in everything]
    raw = redis.Redis.from_url(parts_of(app).settings.REDIS_URL)
    kept = b"".join(key + (raw.dump(key) or b"") for key in raw.scan_iter())
    assert kept
    assert not [secret for secret in marked if secret.encode() in kept]
    raw.close()


# -- settings --------------------------------------------------------------------------------------------------

ISSUER = {
    "name": "acme",
    "label": "Acme",
    "discovery_url": "https://acme.test/.well-known/openid-configuration",
    "client_id": "x",
    "client_secret": "marked-secret",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_CLIENT_ID", "only-the-id"),
        ("DISCORD_CLIENT_SECRET", "only-the-secret"),
        ("GITHUB_API_URL", "http://api.github.com"),
        ("GITHUB_TOKEN_URL", "https://user:word@github.com/token"),
        ("DISCORD_API_URL", "https://discord.com/api/"),
        ("OPENID_PROVIDERS", "not JSON"),
        ("OPENID_PROVIDERS", '{"name": "acme"}'),
        ("OPENID_PROVIDERS", "[1]"),
        ("OPENID_PROVIDERS", json.dumps([{**ISSUER, "colour": "red"}])),
        ("OPENID_PROVIDERS", json.dumps([{**ISSUER, "client_secret": ""}])),
        ("OPENID_PROVIDERS", json.dumps([{**ISSUER, "client_id": 7}])),
        ("OPENID_PROVIDERS", json.dumps([{**ISSUER, "name": "Acme Inc"}])),
        ("OPENID_PROVIDERS", json.dumps([{**ISSUER, "name": "github"}])),
        ("OPENID_PROVIDERS", json.dumps([ISSUER, ISSUER])),
        ("OPENID_PROVIDERS", json.dumps([{**ISSUER, "discovery_url": "https://acme.test"}])),
        (
            "OPENID_PROVIDERS",
            json.dumps([{**ISSUER, "discovery_url": ISSUER["discovery_url"].replace("s:", ":")}]),
        ),
        ("PROVIDER_TIMEOUT_MS", "5"),
    ],
)
def test_a_provider_that_cannot_be_right_stops_the_start(
    environment: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=name.split("_")[0]) as refused:
        AccountSettings.load({**environment, name: value})
    assert "marked-secret" not in str(refused.value)


def test_a_third_provider_is_one_declaration(environment: dict[str, str]) -> None:
    settings = AccountSettings.load({**environment, "OPENID_PROVIDERS": json.dumps([ISSUER])})
    assert [issuer.name for issuer in settings.openid_issuers] == ["acme"]
    assert "marked-secret" not in repr(settings) + repr(settings.openid_issuers)
