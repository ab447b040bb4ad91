"""/account/sessions: the person's own list."""

import dataclasses
import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from flask import Flask
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from libs.messaging.events import AccessRevoked
from libs.people.sessions import copy_key, secret_digest
from libs.service import parts_of
from tests.account.conftest import FIREFOX, Person, cookie_of, copy_of, is_signed_in, rows, sign_in
from tests.conftest import recorded, run_command
from tests.pages import Browser, token_of


def revocations(app: Flask, person: Person) -> list[AccessRevoked]:
    return [event for event in recorded(app, AccessRevoked) if event.sub == person.sub]


def test_the_list_shows_devices_and_marks_this_one(app: Flask, person: Person) -> None:
    browser, phone = Browser(app), Browser(app)
    browser.client.environ_base = {}
    browser.get("/login")
    token = token_of(browser)
    data = {"email": person.email, "password": person.password, "csrf_token": token}
    browser.post("/login", data, headers={"User-Agent": FIREFOX})
    phone.get("/login")
    data["csrf_token"] = token_of(phone)
    phone.post(
        "/login", data, headers={"User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) Safari/604.1"}
    )
    text = browser.get("/account/sessions").text
    assert text.index("Firefox on Linux") < text.index("this browser") < text.index("Safari on iPhone")
    assert text.count("this browser") == 1
    assert "Password" in text


def test_a_browser_that_names_itself_with_markup_is_shown_as_text(
    app: Flask, browser: Browser, person: Person
) -> None:
    browser.get("/login")
    data = {"email": person.email, "password": person.password, "csrf_token": token_of(browser)}
    browser.post("/login", data, headers={"User-Agent": "<script>alert(1)</script>"})
    text = browser.get("/account/sessions").text
    assert "<script>" not in text
    assert "Unknown device" in text


def test_ending_one_session_kills_it_at_its_next_request(app: Flask, person: Person) -> None:
    here, there = sign_in(Browser(app), person), sign_in(Browser(app), person)
    shared = copy_of(app, there)
    assert shared is not None
    here.fill("/account/sessions", button=shared.sid)
    assert (here.status, here.location) == (303, "/account/sessions")
    assert parts_of(app).redis.get(copy_key(secret_digest(cookie_of(there)))) is None
    assert not is_signed_in(there)
    assert is_signed_in(here)
    [event] = revocations(app, person)
    assert (event.sids, event.cause) == ([shared.sid], "session_ended")
    assert abs(event.not_before - time.time()) < 5
    assert int(parts_of(app).redis.get(f"revoked:sid:{shared.sid}")) >= event.not_before
    assert parts_of(app).redis.get(f"revoked:sub:{person.sub}") is None


def test_ending_the_same_session_twice_does_nothing_more(app: Flask, person: Person) -> None:
    here, there = sign_in(Browser(app), person), sign_in(Browser(app), person)
    shared = copy_of(app, there)
    assert shared is not None
    for _ in range(2):
        here.get("/account/sessions")
        here.post("/account/sessions", {"csrf_token": token_of(here), "end": shared.sid})
        assert here.status == 303
    assert len(revocations(app, person)) == 1


def test_ending_all_others_leaves_this_one(app: Flask, person: Person) -> None:
    here, *others = [sign_in(Browser(app), person) for _ in range(3)]
    here.fill("/account/sessions", button="end-others", follow=True)
    assert "2 other sessions were ended." in here.text
    assert is_signed_in(here)
    assert not any(is_signed_in(other) for other in others)
    [event] = revocations(app, person)
    assert event.sids is not None
    assert len(event.sids) == 2
    assert event.cause == "session_ended"


