"""/account/data: everything about a person, from every service, for that person alone."""

import json
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

from libs.messaging.events import (
    DataCollected,
    DataRequested,
    MailRequested,
    NotificationDataCollected,
    OIDCDataCollected,
    OnboardingDataCollected,
)
from libs.service import parts_of
from tests.account.conftest import Person, execute, rows, side_by_side, sign_in
from tests.conftest import receive, recorded, run_command
from tests.pages import Browser, token_of

PARTS: dict[str, type[DataCollected]] = {
    "oidc": OIDCDataCollected,
    "onboarding": OnboardingDataCollected,
    "notification": NotificationDataCollected,
}


def ask(browser: Browser) -> Browser:
    browser.fill("/account/data", button="collect-data")
    assert (browser.status, browser.location) == (303, "/account/data")
    return browser


def requests(app: Flask, person: Person) -> list[DataRequested]:
    return [event for event in recorded(app, DataRequested) if event.sub == person.sub]


def answer(app: Flask, request: DataRequested, *services: str, content: dict[str, Any] | None = None) -> None:
    for service in services or PARTS:
        part = PARTS[service](request_id=request.request_id, content=content or {"of": service})
        assert receive(app, part, service) == "handled"


def links(app: Flask, person: Person) -> list[str]:
    """The paths of the links mailed to the person."""
    found = [
        urlsplit(mail.context["link"])
        for mail in recorded(app, MailRequested)
        if mail.recipient == person.email and mail.template == "data_ready"
    ]
    return [f"{parts.path}?{parts.query}" for parts in found]


def download(browser: Browser, path: str) -> dict[str, Any]:
    browser.fill(path, button="download-data")
    assert browser.status == 200, browser.text
    document: dict[str, Any] = json.loads(browser.text)
    return document


def run_task(app: Flask, name: str) -> None:
    with app.app_context():
        parts_of(app).tasks.functions[f"account.{name}"]()


@pytest.fixture
def proven(make_person: Callable[..., Person]) -> Person:
    return make_person(is_email_verified=True, name="Ada <b>Lovelace</b>")


def test_all_parts_are_in_one_file_that_the_person_downloads(
    app: Flask, browser: Browser, proven: Person
) -> None:
    ask(sign_in(browser, proven))
    [request] = requests(app, proven)
    assert request.emails == [proven.email]
    answer(app, request, "oidc", "notification")
    assert links(app, proven) == [], "not before the last part"
    answer(app, request, "onboarding")
    [path] = links(app, proven)
    page = browser.get(path)
    assert page.status_code == 200
    assert page.mimetype == "text/html", "looking hands nothing out"
    document = download(browser, path)
    assert browser.page.headers["Content-Disposition"].startswith('attachment; filename="updspace-id-')
    assert browser.page.headers["Content-Disposition"].endswith('.json"')
    assert browser.page.headers["Cache-Control"] == "no-store"
    assert browser.page.mimetype == "application/json"
    assert set(document["services"]) == {"account", "oidc", "onboarding", "notification"}
    assert document["services"]["oidc"] == {"of": "oidc"}
    assert "missing" not in document
    own = document["services"]["account"]
    assert own["user"]["email"] == proven.email
    assert own["profile"]["name"] == "Ada <b>Lovelace</b>"
    assert [event["success"] for event in own["login_events"]] == [True]
    assert len(own["sessions"]) == 1
    assert {"data.requested", "user.created"} <= {entry["action"] for entry in own["audit"]}
    assert "data.downloaded" in run_command(app, "audit", "list", "--target", f"user:{proven.sub}").output


def test_every_table_about_people_is_told_of() -> None:
    from services.account.extensions import db
    from services.account.flows.data_download.own import LISTS

    about_people = {
        table.name
        for table in db.metadata.tables.values()
        if any(key.target_fullname == "users.id" for key in table.foreign_keys)
    }
    in_credentials = {"password_credentials", "totp_credentials", "recovery_codes"}
    assert {table.__tablename__ for table, _, _ in LISTS.values()} == about_people - in_credentials


def test_nothing_that_opens_the_account_is_in_the_file(app: Flask, browser: Browser, proven: Person) -> None:
    ask(sign_in(browser, proven))
    answer(app, requests(app, proven)[0])
    document = json.dumps(download(browser, links(app, proven)[0]))
    secrets = rows(
        app,
        "SELECT hash FROM password_credentials JOIN users ON users.id = user_id WHERE sub = :sub"
        " UNION SELECT secret_digest FROM sign_in_sessions s JOIN users ON users.id = user_id WHERE sub = :sub"
        " UNION SELECT device_digest FROM known_devices d JOIN users ON users.id = user_id WHERE sub = :sub"
        " UNION SELECT token_digest FROM security_notices n JOIN users ON users.id = user_id WHERE sub = :sub",
        sub=proven.sub,
    )
    assert len(secrets) == 4
    assert not [secret for (secret,) in secrets if secret in document]


