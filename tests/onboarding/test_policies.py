"""Who gets in how: the rules in order, tried, and what applicants see of them."""

import json
import uuid
from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import run_command, sign_in_copy
from tests.onboarding import steps
from tests.onboarding.test_apply_again import rows
from tests.pages import Browser

Put = Callable[..., None]


def verdict(app: Flask, email: str, *arguments: str) -> tuple[str, str]:
    """What `policies test` says: the outcome and the rule."""
    result = run_command(app, "policies", "test", email, "--json", *arguments)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    return values["outcome"], values["rule"]


def administrator(app: Flask, **overrides: int) -> Browser:
    browser = Browser(app)
    sign_in_copy(browser, app, roles=["admin"], **overrides)  # type: ignore[arg-type]
    return browser


# -- the rules ----------------------------------------------------------------------------------------------


def test_the_rules_stand_in_one_order(onboarding_app: Flask) -> None:
    result = run_command(onboarding_app, "policies", "list", "--json")
    assert [row["rule"] for row in json.loads(result.stdout)] == [
        "closed",
        "refused_domain",
        "disposable_domain",
        "invitation",
        "address_cap",
        "network_cap",
        "trusted_domain",
        "open",
        "invitation_only",
        "review",
        "nobody_to_review",
    ]


@pytest.mark.parametrize(
    ("changes", "email", "arguments", "expected"),
    [
        ({}, "ada@people.test", (), ("review", "review")),
        ({"mode": "open"}, "ada@people.test", (), ("approved", "open")),
        ({"mode": "closed"}, "ada@people.test", ("--invited",), ("refused", "closed")),
        ({"mode": "invitation"}, "ada@people.test", (), ("refused", "invitation_only")),
        ({"mode": "invitation"}, "ada@people.test", ("--invited",), ("approved", "invitation")),
        ({"trust": ["good.test"]}, "ada@GOOD.test", (), ("approved", "trusted_domain")),
        ({"trust": ["good.test"]}, "ada@sub.good.test", (), ("review", "review")),
        ({"trust": ["good.test"], "mode": "invitation"}, "a@good.test", (), ("approved", "trusted_domain")),
        ({"refuse": ["bad.test"]}, "ada@bad.test", ("--invited",), ("refused", "refused_domain")),
        ({"refuse": ["bad.test"]}, "ada@sub.bad.test", (), ("refused", "refused_domain")),
        ({"refuse": ["bad.test"]}, "ada@notbad.test", (), ("review", "review")),
        ({"refuse": ["почта.рф"]}, "ada@ПОЧТА.рф", (), ("refused", "refused_domain")),
        ({"refuse": ["bad.test"], "mode": "open"}, "ada@bad.test", (), ("refused", "refused_domain")),
    ],
)
def test_the_first_rule_that_says_something_decides(
    onboarding_app: Flask,
    policy: Put,
    changes: dict[str, object],
    email: str,
    arguments: tuple[str, ...],
    expected: tuple[str, str],
) -> None:
    policy(**changes)
    assert verdict(onboarding_app, email, *arguments) == expected


def test_disposable_domains_come_from_the_settings_and_a_file(
    onboarding_app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "disposable.txt"
    file.write_text("# Gathered by somebody\nten.minutes.test\n\nThrow-Away.test # in two hours\n")
    steps.with_settings(
        onboarding_app,
        monkeypatch,
        DISPOSABLE_DOMAINS=("gone.test",),
        DISPOSABLE_DOMAINS_FILE=str(file),
    )
    for domain in ("gone.test", "a.b.gone.test", "ten.minutes.test", "throw-away.test"):
        assert verdict(onboarding_app, f"ada@{domain}") == ("refused", "disposable_domain"), domain
    assert verdict(onboarding_app, "ada@minutes.test") == ("review", "review")


def test_nobody_to_review_is_the_last_word(onboarding_app: Flask, policy: Put, nobody_reviews: None) -> None:
    policy(trust=["good.test"])
    assert verdict(onboarding_app, "ada@people.test") == ("refused", "nobody_to_review")
    assert verdict(onboarding_app, "ada@good.test") == ("approved", "trusted_domain")
    policy(mode="open")
    assert verdict(onboarding_app, "ada@people.test") == ("approved", "open")


def test_test_says_which_rule_decides_and_why(onboarding_app: Flask, policy: Put) -> None:
    policy(refuse=["bad.test"])
    result = run_command(onboarding_app, "policies", "test", "ada@bad.test")
    assert "closed" in result.stdout
    assert "passes" in result.stdout
    assert "disposable_domain" not in result.stdout, "what comes after is not asked"
    assert result.stdout.strip().endswith(
        "ada@bad.test is refused by the rule refused_domain: "
        "Addresses of bad.test cannot be used here: use another one."
    )
    assert run_command(onboarding_app, "policies", "test", "nonsense").exit_code == 1
    assert run_command(onboarding_app, "policies", "test", "a@b.test", "--ip", "x").exit_code == 1


# -- what applicants see ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "mark", "status"), [("closed", "closed", 403), ("invitation", "invitation-only", 403)]
)
def test_a_closed_door_says_so_and_takes_nothing(
    onboarding_app: Flask, policy: Put, mode: str, mark: str, status: int
) -> None:
    browser = Browser(onboarding_app)
    browser.get("/apply")  # opened before
    email = steps.new_email()
    policy(mode=mode)
    browser.fill(email=email, name="Ada", why="x")
    assert browser.status == status
    assert not steps.mails(onboarding_app, email)
    page = Browser(onboarding_app).get("/apply")
    assert page.status_code == 200
    assert f'id="{mark}"' in page.text
    assert 'id="apply"' not in page.text


