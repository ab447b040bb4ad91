"""clients check: what is weak about a client's settings, and what helps."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from joserfc.jwk import RSAKey

from libs.database import utcnow
from tests.conftest import run_command
from tests.oidc.relying_party import RelyingParty
from tests.oidc.signing_party import ClientSite

Make = Callable[..., RelyingParty]
PLAIN = {"scopes": ["openid", "profile", "email"]}


def check(app: Flask, client: RelyingParty) -> tuple[int, set[tuple[str, str]]]:
    """The exit code, and level and setting of everything that is found."""
    result = run_command(app, "clients", "check", client.client_id, "--json")
    assert result.exit_code in (0, 1), result.output
    found = json.loads(result.output)
    for row in found:
        assert row["client_id"] == client.client_id
        assert row["what"] and row["fix"] and row["why"]
    return result.exit_code, {(row["level"], row["about"]) for row in found}


def age(app: Flask, client: RelyingParty, days: int, **values: Any) -> None:
    """Make its secrets older."""
    from services.oidc.extensions import db
    from services.oidc.models import ClientSecret

    made = {"created_at": utcnow() - timedelta(days=days), **values}
    with app.app_context(), db.transaction() as session:
        session.execute(
            sa.update(ClientSecret).where(ClientSecret.client_id == client.client_id).values(**made)
        )


def test_a_client_as_usual_has_nothing_weak(app: Flask, make_client: Make) -> None:
    assert check(app, make_client(**PLAIN)) == (0, set())
    native = make_client(
        **PLAIN, application_type="native", auth_method="none", redirect_uris=["http://127.0.0.1/cb"]
    )
    assert check(app, native) == (0, set())


@pytest.mark.parametrize(
    ("settings", "about"),
    [
        ({"require_pkce": False}, "require_pkce"),
        ({"rotate_refresh_tokens": False}, "rotate_refresh_tokens"),
        ({"redirect_uris": ["http://localhost:3000/cb"]}, "redirect_uris"),
        ({"redirect_uris": ["http://127.0.0.1/cb"]}, "redirect_uris"),
        ({"redirect_uris": ["https://localhost/cb"]}, "redirect_uris"),
        ({"redirect_uris": ["https://rp.test/*"]}, "redirect_uris"),
        ({"redirect_uris": ["https://rp.test/go?next=/home"]}, "redirect_uris"),
        ({"redirect_uris": ["http://localhost/cb"], "application_type": "native"}, "redirect_uris"),
        ({"auth_method": "client_secret_post"}, "auth_method"),
        ({"scopes": ["openid", "offline_access"], "grants": ["authorization_code"]}, "scopes"),
        ({"is_first_party": True}, "is_first_party"),
        ({"request_object_signing_alg": "none"}, "request_object_signing_alg"),
    ],
    ids=str,
)
def test_what_is_weak_is_named_and_the_command_fails(
    app: Flask, make_client: Make, settings: dict[str, Any], about: str
) -> None:
    client = make_client(**{**PLAIN, **settings})
    assert check(app, client) == (1, {("weak", about)})


@pytest.mark.parametrize(
    ("settings", "about"),
    [
        ({"redirect_uris": [f"https://{name}.test/" for name in "abcd"]}, "redirect_uris"),
        ({"redirect_uris": ["com.example.app:/cb"], "application_type": "native"}, "redirect_uris"),
        ({"auth_method": "none", "scopes": ["openid", "offline_access"]}, "scopes"),
        ({"frontchannel_logout_uri": "https://rp.test/front"}, "frontchannel_logout_uri"),
        (
            {
                "scopes": ["users:read"],
                "grants": ["client_credentials"],
                "redirect_uris": ["https://rp.test/"],
            },
            "scopes",
        ),
    ],
    ids=str,
)
def test_what_may_be_meant_so_is_a_note_alone(
    app: Flask, make_client: Make, settings: dict[str, Any], about: str
) -> None:
    assert check(app, make_client(**{**PLAIN, **settings})) == (0, {("note", about)})


def test_a_first_party_client_on_a_host_of_ours_is_fine(
    app: Flask, make_client: Make, with_settings: Any
) -> None:
    with_settings(PUBLIC_URL="https://id.community.test")
    for uri in (
        "https://community.test/cb",
        "https://shop.community.test/cb",
        "https://id.community.test/cb",
    ):
        assert check(app, make_client(**PLAIN, redirect_uris=[uri], is_first_party=True)) == (0, set())
    for uri in ("https://evilcommunity.test/cb", "https://community.test.evil.test/cb"):
        assert check(app, make_client(**PLAIN, redirect_uris=[uri], is_first_party=True))[0] == 1


def test_secrets_that_are_old_unused_ending_or_gone(app: Flask, make_client: Make) -> None:
    client = make_client(**PLAIN)
    age(app, client, 40)
    assert check(app, client) == (0, {("note", "secrets")})
    age(app, client, 40, last_used_at=utcnow())
    assert check(app, client) == (0, set())
    age(app, client, 400)
    assert check(app, client) == (1, {("weak", "secrets")})
    age(app, client, 1, expires_at=utcnow() + timedelta(days=3))
    assert check(app, client) == (1, {("weak", "secrets")})
    run_command(app, "clients", "rotate-secret", client.client_id)
    assert check(app, client) == (0, {("note", "secrets")}), "another one follows"
    age(app, client, 1, expires_at=utcnow() - timedelta(days=3))
    assert check(app, client) == (1, {("weak", "secrets")})


@pytest.mark.filterwarnings("ignore:Key size should be")  # joserfc sees it, too
def test_keys_are_read_where_the_client_keeps_them(app: Flask, make_client: Make, site: ClientSite) -> None:
    key = RSAKey.generate_key(2048, {"kid": "long"}).as_dict(private=False)
    client = make_client(**PLAIN, auth_method="private_key_jwt", jwks_uri=site.url("/jwks"))
    assert check(app, client) == (1, {("weak", "jwks_uri")})
    site.answers["/jwks"] = {"keys": [key]}
    assert check(app, client) == (0, set())
    short = RSAKey.generate_key(1024, {"kid": "short"}).as_dict(private=False)
    site.answers["/jwks"] = {"keys": [short]}
    assert check(app, client) == (1, {("weak", "jwks_uri")})
    assert "shorter than 2048 bits" in run_command(app, "clients", "check", client.client_id).output
    for broken in ({"keys": []}, {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}, [1], b"<html>", 302):
        site.answers["/jwks"] = broken
        assert check(app, client) == (1, {("weak", "jwks_uri")}), broken


def test_a_sector_that_no_longer_names_the_client_is_weak(
    app: Flask, make_client: Make, site: ClientSite
) -> None:
    site.answers["/sector"] = ["https://rp.test/callback"]
    client = make_client(**PLAIN, subject_type="pairwise", sector_identifier_uri=site.url("/sector"))
    assert check(app, client) == (0, set())
    site.answers["/sector"] = []
    assert check(app, client) == (1, {("weak", "sector_identifier_uri")})


def test_all_enabled_clients_are_checked_where_none_is_named(app: Flask, make_client: Make) -> None:
    weak = make_client(**PLAIN, name="Weak", require_pkce=False)
    off = make_client(**PLAIN, require_pkce=False, is_enabled=False)
    for arguments in ((), ("all",)):
        result = run_command(app, "clients", "check", *arguments, "--json")
        assert result.exit_code == 1
        named = {row["client_id"] for row in json.loads(result.output)}
        assert weak.client_id in named
        assert off.client_id not in named
    assert "PKCE is not required" in run_command(app, "clients", "check", off.client_id).output
    assert "Nothing is weak." in run_command(app, "clients", "check", make_client(**PLAIN).client_id).output
    assert run_command(app, "clients", "check", "nobody").exit_code == 1
