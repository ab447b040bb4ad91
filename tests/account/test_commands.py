"""Commands of account that have no test file of their own: that they are all there, and what staff pages can too."""

import json
import uuid
from collections.abc import Callable
from datetime import timedelta

import click
import pytest
from flask import Flask

from tests.account.conftest import Person, is_signed_in, link_in, mails_to, rows, sign_in
from tests.account.test_login_events import event_at, fail
from tests.conftest import run_command
from tests.pages import Browser

PROMISED = {
    "users": "list show create disable enable secure reset-second-factor erase role keep send-password-link",
    "users role": "add remove",
    "sessions": "list revoke clear-expired end",
    "ratelimits": "list reset enhance relax",
    "blocks": "add list lift",
    "breakers": "list reset",
    "events": "list retry",
    "audit": "list",
    "": "login-events login-failures health dbcheck openapi",
}
"""What operators and the runbook rely on."""


@pytest.mark.parametrize("group", PROMISED)
def test_every_command_that_is_promised_is_there(app: Flask, group: str) -> None:
    found: click.Command = app.cli
    for name in group.split():
        assert isinstance(found, click.Group)
        found = found.commands[name]
    assert isinstance(found, click.Group)
    assert set(PROMISED[group].split()) <= set(found.commands)


def test_an_account_is_opened_with_a_mailed_link_instead_of_a_password(app: Flask, browser: Browser) -> None:
    email = f"zoe-{uuid.uuid4().hex[:10]}@people.test"
    made = run_command(app, "users", "create", email, "--mail-link", "--role", "support", "--json")
    assert made.exit_code == 0, made.output
    said = json.loads(made.stdout)
    assert (said["email"], said["roles"]) == (email, ["support"])
    assert "password" not in said
    [mail] = mails_to(app, email)
    browser.fill(link_in(mail), password="a lantern in the orchard")
    assert is_signed_in(browser)


@pytest.mark.parametrize("other", ["--password-prompt", "--password-stdin", "--verified"])
def test_an_account_has_one_first_way_in(app: Flask, other: str) -> None:
    email = f"zoe-{uuid.uuid4().hex[:10]}@people.test"
    refused = run_command(app, "users", "create", email, "--mail-link", other)
    assert refused.exit_code == 2
    assert rows(app, "SELECT 1 FROM users WHERE email = :email", email=email) == []


def test_a_password_link_is_sent_by_command(app: Flask, person: Person) -> None:
    sent = run_command(app, "users", "send-password-link", person.email, "--reason", "locked out", "--json")
    assert (sent.exit_code, json.loads(sent.stdout)) == (0, {"sub": person.sub, "purpose": "reset"})
    [mail] = mails_to(app, person.email, "reset_password")
    assert Browser(app).get(link_in(mail)).status_code == 200
    [entry] = rows(
        app,
        "SELECT actor, reason FROM audit_entries WHERE action = 'password.link_sent' AND target = :target",
        target=f"user:{person.sub}",
    )
    assert entry.actor.startswith("command:")
    assert entry.reason == "locked out"
    run_command(app, "users", "disable", person.email)
    refused = run_command(app, "users", "send-password-link", person.email)
    assert refused.exit_code == 1
    assert "disabled" in refused.output


def test_an_account_about_to_be_erased_is_kept_by_command(app: Flask, person: Person) -> None:
    assert "was not to be erased" in run_command(app, "users", "keep", person.email).output
    assert run_command(app, "users", "erase", person.email, "--yes").exit_code == 0
    kept = run_command(app, "users", "keep", person.email, "--json")
    assert (kept.exit_code, json.loads(kept.stdout)["changed"]) == (0, True)
    assert rows(app, "SELECT erase_at FROM users WHERE sub = :sub", sub=person.sub)[0].erase_at is None


def test_one_session_is_ended_by_command(
    app: Flask, person: Person, make_person: Callable[..., Person]
) -> None:
    phone, laptop = sign_in(Browser(app), person), sign_in(Browser(app), person)
    newest, _ = json.loads(run_command(app, "sessions", "list", person.email, "--json").stdout)
    strange = run_command(app, "sessions", "end", make_person().email, newest["sid"])
    assert strange.exit_code == 1
    assert is_signed_in(laptop)
    ended = run_command(app, "sessions", "end", person.email, newest["sid"], "--json")
    assert (ended.exit_code, json.loads(ended.stdout)["ended"]) == (0, True)
    assert (is_signed_in(phone), is_signed_in(laptop)) == (True, False)
    again = run_command(app, "sessions", "end", person.email, newest["sid"])
    assert (again.exit_code, "had ended before" in again.output) == (0, True)


def test_login_events_are_narrowed_as_on_the_page(app: Flask, person: Person) -> None:
    fail(app, person.email)
    sign_in(Browser(app), person)
    event_at(app, person, timedelta(hours=2), method="passkey", reason="cancelled")

    def reasons(*options: str) -> list[str | None]:
        result = run_command(app, "login-events", "--email", person.email, "--json", *options)
        assert result.exit_code == 0, result.output
        return [event["failure_reason"] for event in json.loads(result.stdout)]

    assert reasons() == [None, "bad_password", "cancelled"]
    assert reasons("--outcome", "success") == [None]
    assert reasons("--outcome", "failure") == ["bad_password", "cancelled"]
    assert reasons("--reason", "cancelled") == ["cancelled"]
    assert reasons("--method", "passkey") == ["cancelled"]
    assert run_command(app, "login-events", "--reason", "bad_luck").exit_code == 2