def test_without_a_reviewer_nothing_is_taken_that_nobody_would_answer(
    onboarding_app: Flask, policy: Put, nobody_reviews: None
) -> None:
    policy(mode="open")
    browser = Browser(onboarding_app)
    browser.get("/apply")
    assert 'id="apply"' in browser.text
    policy(mode="review")
    email = steps.new_email()
    browser.fill(email=email, name="Ada", why="x")
    assert browser.status == 503
    assert int(browser.page.headers["Retry-After"]) >= 60
    assert not steps.mails(onboarding_app, email)
    page = Browser(onboarding_app).get("/apply")
    assert page.status_code == 200
    assert 'id="nobody-to-review"' in page.text
    assert 'id="apply"' not in page.text
    policy(trust=["good.test"])
    trusted = f"ada-{uuid.uuid4().hex[:8]}@good.test"
    steps.apply(onboarding_app, trusted)
    assert steps.mails(onboarding_app, trusted)


@pytest.mark.parametrize("email", ["ada@bad.test", "ada@x.bad.test"])
def test_a_refused_domain_is_said_beside_the_address_for_known_and_unknown_alike(
    onboarding_app: Flask, policy: Put, email: str
) -> None:
    known = steps.apply(onboarding_app, f"known-{uuid.uuid4().hex[:8]}@bad.test")
    policy(refuse=["bad.test"])
    texts = set()
    for address in (email, known):
        browser = Browser(onboarding_app)
        browser.fill("/apply", email=address, name="Ada", why="kept words")
        assert browser.status == 422
        assert 'id="email-error"' in browser.text
        assert "kept words" in browser.text
        texts.add(browser.text.count("cannot be used here"))
    assert texts == {1}


def test_a_trusted_domain_needs_no_review_but_the_confirmed_address(
    onboarding_app: Flask, policy: Put
) -> None:
    policy(trust=["good.test"])
    email = steps.apply(onboarding_app, f"ada-{uuid.uuid4().hex[:8]}@good.test")
    assert steps.facts(onboarding_app, email)["state"] == "submitted"
    browser = steps.confirm(onboarding_app, email)
    assert 'id="activate"' in browser.text, "one click from the account"
    values = steps.facts(onboarding_app, email)
    assert (values["state"], values["decided_by"]) == ("approved", "policy:trusted_domain")
    [mail] = steps.mails(onboarding_app, email, "activation_link")
    assert not steps.mails(onboarding_app, email, "address_confirmed")
    browser.fill(button="activate")
    assert browser.location.startswith("/enrol?ticket=")
    assert Browser(onboarding_app).get(mail.context["link"]).status_code == 200, "the mailed link is the same"
    audit = run_command(onboarding_app, "audit", "list", "--json", "--target", f"application:{values['id']}")
    entries = {entry["action"]: entry["actor"] for entry in json.loads(audit.stdout)}
    assert entries["application.approved"] == "policy:trusted_domain"
    assert entries["application.address_confirmed"] == "anonymous"


def test_what_counts_is_the_policy_at_the_moment_of_the_confirmation(
    onboarding_app: Flask, policy: Put
) -> None:
    policy(mode="open")
    email = steps.apply(onboarding_app)
    policy(mode="closed")
    assert 'data-state="confirmed"' in steps.confirm(onboarding_app, email).text, "a reviewer decides"
    waiting = steps.facts(onboarding_app, email)
    assert waiting["state"] == "confirmed"
    policy(mode="review")
    email = steps.apply(onboarding_app)
    policy(mode="open")
    steps.confirm(onboarding_app, email)
    assert steps.facts(onboarding_app, email)["decided_by"] == "policy:open"