def test_ending_this_session_signs_out(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    shared = copy_of(app, browser)
    assert shared is not None
    browser.fill("/account/sessions", button=shared.sid, follow=True)
    assert "Signed out" in browser.text
    assert browser.cookie("id_session") is None


def test_another_persons_session_cannot_be_ended(app: Flask, make_person: Callable[..., Person]) -> None:
    ann, eve = make_person(), make_person()
    hers, evil = sign_in(Browser(app), ann), sign_in(Browser(app), eve)
    shared = copy_of(app, hers)
    assert shared is not None
    for sid in (shared.sid, "nonsense", "", "' OR 1=1", "00000000-0000-0000-0000-000000000000"):
        evil.get("/account/sessions")
        evil.post("/account/sessions", {"csrf_token": token_of(evil), "end": sid})
        assert evil.status == 404
    assert is_signed_in(hers)
    assert not revocations(app, ann)


def test_ending_needs_a_sign_in_and_the_forms_token(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    browser.post("/account/sessions", {"others": "yes"})
    assert browser.status == 400
    stranger = Browser(app)
    assert stranger.get("/account/sessions").status_code == 303
    stranger.get("/login")
    stranger.post("/account/sessions", {"others": "yes", "csrf_token": token_of(stranger)})
    assert stranger.status == 403
    assert is_signed_in(browser)


def test_uses_noted_in_redis_alone_show_in_the_command(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    shared = copy_of(app, browser)
    assert shared is not None
    later = int(time.time()) + 3600
    parts_of(app).redis.set(f"seen:{shared.sid}", later)
    result = run_command(app, "sessions", "list", person.email, "--json")
    [listed] = json.loads(result.output)
    assert int(datetime.fromisoformat(listed["last_seen_at"]).timestamp()) == later


def test_the_list_works_without_redis(
    browser: Browser, person: Person, redis_away: Callable[[], None]
) -> None:
    sign_in(browser, person)
    assert browser.get("/account/sessions").status_code == 200


def test_a_session_ended_while_redis_is_away_is_dead_at_once_here_and_soon_everywhere(
    app: Flask, person: Person, redis_away: Callable[[], None]
) -> None:
    from services.account.flows.copies import settle_debts
    from services.account.flows.revoking import revoke_access

    redis_away()  # signs in with Redis there …
    browser = sign_in(Browser(app), person)
    shared = copy_of(app, browser)
    assert shared is not None
    digest = secret_digest(cookie_of(browser))
    parts = parts_of(app)
    import redis

    real, parts.redis = (
        parts.redis,
        redis.Redis(port=1, decode_responses=True, retry=None),
    )  # … which goes away …
    try:
        with app.app_context():
            assert revoke_access(sub=person.sub, cause="sessions_revoked").sessions == 1
            assert settle_debts() == 0
        assert not is_signed_in(browser)
    finally:
        parts.redis = real
    assert parts.redis.get(copy_key(digest)) is not None
    with app.app_context():
        assert settle_debts() >= 2  # … and comes back.
    assert parts.redis.get(copy_key(digest)) is None
    assert parts.redis.get(f"revoked:sub:{person.sub}")
    assert not rows(app, "SELECT 1 FROM redis_debts")


def test_the_list_says_from_where_and_how(
    app: Flask, person: Person, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "countries.mmdb"
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-Country")
    writer.insert_network(IPSet(["203.0.113.0/24"]), {"country": {"iso_code": "DE"}})
    writer.to_db_file(str(file))
    parts = parts_of(app)
    monkeypatch.setattr(parts, "settings", dataclasses.replace(parts.settings, GEOIP_DATABASE=str(file)))
    known, unknown = Browser(app, ip="203.0.113.5"), Browser(app, ip="198.51.100.6")
    sign_in(known, person)
    sign_in(unknown, person)
    text = known.get("/account/sessions").text
    for words in ("203.0.113.5", "Germany", "198.51.100.6", "Password"):
        assert words in text
    assert text.count("Germany") == 1
    assert "Германия" in known.get("/account/sessions?ui_locales=ru").text
    country = (
        "SELECT country FROM login_events e JOIN users u ON u.id = e.user_id WHERE sub = :sub ORDER BY e.id"
    )
    assert [row.country for row in rows(app, country, sub=person.sub)] == ["DE", None]


def test_without_a_database_of_countries_none_is_shown(app: Flask, person: Person) -> None:
    browser = sign_in(Browser(app, ip="203.0.113.5"), person)
    text = browser.get("/account/sessions").text
    assert "203.0.113.5" in text
    assert "Germany" not in text
