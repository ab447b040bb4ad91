"""Clients by command: made, shown, changed, given secrets, deleted; what cannot be is refused with a sentence."""

import json
import uuid
from typing import Any

import pytest
from flask import Flask

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


def test_a_public_client_is_not_made_confidential_without_a_secret(app: Flask) -> None:
    client_id = create(app, "--auth-method", "none")["client_id"]
    result = run_command(app, "clients", "update", client_id, "--auth-method", "client_secret_basic")
    assert result.exit_code == 1


def test_a_name_that_cannot_be_stored_is_refused_in_a_change_too(app: Flask) -> None:
    result = run_command(app, "clients", "update", create(app)["client_id"], "--name", "a\x00b")
    assert result.exit_code == 1
    assert "Give it a name" in result.output


def test_secrets_are_rotated_and_verified(app: Flask) -> None:
    made = create(app)

    def is_right(secret: str) -> bool:
        result = run_command(app, "clients", "verify-secret", made["client_id"], input=secret + "\n")
        assert secret not in result.output
        return result.exit_code == 0

    assert is_right(made["client_secret"])
    assert not is_right("wrong")
    second = json.loads(run_command(app, "clients", "rotate-secret", made["client_id"], "--json").output)
    assert is_right(made["client_secret"])
    assert is_right(second["client_secret"])
    shown = json.loads(run_command(app, "clients", "show", made["client_id"], "--json").output)
    assert len(shown["secrets"]) == 2
    third = run_command(app, "clients", "rotate-secret", made["client_id"], "--overlap-hours", "0", "--json")
    assert not is_right(made["client_secret"])
    assert not is_right(second["client_secret"])
    assert is_right(json.loads(third.output)["client_secret"])


def test_a_deleted_client_takes_everything_along(app: Flask, browser: Browser, person: Session) -> None:
    made = create(app)
    party = RelyingParty(app=app, client_id=made["client_id"], secret=made["client_secret"], redirect_uri=URI)
    tokens = party.tokens(browser)
    assert run_command(app, "clients", "delete", made["client_id"]).exit_code == 0
    assert party.userinfo(tokens["access_token"]).status_code == 401
    assert party.refresh(tokens["refresh_token"]).status_code == 401
    assert run_command(app, "clients", "show", made["client_id"]).exit_code == 1


@pytest.mark.parametrize("command", ["show", "update", "rotate-secret", "delete"])
def test_an_unknown_client_is_a_sentence(app: Flask, command: str) -> None:
    for client_id in ("nobody", "a b", "x" * 500):
        result = run_command(app, "clients", command, client_id)
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