# -- caps ---------------------------------------------------------------------------------------------------


def test_an_address_beyond_its_cap_sees_what_everybody_sees_and_nothing_happens(
    onboarding_app: Flask, policy: Put
) -> None:
    policy(most_per_address=2)
    email = steps.new_email()
    for _ in range(2):
        steps.apply(onboarding_app, email)
        run_command(onboarding_app, "applications", "reject", email)
    before = len(steps.mails(onboarding_app, email))
    answers = set()
    for address in (email, steps.new_email()):
        browser = Browser(onboarding_app)
        browser.get("/apply")
        cookie = browser.cookie("id_browser")
        browser.fill(email=address, name="Ada Lovelace", why=steps.WHY)
        headers = {name: value for name, value in browser.page.headers if name != "X-Request-ID"}
        answers.add((browser.status, browser.text, str(headers), browser.cookie("id_browser") == cookie))
    assert len(answers) == 1
    assert rows(onboarding_app, email) == 2
    assert len(steps.mails(onboarding_app, email)) == before
    assert verdict(onboarding_app, email) == ("refused", "address_cap")
    with steps.later(days=31):
        steps.apply(onboarding_app, email)
        assert rows(onboarding_app, email) == 3


@pytest.mark.parametrize("closed_by", ["mode", "nobody"])
def test_where_everybody_is_told_no_a_cap_does_not_give_an_address_away(
    onboarding_app: Flask, policy: Put, request: pytest.FixtureRequest, closed_by: str
) -> None:
    policy(most_per_address=1, most_per_network=1)
    steps.apply(onboarding_app, email := steps.new_email(), ip="198.18.9.1")
    run_command(onboarding_app, "applications", "reject", email)
    browsers = [Browser(onboarding_app, ip="198.18.9.1") for _ in range(2)]
    for browser in browsers:
        browser.get("/apply")
    if closed_by == "mode":
        policy(mode="invitation")
    else:
        request.getfixturevalue("nobody_reviews")
    answers = set()
    for browser, address in zip(browsers, (email, steps.new_email()), strict=True):
        browser.fill(email=address, name="Ada Lovelace", why=steps.WHY)
        answers.add((browser.status, browser.location))
    assert answers == {(403 if closed_by == "mode" else 503, "")}


def test_an_open_application_sent_again_is_no_new_one(onboarding_app: Flask, policy: Put) -> None:
    policy(most_per_address=1, most_per_network=1)
    email = steps.new_email()
    for _ in range(3):
        browser = Browser(onboarding_app, ip="198.18.4.20")
        browser.fill("/apply", email=email, name="Ada", why="x")
        assert browser.status == 303
    assert rows(onboarding_app, email) == 1
    with steps.later(minutes=2):
        browser = Browser(onboarding_app, ip="198.18.4.20")
        browser.fill("/apply", email=email, name="Ada", why="x")
    assert len(steps.mails(onboarding_app, email, "confirm_address")) == 2, "a fresh mail comes all the same"


def test_a_network_beyond_its_cap_gets_nothing_more_and_neighbours_count_together(
    onboarding_app: Flask, policy: Put
) -> None:
    policy(most_per_network=3)
    emails = [steps.new_email() for _ in range(5)]
    for number, email in enumerate(emails):
        browser = Browser(onboarding_app, ip=f"198.18.5.{number}")
        browser.fill("/apply", email=email, name="Ada", why="x")
        assert (browser.status, browser.location) == (303, "/apply/sent")
    assert [bool(steps.mails(onboarding_app, email)) for email in emails] == [True] * 3 + [False] * 2
    ip = ("--ip", "198.18.5.77")
    assert verdict(onboarding_app, emails[4], *ip) == ("refused", "network_cap")
    assert verdict(onboarding_app, emails[4], "--ip", "198.18.6.1") == ("review", "review")
    with steps.later(days=1, minutes=1):
        assert verdict(onboarding_app, emails[4], *ip) == ("review", "review")


def test_this_machine_itself_is_no_network(onboarding_app: Flask, policy: Put) -> None:
    policy(most_per_network=1)
    for _ in range(3):
        assert steps.mails(onboarding_app, steps.apply(onboarding_app))
