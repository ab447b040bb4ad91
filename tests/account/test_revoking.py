"""Revoking by command: sessions end at once, grants when the issuer has confirmed."""

import json
import threading
import time
from collections.abc import Callable

import pytest
from flask import Flask

from libs.messaging.events import AccessRevoked
from libs.people.sessions import copy_key, secret_digest
from libs.service import parts_of
from tests.account.conftest import Person, cookie_of, execute, is_signed_in, rows, side_by_side, sign_in
from tests.conftest import recorded, run_command
from tests.pages import Browser


def revocations(app: Flask, person: Person) -> list[AccessRevoked]:
    return [event for event in recorded(app, AccessRevoked) if event.sub == person.sub]


def test_revoking_ends_every_session_and_says_whether_grants_have_ended(
    app: Flask, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.account.cli.grants.GRANTS_WAIT_S", 1.0)
    browsers = [sign_in(Browser(app), person) for _ in range(2)]
    began = time.monotonic()
    result = run_command(app, "sessions", "revoke", person.email.upper())
    assert result.exit_code == 0
    assert "Ended 2 session(s)" in result.output
    assert "have not ended yet" in result.output
    assert 0.9 < time.monotonic() - began < 4
    assert not any(is_signed_in(browser) for browser in browsers)
    for browser in browsers:
        assert parts_of(app).redis.get(copy_key(secret_digest(cookie_of(browser)))) is None
    [event] = revocations(app, person)
    assert (event.sids, event.cause) == (None, "sessions_revoked")
    assert int(parts_of(app).redis.get(f"revoked:sub:{person.sub}")) >= event.not_before


def test_once_the_issuer_confirms_the_command_says_so(app: Flask, person: Person) -> None:
    sign_in(Browser(app), person)
    stop = threading.Event()

    def issuer() -> None:
        """Confirms what is in the outbox, as the issuer's inbox would."""
        while not stop.wait(0.05):
            with app.app_context():
                outbox = parts_of(app).outbox
                waiting = [str(row.event_id) for row in outbox.listing(state="pending", limit=1000)]
                outbox.confirm("oidc", waiting)

    thread = threading.Thread(target=issuer)
    thread.start()
    try:
        result = run_command(app, "sessions", "revoke", person.email, "--json")
    finally:
        stop.set()
        thread.join()
    assert json.loads(result.output) == {"sessions_ended": 1, "grants_ended": True}


def test_revoking_needs_one_person_or_all(app: Flask, person: Person) -> None:
    for arguments in ([], [person.email, "--all"]):
        result = run_command(app, "sessions", "revoke", *arguments)
        assert result.exit_code != 0
        assert "Name one person, or say --all." in result.output
    result = run_command(app, "sessions", "revoke", "nobody@people.test")
    assert result.exit_code == 1
    assert "No account has the address nobody@people.test." in result.output


def test_revoking_everybody_ends_everybody(app: Flask, make_person: Callable[..., Person]) -> None:
    from services.account.flows.revoking import revoke_everybody

    execute(app, "DELETE FROM users")  # whom earlier tests left
    people = [make_person() for _ in range(3)]
    browsers = [sign_in(Browser(app), person) for person in people]
    with app.app_context():
        revoked = revoke_everybody()
    assert revoked.sessions == 3
    assert not any(is_signed_in(browser) for browser in browsers)
    assert all(len(revocations(app, person)) == 1 for person in people)


def test_who_had_no_session_loses_their_grants_all_the_same(app: Flask, person: Person) -> None:
    from services.account.flows.revoking import revoke_access

    with app.app_context():
        assert revoke_access(sub=person.sub, cause="sessions_revoked").sessions == 0
    assert len(revocations(app, person)) == 1


def test_sign_ins_beside_a_disable_leave_no_live_session(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    from services.account.flows.users import disable_user

    for _ in range(3):
        person = make_person()
        browsers = [Browser(app) for _ in range(3)]
        for browser in browsers:
            browser.get("/login")

        def disable(person: Person = person) -> None:
            time.sleep(0.02)
            with app.app_context():
                disable_user(sub=person.sub)

        answers = side_by_side(
            disable, *(lambda b=b, p=person: b.fill(email=p.email, password=p.password) for b in browsers)
        )
        assert not [answer for answer in answers if isinstance(answer, Exception)]
        assert {browser.status for browser in browsers} <= {303, 422}
        assert not any(is_signed_in(browser) for browser in browsers)
        assert not rows(
            app,
            "SELECT 1 FROM sign_in_sessions s JOIN users u ON u.id = user_id WHERE sub = :sub AND ended_at IS NULL",
            sub=person.sub,
        )
        for browser in browsers:
            if cookie_of(browser):
                assert parts_of(app).redis.get(copy_key(secret_digest(cookie_of(browser)))) is None


def test_revoking_leaves_an_audit_entry(app: Flask, person: Person) -> None:
    from services.account.flows.revoking import revoke_access

    sign_in(Browser(app), person)
    with app.app_context():
        revoke_access(sub=person.sub, cause="sessions_revoked")
    result = run_command(app, "audit", "list", "--target", f"user:{person.sub}", "--json")
    [entry, *_] = json.loads(result.output)
    assert (entry["action"], entry["reason"], entry["after"]) == (
        "access.revoked",
        "sessions_revoked",
        {"sessions": 1},
    )
