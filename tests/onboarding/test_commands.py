"""Commands about applications, as the engineer on call types them."""

import json
import uuid
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.messaging.events import ApplicantActivated
from services.onboarding.extensions import db
from tests.conftest import recorded, run_command
from tests.onboarding import steps
from tests.onboarding.steps import press
from tests.pages import ORIGIN, Browser


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No subscriber confirms events here, so waiting for them would only cost time."""
    monkeypatch.setattr("libs.commands.EVENTS_WAIT_S", 0)


def activations(app: Flask, email: str) -> list[ApplicantActivated]:
    return [
        e for e in recorded(app, ApplicantActivated) if isinstance(e, ApplicantActivated) and e.email == email
    ]


def test_list_shows_applications_by_state(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    result = run_command(onboarding_app, "applications", "list", "--state", "submitted")
    assert result.exit_code == 0
    assert email in result.output
    result = run_command(onboarding_app, "applications", "list", "--state", "rejected", "--json")
    assert all(row["state"] == "rejected" for row in json.loads(result.stdout))
    assert email not in result.output
    assert run_command(onboarding_app, "applications", "list", "--state", "nonsense").exit_code == 2


def test_show_finds_the_address_in_any_case(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    result = run_command(onboarding_app, "applications", "show", email.upper())
    assert result.exit_code == 0
    assert f"email: {email}" in result.output
    assert "state: submitted" in result.output


def test_show_finds_a_domain_in_its_own_letters(onboarding_app: Flask) -> None:
    email = f"ada-{uuid.uuid4().hex[:8]}@пример.рф"
    steps.apply(onboarding_app, email)
    result = run_command(onboarding_app, "applications", "show", email)
    assert result.exit_code == 0
    assert "xn--e1afmkfd.xn--p1ai" in result.output


@pytest.mark.parametrize("email", ["", "nobody", "a@b@c", "a\udcff@people.test"])
def test_what_is_no_address_is_said_so(onboarding_app: Flask, email: str) -> None:
    result = run_command(onboarding_app, "applications", "show", email)
    assert result.exit_code in (1, 2)
    assert "Error: " in result.output


@pytest.mark.parametrize("name", ["show", "approve", "reject", "activation-link", "activate"])
def test_an_unknown_address_fails_with_a_sentence(onboarding_app: Flask, name: str) -> None:
    result = run_command(onboarding_app, "applications", name, "nobody@people.test")
    assert result.exit_code == 1
    assert result.output == "Error: Nobody applied as nobody@people.test.\n"


def test_approve_decides_and_mails_like_the_page(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    result = run_command(onboarding_app, "applications", "approve", email, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["state"] == "approved"
    assert len(steps.mails(onboarding_app, email, "activation_link")) == 1
    target = f"application:{steps.facts(onboarding_app, email)['id']}"
    entries = json.loads(run_command(onboarding_app, "audit", "list", "--json", "--target", target).stdout)
    [entry] = [entry for entry in entries if entry["action"] == "application.approved"]
    assert entry["actor"].startswith("command:")
    assert (entry["before"], entry["after"]) == ({"state": "confirmed"}, {"state": "approved"})


def test_approve_says_that_the_address_is_not_confirmed(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    result = run_command(onboarding_app, "applications", "approve", email)
    assert "waits for the address to be confirmed" in result.output


def test_a_repeated_command_changes_nothing_more(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    for _ in range(2):
        assert run_command(onboarding_app, "applications", "approve", email).exit_code == 0
    assert len(steps.mails(onboarding_app, email, "activation_link")) == 1


def test_reject_mails_the_reason_and_a_later_approval_is_refused(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    result = run_command(onboarding_app, "applications", "reject", email, "--reason", "We are full.")
    assert result.exit_code == 0, result.output
    assert steps.mails(onboarding_app, email)[-1].context["reason"] == "We are full."
    result = run_command(onboarding_app, "applications", "approve", email)
    assert result.exit_code == 1
    assert "has already rejected this application." in result.output


def test_a_reviewers_decision_is_named_to_the_command(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.approve(onboarding_app, email)
    result = run_command(onboarding_app, "applications", "reject", email)
    assert result.exit_code == 1
    assert "Rita Reviewer has already approved this application." in result.output


def test_activation_link_prints_a_link_that_works_and_ends_the_earlier(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    mailed = steps.link(onboarding_app, email, "activation_link")
    result = run_command(onboarding_app, "applications", "activation-link", email)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"Activation URL: {ORIGIN}/activate?token=")
    path = result.stdout.strip().partition(ORIGIN)[2]
    assert Browser(onboarding_app).get(mailed).status_code == 410
    assert press(onboarding_app, path)["email"] == email
    again = run_command(onboarding_app, "applications", "activation-link", email, "--json")
    assert json.loads(again.stdout)["activation_url"].startswith(f"{ORIGIN}/activate?token=")
    assert Browser(onboarding_app).get(path).status_code == 410
    assert len(steps.mails(onboarding_app, email, "activation_link")) == 1, "a printed link is not mailed"


def test_a_link_printed_before_the_address_is_confirmed_does_not_confirm_it(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.approve(onboarding_app, email)
    result = run_command(onboarding_app, "applications", "activation-link", email)
    assert press(onboarding_app, result.stdout.strip().partition(ORIGIN)[2])["email_verified"] is False


def test_activation_link_is_for_approved_applications(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    result = run_command(onboarding_app, "applications", "activation-link", email)
    assert result.exit_code == 1
    assert result.output == (
        f"Error: The application of {email} is submitted: only approved ones have an activation link.\n"
    )
    run_command(onboarding_app, "applications", "reject", email)
    assert run_command(onboarding_app, "applications", "activation-link", email).exit_code == 1


def test_activate_asks_account_to_open_the_account(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    reason = "Manually activated by admin"
    result = run_command(onboarding_app, "applications", "activate", email, "--reason", reason)
    assert result.exit_code == 0, result.output
    [event] = activations(onboarding_app, email)
    values = steps.facts(onboarding_app, email)
    assert (event.application_id, event.reason, event.roles) == (values["id"], reason, [])
    assert (values["state"], values["address_confirmed_at"]) == ("approved", None)
    assert not steps.mails(onboarding_app, email, "activation_link")
    steps.open_account(onboarding_app, email)
    assert steps.facts(onboarding_app, email)["state"] == "activated"
    audit = run_command(onboarding_app, "audit", "list", "--target", f"application:{values['id']}")
    assert reason in audit.output


def test_activate_refuses_what_is_rejected_or_open_already(onboarding_app: Flask) -> None:
    rejected = steps.apply(onboarding_app)
    run_command(onboarding_app, "applications", "reject", rejected)
    activated = steps.approved(onboarding_app)
    steps.open_account(onboarding_app, activated)
    for email in (rejected, activated):
        result = run_command(onboarding_app, "applications", "activate", email)
        assert result.exit_code == 1
        assert "it cannot be activated" in result.output
        assert not activations(onboarding_app, email)


def test_an_earlier_application_of_an_address_is_named_by_its_id(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    first = steps.facts(onboarding_app, email)["id"]
    run_command(onboarding_app, "applications", "reject", email)
    steps.apply(onboarding_app, email)
    assert steps.facts(onboarding_app, email)["id"] != first
    assert steps.facts(onboarding_app, email, "--id", first)["state"] == "rejected"
    other = steps.apply(onboarding_app)
    result = run_command(onboarding_app, "applications", "approve", other, "--id", first)
    assert result.exit_code == 1
    assert result.output == f"Error: The application {first} is not of {other}.\n"
    unknown = str(uuid.uuid4())
    result = run_command(onboarding_app, "applications", "show", email, "--id", unknown)
    assert result.output == "Error: There is no application with this id\n"


def test_activate_is_possible_while_a_reviewer_has_claimed_it_and_twice(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    steps.ask(onboarding_app, email)
    for _ in range(2):
        assert run_command(onboarding_app, "applications", "activate", email).exit_code == 0
    assert steps.facts(onboarding_app, email)["state"] == "approved"
    assert len(activations(onboarding_app, email)) == 2, "account opens one account per application"
    browser = Browser(onboarding_app)
    browser.get(steps.status_page(onboarding_app, email))
    assert 'id="answer"' not in browser.text, "the question is closed"
    assert "being opened" in browser.text


def test_after_a_direct_activation_neither_is_taken_back_nor_withdrawn(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    run_command(onboarding_app, "applications", "activate", email)
    with onboarding_app.app_context(), db.engine.connect() as connection:
        query = sa.text("SELECT directly_activated_at FROM applications WHERE email = :email")
        assert connection.execute(query, {"email": email}).scalar_one() is not None


def test_the_roles_of_an_application_go_into_the_ticket_and_the_event(onboarding_app: Flask) -> None:
    by_mail, directly = steps.approved(onboarding_app), steps.approved(onboarding_app)
    with onboarding_app.app_context(), db.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE applications SET roles = '{support}' WHERE email IN (:one, :two)"),
            {"one": by_mail, "two": directly},
        )
    path = steps.link(onboarding_app, by_mail, "activation_link")
    assert press(onboarding_app, path)["roles"] == ["support"]
    run_command(onboarding_app, "applications", "activate", directly)
    [event] = activations(onboarding_app, directly)
    assert event.roles == ["support"]


def test_the_printed_url_is_on_stdout_and_in_no_log(
    onboarding_app: Flask, log_text: Callable[[], str]
) -> None:
    email = steps.approved(onboarding_app)
    result = run_command(onboarding_app, "applications", "activation-link", email)
    token = result.stdout.strip().partition("token=")[2]
    assert len(token) == 43
    press(onboarding_app, f"/activate?token={token}")
    assert token not in log_text()
    assert token not in result.stderr
