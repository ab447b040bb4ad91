"""Addresses that are written to no more: staff see them, and lift one with a reason."""

import json
import re
import uuid

import pytest
from flask import Flask

from services.notification.flows import suppressions
from services.notification.flows.suppressions import PAGE
from tests.conftest import run_command, sign_in_copy
from tests.notification.conftest import address
from tests.pages import ORIGIN, Browser


@pytest.fixture
def support(app: Flask, browser: Browser) -> Browser:
    sign_in_copy(browser, app, roles=["support"])
    return browser


def suppressed(app: Flask, email: str = "", reason: str = "bounced") -> str:
    email = email or address()
    with app.app_context():
        suppressions.suppress(email=email, reason=reason, detail="550 5.1.1 no such user")
    return email


def is_suppressed(app: Flask, email: str) -> bool:
    with app.app_context():
        return suppressions.is_suppressed(email)


def test_the_list_says_who_since_when_and_why(app: Flask, support: Browser) -> None:
    email, other = suppressed(app), suppressed(app, reason="complained")
    support.get("/admin/messages/suppressions")
    assert support.text.index(other) < support.text.index(email)
    assert "Mail to it came back for good" in support.text
    assert "Its owner calls our mail unwanted" in support.text
    assert "550 5.1.1 no such user" in support.text
    assert 'id="lift"' not in support.text
    support.fill(button="filter", q=email.upper()[:10])
    assert email in support.text
    assert other not in support.text


def test_one_is_lifted_with_a_reason_which_the_page_remembers(app: Flask, support: Browser) -> None:
    email = suppressed(app)
    support.fill(f"/admin/messages/suppressions?q={email}", button="lift", reason="  ")
    assert support.status == 422
    assert "Say why" in support.text
    assert is_suppressed(app, email)
    support.fill(button="lift", reason="a new mailbox", follow=True)
    assert f"{email} may have mail again." in support.text
    assert "No suppressed address begins like this." in support.text
    assert "a new mailbox" in support.text
    assert not is_suppressed(app, email)
    with app.app_context():
        lifted, _ = suppressions.history(email)
    assert (lifted.action, lifted.reason) == ("address.suppression_lifted", "a new mailbox")
    assert lifted.actor.startswith("user:")
    assert email not in lifted.target


def test_one_that_is_lifted_already_says_so(app: Flask, support: Browser) -> None:
    email = suppressed(app)
    support.get(f"/admin/messages/suppressions?q={email}")
    form, _ = support.find_form("lift", {})
    fields = {**dict(form.fields), "reason": "twice"}
    for _ in range(2):
        support.post("/admin/messages/suppressions", data=fields, headers={"Origin": ORIGIN})
        assert support.status == 303
    support.get(support.location)
    assert "This address is not suppressed" in support.text


def test_the_list_goes_on(app: Flask, support: Browser) -> None:
    start = f"z{uuid.uuid4().hex[:8]}"
    for number in range(PAGE + 1):
        suppressed(app, f"{start}-{number}@people.test")
    support.get(f"/admin/messages/suppressions?q={start}")
    shown = set(re.findall(rf">({start}[^<]+)</a>", support.text))
    more = re.search(r'id="older" href="([^"]+)"', support.text)
    assert more
    support.get(more[1].replace("&amp;", "&"))
    rest = set(re.findall(rf">({start}[^<]+)</a>", support.text))
    assert (len(shown), len(rest), len(shown | rest)) == (PAGE, 1, PAGE + 1)


@pytest.mark.parametrize("query", ["q=%00", "after=%00", "after=nobody", "q=%25&after=x"])
def test_a_wild_address_shows_the_list(support: Browser, query: str) -> None:
    assert support.get(f"/admin/messages/suppressions?{query}").status_code == 200


@pytest.mark.parametrize(("roles", "status"), [([], 403), (["support"], 200), (["reviewer"], 200)])
def test_suppressions_are_for_staff(app: Flask, browser: Browser, roles: list[str], status: int) -> None:
    sign_in_copy(browser, app, roles=roles)
    assert browser.get("/admin/messages/suppressions").status_code == status


def test_commands_list_and_lift(app: Flask) -> None:
    email = suppressed(app, reason="refused")
    ways = (["--search", email[:12]], ["--search", email, "--reason", "refused"])
    for way in ways:
        (row,) = json.loads(run_command(app, "suppressions", "list", *way, "--json").output)
        assert (row["email"], row["reason"]) == (email, "refused")
    assert run_command(app, "suppressions", "lift", email).exit_code == 2, "a reason is asked for"
    lifted = run_command(app, "suppressions", "lift", email.upper(), "--reason", "by phone", "--json")
    assert json.loads(lifted.output)["suppressed"] is False
    again = run_command(app, "suppressions", "lift", email, "--reason", "by phone")
    assert again.exit_code == 1
    assert "not suppressed" in again.output