def test_what_is_collected_lies_sealed(app: Flask, browser: Browser, proven: Person) -> None:
    ask(sign_in(browser, proven))
    answer(app, requests(app, proven)[0], content={"marked": "a word nobody else writes"})
    for table in ("data_parts", "inbox_events", "outbox_events"):
        [(count,)] = rows(app, f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%nobody else writes%'")
        assert count == 0, table


def test_a_service_that_does_not_answer_is_named(app: Flask, browser: Browser, proven: Person) -> None:
    ask(sign_in(browser, proven))
    [request] = requests(app, proven)
    answer(app, request, "oidc", "onboarding")
    run_task(app, "assemble_data")
    assert links(app, proven) == [], "there is still time"
    execute(
        app,
        "UPDATE data_requests SET created_at = created_at - interval '11 minutes' WHERE id = :id",
        id=request.request_id,
    )
    run_task(app, "assemble_data")
    run_task(app, "assemble_data")
    [path] = links(app, proven)
    document = download(browser, path)
    assert set(document["services"]) == {"account", "oidc", "onboarding"}
    assert "notification" in document["missing"]
    # It comes late and is still handed out; nobody is mailed twice.
    answer(app, request, "notification")
    assert "missing" not in download(browser, path)
    assert len(links(app, proven)) == 1


def test_parts_twice_in_any_order_and_side_by_side_make_one_mail(
    app: Flask, browser: Browser, proven: Person
) -> None:
    ask(sign_in(browser, proven))
    [request] = requests(app, proven)
    actions: list[Callable[[], None]] = []
    for service in (*PARTS, *PARTS):
        actions.append(lambda service=service: answer(app, request, service))  # type: ignore[misc]
    actions.append(lambda: run_task(app, "assemble_data"))
    assert side_by_side(*actions) == [None] * 7
    assert len(links(app, proven)) == 1
    assert len(download(browser, links(app, proven)[0])["services"]) == 4


def test_one_request_at_a_time(app: Flask, browser: Browser, proven: Person) -> None:
    sign_in(browser, proven)
    browser.get("/account/data")
    data = {"csrf_token": token_of(browser)}
    twins = [browser, sign_in(Browser(app), proven)]
    twins[1].get("/account/data")
    other = {"csrf_token": token_of(twins[1])}
    assert side_by_side(
        lambda: browser.post("/account/data", data).status_code,
        lambda: twins[1].post("/account/data", other).status_code,
        lambda: browser.post("/account/data", data).status_code,
    ) == [303, 303, 303]
    assert len(requests(app, proven)) == 1
    assert 'id="collecting"' in browser.get("/account/data").text
    answer(app, requests(app, proven)[0])
    assert 'id="collected"' in browser.get("/account/data").text
    [first] = links(app, proven)
    ask(browser)
    assert len(requests(app, proven)) == 2
    assert browser.get(first).status_code == 410, "what was collected earlier is gone"
    # A part for the earlier request comes too late for anything.
    answer(app, requests(app, proven)[0], "oidc")


def test_the_link_is_nothing_to_anybody_else(
    app: Flask, browser: Browser, proven: Person, make_person: Callable[..., Person]
) -> None:
    ask(sign_in(browser, proven))
    answer(app, requests(app, proven)[0])
    [path] = links(app, proven)
    stranger = Browser(app)
    assert stranger.get(path).status_code == 303
    assert stranger.location.startswith("/login?")
    sign_in(stranger, make_person())
    assert stranger.get(path).status_code == 410
    stranger.get("/account/profile")
    assert stranger.post(path, {"csrf_token": token_of(stranger)}).status_code == 410
    for token in ("", "x" * 5000, "%00"):
        assert stranger.get(f"/account/data/download?token={token}").status_code == 410


def test_every_page_wants_a_fresh_sign_in(app: Flask, browser: Browser, proven: Person) -> None:
    from libs.people.access import declared_access

    for endpoint in ("show", "ask", "look", "download"):
        access = declared_access(app, f"data_download.{endpoint}")
        assert access is not None
        assert access.needs_fresh, endpoint


def test_the_link_ends_and_what_was_collected_goes(app: Flask, browser: Browser, proven: Person) -> None:
    ask(sign_in(browser, proven))
    [request] = requests(app, proven)
    answer(app, request)
    execute(app, "UPDATE data_requests SET expires_at = now() WHERE id = :id", id=request.request_id)
    assert browser.get(links(app, proven)[0]).status_code == 410
    run_task(app, "clear_old_rows")
    assert rows(app, "SELECT 1 FROM data_parts WHERE request_id = :id", id=request.request_id) == []


def test_an_address_that_was_never_proven_is_asked_about_nowhere(
    app: Flask, browser: Browser, person: Person
) -> None:
    ask(sign_in(browser, person))
    assert requests(app, person)[0].emails == []


def test_earlier_addresses_count_until_somebody_else_has_them(
    app: Flask, browser: Browser, proven: Person, make_person: Callable[..., Person]
) -> None:
    from tests.account.test_email_change import ask as ask_for
    from tests.account.test_email_change import confirm, link, new_address

    sign_in(browser, proven)
    second, third = new_address(), new_address()
    for email in (second, third):
        confirm(ask_for(browser, email), link(app, email))
    ask(browser)
    assert set(requests(app, proven)[-1].emails) == {
        third, third.lower(), second, second.lower(), proven.email,
    }  # fmt: skip
    left = requests(app, proven)[-1].left
    assert set(left) == {second, second.lower(), proven.email}
    assert left[proven.email] < left[second]
    make_person(email=second)
    execute(app, "DELETE FROM data_requests")
    ask(browser)
    assert set(requests(app, proven)[-1].emails) == {third, third.lower(), proven.email}


def test_staff_notes_and_names_are_not_handed_out(app: Flask, browser: Browser, proven: Person) -> None:
    run_command(app, "users", "disable", proven.email, "--reason", "looks like a bot to me")
    run_command(app, "users", "enable", proven.email)
    ask(sign_in(browser, proven))
    answer(app, requests(app, proven)[0])
    own = download(browser, links(app, proven)[0])["services"]["account"]
    [disabled] = [entry for entry in own["audit"] if entry["action"] == "user.disabled"]
    assert (disabled["by"], disabled["reason"]) == ("staff", None)
    assert "a bot" not in json.dumps(own)
    assert "command:" not in json.dumps(own)


def test_a_part_for_a_request_that_never_was_troubles_nobody(app: Flask) -> None:
    answer(app, DataRequested(request_id=str(uuid.uuid4()), sub="x", emails=[]))
