"""Passkeys, kept: added, renamed, removed, by their owner alone; the last way in stays."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.account.authenticator import Authenticator, Passkey, raw, text
from tests.account.conftest import (
    Person,
    delete_copy,
    execute,
    is_signed_in,
    mails_to,
    rows,
    side_by_side,
    sign_in,
)
from tests.account.passkey_doors import (
    ADD,
    SIGN_IN,
    add_passkey,
    ask,
    passkey_ids,
    send,
    sign_in_with,
    token_of_page,
)
from tests.account.password_tools import link_provider, without_password
from tests.pages import Browser


def test_a_person_adds_a_passkey_and_is_told(app: Flask, browser: Browser, person: Person) -> None:
    add_passkey(sign_in(browser, person), Authenticator(is_synced=True), name=" My\tphone  ")
    page = browser.get("/account/passkeys").text
    assert "My phone" in page
    assert "synced between your devices" in page
    assert "never" in page
    [mail] = mails_to(app, person.email, "passkey_added")
    assert mail.context["passkey"] == "My phone"
    [entry] = rows(
        app,
        "SELECT * FROM audit_entries WHERE action = 'passkey.added' AND actor = :who",
        who=f"user:{person.sub}",
    )
    assert entry.after["name"] == "My phone"
    [row] = rows(app, "SELECT * FROM passkeys WHERE id = :id", id=passkey_ids(app, person)[0])
    assert row.transports == ["internal", "hybrid"]
    assert row.aaguid is None


def test_the_options_name_us_ask_for_a_whole_passkey_and_say_nothing_of_the_person_to_the_device(
    browser: Browser, person: Person, passkey: Passkey
) -> None:
    options = ask(browser, *ADD).options
    assert options["rp"] == {"id": "localhost", "name": "UpdSpace ID"}
    assert options["user"]["name"] == person.email
    assert raw(options["user"]["id"]) == uuid.UUID(person.sub).bytes == passkey.handle
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    assert {one["alg"] for one in options["pubKeyCredParams"]} == {-7, -8, -257}
    assert [one["id"] for one in options["excludeCredentials"]] == [text(passkey.credential_id)]


def test_asking_writes_nothing(app: Flask, browser: Browser, person: Person, stranger: Browser) -> None:
    sign_in(browser, person)
    before = rows(app, "SELECT (SELECT count(*) FROM spent_challenges), (SELECT count(*) FROM login_events)")
    ask(browser, *ADD)
    ask(stranger, *SIGN_IN)
    assert before == rows(
        app, "SELECT (SELECT count(*) FROM spent_challenges), (SELECT count(*) FROM login_events)"
    )


def test_one_authenticator_is_added_once(
    browser: Browser, person: Person, make_person: Callable[..., Person], app: Flask
) -> None:
    sign_in(browser, person)
    asked = ask(browser, *ADD)
    _, answer = Authenticator().make(asked.options)
    assert "recovery-codes" in send(browser, *ADD, asked, answer).text
    # The same answer again, and the same key for another challenge, of another person.
    assert "answered already" in send(browser, *ADD, asked, answer).get(browser.location).text
    assert len(passkey_ids(app, person)) == 1


def test_the_same_challenge_answered_side_by_side_adds_one(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    asked = ask(browser, *ADD)
    answers = [Authenticator().make(asked.options)[1] for _ in range(2)]
    token = token_of_page(browser, "/account/passkeys/add")

    def post(answer: dict[str, Any]) -> Callable[[], Any]:
        twin = Browser(app)
        for name in ("id_session", "id_browser"):
            twin.set_cookie(name, browser.cookie(name) or "")
        data = {"csrf_token": token, "ticket": asked.ticket, "passkey": json.dumps(answer)}
        return lambda: twin.post("/account/passkeys/add", data).headers.get("Location", "")

    outcomes = side_by_side(*(post(answer) for answer in answers))
    # One has its passkey, and looks at the recovery codes that came with it.
    assert sorted(outcomes) == ["", "/account/passkeys/add"]
    assert len(passkey_ids(app, person)) == 1


@pytest.mark.parametrize(
    "authenticator",
    [
        Authenticator(origin="https://evil.test"),
        Authenticator(origin="http://localhost:8001"),
        Authenticator(rp_id="evil.test"),
        Authenticator(challenge=b"another challenge, of this length"),
        Authenticator(verifies=False),
        Authenticator(cross_origin=True),
        Authenticator(algorithm="ES512"),
    ],
    ids=["origin", "port", "rp_id", "challenge", "not_verified", "in_a_frame", "algorithm"],
)
def test_a_passkey_that_was_not_made_for_us_is_not_added(
    app: Flask, browser: Browser, person: Person, authenticator: Authenticator
) -> None:
    sign_in(browser, person)
    asked = ask(browser, *ADD)
    send(browser, *ADD, asked, authenticator.make(asked.options)[1])
    assert browser.location == "/account/passkeys/add"
    assert "This passkey could not be added" in browser.get(browser.location).text
    assert passkey_ids(app, person) == []


def test_adding_and_removing_need_a_fresh_sign_in(
    app: Flask, browser: Browser, person: Person, passkey: Passkey
) -> None:
    six_minutes_ago = """UPDATE sign_in_sessions SET auth_time = auth_time - interval '6 minutes'
        WHERE user_id = (SELECT id FROM users WHERE sub = :sub)"""
    execute(app, six_minutes_ago, sub=person.sub)
    delete_copy(app, browser)
    [passkey_id] = passkey_ids(app, person)
    for path in ("/account/passkeys/add", f"/account/passkeys/{passkey_id}/remove"):
        browser.get(path)
        assert browser.location.startswith("/login?continue="), path
        assert "fresh_after=" in browser.location
    token = token_of_page(browser, "/account/passkeys/" + passkey_id)
    for path in (
        "/account/passkeys/add",
        "/account/passkeys/add/options",
        f"/account/passkeys/{passkey_id}/remove",
    ):
        assert browser.post(path, {"csrf_token": token}).status_code == 403, path
    assert len(passkey_ids(app, person)) == 1
    # Signing in again, with the passkey itself, is fresh enough.
    sign_in_with(browser, passkey)
    assert browser.get("/account/passkeys/add").status_code == 200


def test_a_passkey_is_renamed(app: Flask, browser: Browser, person: Person, passkey: Passkey) -> None:
    [passkey_id] = passkey_ids(app, person)
    browser.fill(f"/account/passkeys/{passkey_id}", name="<b>Key</b> ring " + "x" * 100)
    browser.get("/account/passkeys")
    assert "&lt;b&gt;Key&lt;/b&gt; ring" in browser.text
    [row] = rows(app, "SELECT name FROM passkeys WHERE id = :id", id=passkey_id)
    assert len(row.name) == 60
    browser.fill(f"/account/passkeys/{passkey_id}", name=" \u200b\n")
    assert rows(app, "SELECT name FROM passkeys WHERE id = :id", id=passkey_id) == [row]


def test_a_removed_passkey_signs_nobody_in(
    app: Flask, browser: Browser, person: Person, passkey: Passkey, stranger: Browser
) -> None:
    [passkey_id] = passkey_ids(app, person)
    browser.fill(f"/account/passkeys/{passkey_id}/remove", button="remove-passkey", follow=True)
    assert "was removed" in browser.text
    assert "You have none yet" in browser.text
    [mail] = mails_to(app, person.email, "passkey_removed")
    assert mail.context["passkey"] == "Phone"
    sign_in_with(stranger, passkey)
    assert "We do not know this passkey" in stranger.get(stranger.location).text
    assert not is_signed_in(stranger)
    # Nor is it asked for as a second step any more.
    assert is_signed_in(sign_in(stranger, person))


def test_nobody_sees_renames_or_removes_another_persons_passkey(
    app: Flask, person: Person, passkey: Passkey, make_person: Callable[..., Person], stranger: Browser
) -> None:
    sign_in(stranger, make_person())
    [passkey_id] = passkey_ids(app, person)
    token = token_of_page(stranger, "/account/passkeys/add")
    for path in (f"/account/passkeys/{passkey_id}", f"/account/passkeys/{passkey_id}/remove"):
        assert stranger.get(path).status_code == 404
        assert stranger.post(path, {"csrf_token": token, "name": "mine"}).status_code == 404
    assert passkey_ids(app, person) == [passkey_id]


def test_nobody_fills_the_table(
    app: Flask, browser: Browser, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.account.flows.passkeys import keeping

    monkeypatch.setattr(keeping, "MAX_PASSKEYS", 1)
    add_passkey(sign_in(browser, person))
    token = token_of_page(browser, "/account/passkeys/add")
    headers = {"Accept": "application/json", "X-CSRFToken": token}
    answer = browser.post("/account/passkeys/add/options", headers=headers)
    assert (answer.status_code, answer.json["title"]) == (409, "You have as many passkeys as one can have")


@pytest.mark.parametrize(
    "attestation",
    [b"", b"\xff", b"\x9f" * 5000, b"\x81" * 5000, b"\x5b" + b"\xff" * 8, b"\xa1\x63fmt\x64none"],
    ids=["empty", "break", "endless", "deep", "huge", "half"],
)
def test_garbage_instead_of_a_new_passkey_is_refused_in_words(
    app: Flask, browser: Browser, person: Person, attestation: bytes
) -> None:
    sign_in(browser, person)
    asked = ask(browser, *ADD)
    _, answer = Authenticator().make(asked.options)
    answer["response"]["attestationObject"] = text(attestation)
    send(browser, *ADD, asked, answer)
    assert browser.location == "/account/passkeys/add"
    assert "could not be added" in browser.get(browser.location).text


def test_the_last_way_in_stays(app: Flask, browser: Browser, person: Person, passkey: Passkey) -> None:
    without_password(app, person)
    [passkey_id] = passkey_ids(app, person)
    browser.fill(f"/account/passkeys/{passkey_id}/remove", button="remove-passkey", follow=True)
    assert "This is your only way to sign in" in browser.text
    assert passkey_ids(app, person) == [passkey_id]
    assert mails_to(app, person.email, "passkey_removed") == []


def test_a_password_that_was_made_unusable_is_no_way_in(
    app: Flask, browser: Browser, person: Person, passkey: Passkey
) -> None:
    execute(
        app,
        "UPDATE password_credentials SET hash = '' WHERE user_id = (SELECT id FROM users WHERE sub = :sub)",
        sub=person.sub,
    )
    [passkey_id] = passkey_ids(app, person)
    browser.fill(f"/account/passkeys/{passkey_id}/remove", button="remove-passkey", follow=True)
    assert "This is your only way to sign in" in browser.text


def test_a_linked_account_is_a_way_in_too(
    app: Flask,
    browser: Browser,
    person: Person,
    passkey: Passkey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(app.extensions, "providers", {"github": None})  # declared, and nobody asks it
    without_password(app, person)
    link_provider(app, person)
    [passkey_id] = passkey_ids(app, person)
    browser.fill(f"/account/passkeys/{passkey_id}/remove", button="remove-passkey")
    assert passkey_ids(app, person) == []


def test_of_the_last_two_removed_side_by_side_one_stays(
    app: Flask, browser: Browser, person: Person, passkey: Passkey
) -> None:
    from services.account.flows.passkeys import remove_passkey
    from services.account.flows.visitor import Visitor
    from services.account.flows.ways_in import LastWayIn

    add_passkey(browser, name="Key")
    without_password(app, person)

    def remove(passkey_id: str) -> Callable[[], Any]:
        def act() -> Any:
            with app.app_context():
                return remove_passkey(sub=person.sub, passkey_id=uuid.UUID(passkey_id), visitor=Visitor())

        return act

    outcomes = side_by_side(*(remove(passkey_id) for passkey_id in passkey_ids(app, person)))
    assert sorted(isinstance(outcome, LastWayIn) for outcome in outcomes) == [False, True], outcomes
    assert len(passkey_ids(app, person)) == 1
