"""Clients by command: made, shown, changed, given secrets, deleted; what cannot be is refused with a sentence."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from joserfc.jwk import ECKey

from libs.people.sessions import Session
from tests.conftest import run_command
from tests.oidc.relying_party import RelyingParty
from tests.pages import Browser

URI = "https://billing.test/callback"


def create(app: Flask, *more: str) -> dict[str, Any]:
    result = run_command(
        app, "clients", "create", "--name", "Billing", "--redirect-uri", URI, *more, "--json"
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def update(app: Flask, client_id: str, *more: str) -> dict[str, Any]:
    result = run_command(app, "clients", "update", client_id, *more, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def is_right(app: Flask, client_id: str, secret: str) -> bool:
    result = run_command(app, "clients", "verify-secret", client_id, input=secret + "\n")
    assert not secret or secret not in result.output
    return result.exit_code == 0


def test_a_client_made_by_command_signs_people_in(app: Flask, browser: Browser, person: Session) -> None:
    made = create(app)
    party = RelyingParty(app=app, client_id=made["client_id"], secret=made["client_secret"], redirect_uri=URI)
    assert made["require_pkce"] is True
    assert party.tokens(browser)["token_type"] == "Bearer"


def test_the_secret_is_printed_once_and_shown_never(app: Flask) -> None:
    made = create(app)
    for command in (
        ("list",),
        ("list", "--json"),
        ("show", made["client_id"]),
        ("show", made["client_id"], "--json"),
    ):
        result = run_command(app, "clients", *command)
        assert result.exit_code == 0
        assert made["client_id"] in result.output
        assert made["client_secret"] not in result.output


def test_a_public_client_has_no_secret(app: Flask) -> None:
    assert "client_secret" not in create(app, "--auth-method", "none")


def test_all_settings_are_taken(app: Flask) -> None:
    made = create(
        app,
        *("--redirect-uri", "https://billing.test/second"),
        *("--scope", "openid offline_access"),
        *("--grant", "authorization_code"),
        *("--auth-method", "client_secret_post"),
        *("--post-logout-redirect-uri", "https://billing.test/bye"),
        *("--first-party", "--no-pkce"),
    )
    assert made["redirect_uris"] == [URI, "https://billing.test/second"]
    assert made["scopes"] == ["openid", "offline_access"]
    assert made["grants"] == ["authorization_code"]
    assert made["auth_method"] == "client_secret_post"
    assert made["post_logout_redirect_uris"] == ["https://billing.test/bye"]
    assert made["is_first_party"] is True
    assert made["require_pkce"] is False


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("--redirect-uri", "http://billing.test.example/cb"), "redirect_uris"),
        (("--redirect-uri", "https://billing.test/cb#here"), "redirect_uris"),
        (("--redirect-uri", "javascript:alert(1)"), "redirect_uris"),
        (("--redirect-uri", "data:text/html,x"), "redirect_uris"),
        (("--redirect-uri", "com.example.app:/cb"), "redirect_uris"),
        (("--redirect-uri", "//billing.test/cb"), "redirect_uris"),
        (("--redirect-uri", "https://user:pw@billing.test/cb"), "redirect_uris"),
        (("--redirect-uri", "https://billing.test/a b"), "redirect_uris"),
        (("--redirect-uri", "https://billing.test:port/"), "redirect_uris"),
        (("--post-logout-redirect-uri", "javascript:alert(1)"), "post_logout_redirect_uris"),
        (("--scope", "openid root"), "scopes"),
        (("--grant", "password"), "grants"),
        (("--name", "a\nb"), "name"),
        (("--name", " "), "name"),
        (("--auth-method", "none", "--no-pkce"), "require_pkce"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_refused(app: Flask, wrong: tuple[str, ...], words: str) -> None:
    result = run_command(app, "clients", "create", "--name", "Billing", "--redirect-uri", URI, *wrong)
    assert result.exit_code == 1, result.output
    assert f"{words}:" in result.output


def test_a_native_client_may_use_its_own_scheme_and_loopback(app: Flask) -> None:
    made = create(
        app,
        *("--native", "--auth-method", "none"),
        *("--redirect-uri", "com.example.app:/cb", "--redirect-uri", "http://127.0.0.1/cb"),
    )
    assert made["application_type"] == "native"


def test_a_client_is_changed_and_the_audit_says_how(app: Flask) -> None:
    client_id = create(app)["client_id"]
    result = run_command(
        app,
        "clients",
        "update",
        client_id,
        "--name",
        "Invoices",
        "--redirect-uri",
        URI + "2",
        "--first-party",
    )
    assert result.exit_code == 0, result.output
    shown = json.loads(run_command(app, "clients", "show", client_id, "--json").output)
    assert shown["name"] == "Invoices"
    assert shown["redirect_uris"] == [URI + "2"]
    assert shown["is_first_party"] is True
    assert shown["scopes"] == ["openid", "profile", "email"], "what is not named stays"
    entries = json.loads(
        run_command(app, "audit", "list", "--target", f"client:{client_id}", "--json").output
    )
    updated = next(entry for entry in entries if entry["action"] == "client.updated")
    assert updated["before"]["name"] == "Billing"
    assert updated["after"]["name"] == "Invoices"
    assert updated["actor"].startswith("command:")


def test_a_public_client_becomes_confidential_with_a_secret_of_its_own_and_public_again_without_it(
    app: Flask,
) -> None:
    client_id = create(app, "--auth-method", "none")["client_id"]
    assert run_command(app, "clients", "rotate-secret", client_id).exit_code == 1
    made = update(app, client_id, "--auth-method", "client_secret_basic")
    assert is_right(app, client_id, made["client_secret"])
    assert "client_secret" not in update(app, client_id, "--auth-method", "client_secret_post")
    assert is_right(app, client_id, made["client_secret"]), "both ways go by the same secret"
    update(app, client_id, "--auth-method", "none")
    assert not is_right(app, client_id, made["client_secret"])
    again = update(app, client_id, "--auth-method", "client_secret_basic")
    assert is_right(app, client_id, again["client_secret"])
    assert not is_right(app, client_id, made["client_secret"]), "what had ended does not come back"


def test_the_first_secret_may_be_made_later(app: Flask) -> None:
    from services.oidc.flows.clients import update_client

    client_id = create(app, "--auth-method", "none")["client_id"]
    with app.app_context():
        update_client(client_id, auth_method="client_secret_basic")
    assert not is_right(app, client_id, "")
    made = json.loads(run_command(app, "clients", "rotate-secret", client_id, "--json").output)
    assert is_right(app, client_id, made["client_secret"])


def test_every_setting_has_an_option_that_sets_it_and_can_be_unset(app: Flask, tmp_path: Path) -> None:
    from services.oidc.flows.clients import SETTINGS, USUAL

    jwks = {"keys": [ECKey.generate_key("P-256", {"kid": "one"}).as_dict(private=False)]}
    (tmp_path / "jwks.json").write_text(json.dumps(jwks))
    options = {
        "name": ("--name", "All of it"),
        "application_type": ("--native",),
        "auth_method": ("--auth-method", "private_key_jwt"),
        "redirect_uris": ("--redirect-uri", URI, "--redirect-uri", "com.example.app:/cb"),
        "post_logout_redirect_uris": ("--post-logout-redirect-uri", URI + "/bye"),
        "grants": ("--grant", "authorization_code", "--grant", "device_code"),
        "scopes": ("--scope", "openid phone"),
        "require_pkce": ("--no-pkce",),
        "rotate_refresh_tokens": ("--no-rotate",),
        "is_first_party": ("--first-party",),
        "is_enabled": ("--disable",),
        "allowed_roles": ("--allowed-role", "support"),
        "client_uri": ("--client-uri", "https://billing.test/"),
        "logo_uri": ("--logo-uri", "https://billing.test/logo.png"),
        "policy_uri": ("--policy-uri", "https://billing.test/policy"),
        "tos_uri": ("--tos-uri", "https://billing.test/tos"),
        "contacts": ("--contact", "ops@billing.test"),
        "software_id": ("--software-id", "billing"),
        "software_version": ("--software-version", "1.0"),
        "jwks": ("--jwks", f"@{tmp_path}/jwks.json"),
        "token_endpoint_auth_signing_alg": ("--token-endpoint-auth-signing-alg", "ES256"),
        "request_object_signing_alg": ("--request-object-signing-alg", "ES256"),
        "request_uris": ("--request-uri", "https://billing.test/request#abc"),
        "require_pushed_authorization_requests": ("--require-pushed-authorization-requests",),
        "require_signed_request_object": ("--require-signed-request-object",),
        "subject_type": ("--subject-type", "pairwise"),
        "id_token_signed_response_alg": ("--id-token-signed-response-alg", "ES256"),
        "userinfo_signed_response_alg": ("--userinfo-signed-response-alg", "RS256"),
        "access_token_format": ("--access-token-format", "opaque"),
        "access_token_signing_alg": ("--access-token-signing-alg", "RS256"),
        "claims_mapping": ("--claims-mapping", '{"mail": "email"}'),
        "initiate_login_uri": ("--initiate-login-uri", "https://billing.test/login"),
        "default_max_age": ("--default-max-age", "600"),
        "require_auth_time": ("--require-auth-time",),
        "default_acr_values": ("--default-acr-value", "2"),
        "backchannel_logout_uri": ("--backchannel-logout-uri", "https://billing.test/back"),
        "backchannel_logout_session_required": ("--backchannel-logout-session-required",),
        "frontchannel_logout_uri": ("--frontchannel-logout-uri", "https://billing.test/front"),
        "frontchannel_logout_session_required": ("--frontchannel-logout-session-required",),
    }
    elsewhere = {"jwks_uri", "sector_identifier_uri"}  # either jwks or its address; test_sectors
    assert set(options) | elsewhere == {setting.name for setting in SETTINGS}
    options["subject_type"] = ("--subject-type", "public")  # its redirect URIs are of two hosts
    arguments = [word for words in options.values() for word in words]
    result = run_command(app, "clients", "create", *arguments, "--json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.output)
    for name in set(options) - {"name", "subject_type"}:
        assert made[name] != USUAL.get(name), name
    assert made["jwks"] == jwks
    assert made["grants"][1].endswith(":device_code")
    every = [name.replace("_", "-") for name in options if name != "name"]
    cleared = [word for name in every for word in ("--unset", name)]
    result = run_command(app, "clients", "update", made["client_id"], *cleared, "--json")
    assert result.exit_code == 1, "a client that signs people in needs an address to return to"
    cleared = [word for name in every if name != "redirect-uris" for word in ("--unset", name)]
    left = update(app, made["client_id"], *cleared, "--redirect-uri", URI)
    for name in set(options) - {"name", "redirect_uris"}:
        assert left[name] == USUAL.get(name), name


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("--jwks", "@/nowhere/at/all"), "cannot be read"),
        (("--jwks", "{]"), "no JSON"),
        (("--jwks", '{"keys": "none"}'), "jwks:"),
        (("--default-max-age", "soon"), "not a valid integer"),
        ((), "Say what to change"),
        (("--name", ""), "These client settings cannot be used: name: Give it a name"),
        (("--unset", "nothing"), "no such setting"),
        (("--unset", "name"), "has to be chosen"),
        (("--unset", "scope", "--scope", "openid"), "it is set, too"),
        (("--claims-mapping", '{"sub": "email"}'), "claims_mapping:"),
        (("--id-token-signed-response-alg", "none"), "is not one of"),
    ],
    ids=str,
)
def test_options_that_mean_nothing_are_refused(app: Flask, wrong: tuple[str, ...], words: str) -> None:
    result = run_command(app, "clients", "update", create(app)["client_id"], *wrong)
    assert result.exit_code in (1, 2)
    assert words in result.output


def test_a_client_that_is_switched_off_loses_what_it_was_given(
    app: Flask, browser: Browser, person: Session
) -> None:
    made = create(app)
    party = RelyingParty(app=app, client_id=made["client_id"], secret=made["client_secret"], redirect_uri=URI)
    tokens = party.tokens(browser)
    update(app, made["client_id"], "--disable")
    assert party.refresh(tokens["refresh_token"]).status_code == 401
    assert party.userinfo(tokens["access_token"]).status_code == 401
    update(app, made["client_id"], "--enable")
    assert party.refresh(tokens["refresh_token"]).status_code == 400
    assert party.userinfo(tokens["access_token"]).status_code == 401
    assert party.tokens(browser)["token_type"] == "Bearer", "and starts anew"


def test_a_name_that_cannot_be_stored_is_refused_in_a_change_too(app: Flask) -> None:
    result = run_command(app, "clients", "update", create(app)["client_id"], "--name", "a\x00b")
    assert result.exit_code == 1
    assert "Give it a name" in result.output


def test_secrets_are_rotated_and_verified(app: Flask) -> None:
    made = create(app)
    client_id = made["client_id"]
    assert is_right(app, client_id, made["client_secret"])
    assert not is_right(app, client_id, "wrong")
    second = json.loads(run_command(app, "clients", "rotate-secret", client_id, "--json").output)
    assert is_right(app, client_id, made["client_secret"])
    assert is_right(app, client_id, second["client_secret"])
    shown = json.loads(run_command(app, "clients", "show", client_id, "--json").output)
    assert len(shown["secrets"]) == 2
    third = run_command(app, "clients", "rotate-secret", client_id, "--overlap-hours", "0", "--json")
    assert not is_right(app, client_id, made["client_secret"])
    assert not is_right(app, client_id, second["client_secret"])
    assert is_right(app, client_id, json.loads(third.output)["client_secret"])


def test_two_secrets_hold_at_most_and_each_shows_its_use_and_its_end(app: Flask) -> None:
    import sqlalchemy as sa

    from libs.database import utcnow
    from services.oidc.extensions import db
    from services.oidc.models import ClientSecret

    client_id = create(app)["client_id"]
    with app.app_context(), db.transaction() as session:
        session.execute(
            sa.update(ClientSecret).where(ClientSecret.client_id == client_id).values(last_used_at=utcnow())
        )
    rotate = ("clients", "rotate-secret", client_id, "--expires-in", "90d", "--json")
    assert run_command(app, *rotate).exit_code == 0
    shown = json.loads(run_command(app, "clients", "show", client_id, "--json").output)["secrets"]
    older, newer = shown
    assert older["last_used_at"]
    assert older["ends_soon"] is True
    assert newer["last_used_at"] is None
    assert newer["expires_at"] > older["expires_at"]
    assert newer["ends_soon"] is False
    assert "(soon)" in run_command(app, "clients", "show", client_id).output
    assert run_command(app, *rotate).exit_code == 0
    third = json.loads(run_command(app, "clients", "show", client_id, "--json").output)["secrets"]
    assert [row["id"] for row in third][:1] == [newer["id"]], "the oldest has ended"
    assert len(third) == 2


def test_a_deleted_client_takes_everything_along(app: Flask, browser: Browser, person: Session) -> None:
    made = create(app)
    party = RelyingParty(app=app, client_id=made["client_id"], secret=made["client_secret"], redirect_uri=URI)
    tokens = party.tokens(browser)
    assert run_command(app, "clients", "delete", made["client_id"]).exit_code == 0
    assert party.userinfo(tokens["access_token"]).status_code == 401
    assert party.refresh(tokens["refresh_token"]).status_code == 401
    assert run_command(app, "clients", "show", made["client_id"]).exit_code == 1


@pytest.mark.parametrize("command", ["show", "update --disable", "rotate-secret", "delete"])
def test_an_unknown_client_is_a_sentence(app: Flask, command: str) -> None:
    verb, *more = command.split()
    for client_id in ("nobody", "a b", "x" * 500):
        result = run_command(app, "clients", verb, client_id, *more)
        assert result.exit_code == 1
        assert "There is no client with this id" in result.output


def test_the_launcher_may_ensure_a_client_again_and_again(
    app: Flask, browser: Browser, person: Session
) -> None:
    from services.oidc.flows.clients import ensure_client

    client_id = f"demo-{uuid.uuid4().hex[:8]}"
    settings: dict[str, Any] = {
        "client_id": client_id,
        "name": "Demo",
        "redirect_uris": [URI],
        "secret": "s" * 40,
    }
    with app.app_context():
        assert ensure_client(**settings) is True
        assert ensure_client(**settings) is False
    party = RelyingParty(app=app, client_id=client_id, secret="s" * 40, redirect_uri=URI)
    tokens = party.tokens(browser, scope="openid email offline_access")
    with app.app_context():
        assert ensure_client(**{**settings, "redirect_uris": [URI + "2"], "secret": "t" * 40}) is True
    assert party.refresh(tokens["refresh_token"]).status_code == 401
    party.secret = "t" * 40
    assert party.refresh(tokens["refresh_token"]).status_code == 200
