"""What reviewers do on pages, done by command."""

import json
from typing import Any

import pytest
from flask import Flask

from tests.conftest import run_command
from tests.onboarding import steps
from tests.onboarding.test_review_claims import act


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No subscriber confirms events here, so waiting for them would only cost time."""
    monkeypatch.setattr("libs.commands.EVENTS_WAIT_S", 0)


def run(app: Flask, *arguments: str) -> str:
    result = run_command(app, "applications", *arguments)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def refused(app: Flask, *arguments: str) -> str:
    result = run_command(app, "applications", *arguments)
    assert result.exit_code == 1, result.output
    return str(result.output)


def listed(app: Flask, *arguments: str) -> list[dict[str, Any]]:
    result = run_command(app, "applications", "list", "--json", *arguments)
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


def test_list_takes_the_filters_and_the_search_of_the_page(onboarding_app: Flask) -> None:
    mark = steps.new_email()[4:12]
    emails = [steps.apply(onboarding_app, name=f"Cli {mark}") for _ in range(3)]
    run(onboarding_app, "claim", emails[0])
    assert [row["email"] for row in listed(onboarding_app, "--state", "mine", "--search", mark)] == emails[:1]
    unclaimed = listed(onboarding_app, "--state", "unclaimed", "--search", mark)
    assert [row["email"] for row in unclaimed] == [emails[2], emails[1]]
    assert len(listed(onboarding_app, "--search", mark)) == 3
    assert len(listed(onboarding_app, "--search", mark, "--limit", "2")) == 2
    assert listed(onboarding_app, "--search", "cli no-such-word") == []


def test_claim_ask_note_and_show(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    assert run(onboarding_app, "claim", email) == f"Claimed the application of {email}.\n"
    run(onboarding_app, "ask", email, "Which boats?")
    run(onboarding_app, "note", email, "Asked about boats.")
    values = steps.facts(onboarding_app, email)
    assert (values["state"], values["open_question"], values["notes"]) == (
        "in_review",
        "Which boats?",
        ["Asked about boats."],
    )
    assert values["claimed_by"].startswith("command:")
    assert "The applicant has not answered" in refused(onboarding_app, "ask", email, "And oars?")
    assert refused(onboarding_app, "note", email, " ") == "Error: Write the note first.\n"


def test_a_command_takes_over_when_told_to_and_decides_above_claims(onboarding_app: Flask) -> None:
    email, other = steps.apply(onboarding_app), steps.apply(onboarding_app)
    reviewer = steps.reviewer(onboarding_app)
    act(onboarding_app, reviewer, email, "take")
    act(onboarding_app, reviewer, other, "take")
    assert "Rita Reviewer has claimed this application." in refused(onboarding_app, "claim", email)
    run(onboarding_app, "claim", email, "--take-over")
    assert steps.facts(onboarding_app, email)["claimed_by"].startswith("command:")
    run(onboarding_app, "approve", other)
    assert steps.facts(onboarding_app, other)["state"] == "approved"


def test_reject_with_a_private_reason_and_take_back(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    run(onboarding_app, "reject", email, "--reason", "A known spammer.", "--private")
    [mail] = steps.mails(onboarding_app, email, "application_rejected")
    assert mail.context["reason"] is None
    values = steps.facts(onboarding_app, email)
    assert (values["reason"], values["reason_is_shown"]) == ("A known spammer.", False)
    assert run(onboarding_app, "take-back", email) == f"The application of {email} is in review again.\n"
    values = steps.facts(onboarding_app, email)
    assert (values["state"], values["claimed_by"]) == ("in_review", None), "it waits for any reviewer"
    assert refused(onboarding_app, "take-back", email) == "Error: This application is not decided.\n"
    browser = steps.reviewer(onboarding_app)
    browser.get(f"/admin/applications?state=unclaimed&q={email}")
    assert email in browser.text.split("</form>", 1)[1]


def test_a_reason_by_command_is_held_to_the_rules_of_the_page(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    refused = run_command(onboarding_app, "applications", "reject", email, "--reason", "x" * 2001)
    assert (refused.exit_code, "2000" in refused.stderr) == (1, True)
    assert steps.facts(onboarding_app, email)["state"] == "confirmed"
    kept = run_command(onboarding_app, "applications", "reject", email, "--reason", "No\0 boat.")
    assert kept.exit_code == 0
    assert steps.mails(onboarding_app, email)[-1].context["reason"] == "No boat."
