"""Signing in with a passkey alone, and every way of not being genuine."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.account.authenticator import Authenticator, Passkey, raw, text
from tests.account.conftest import Person, copy_of, is_signed_in, mails_to, rows, side_by_side, sign_in
from tests.account.passkey_doors import SIGN_IN, add_passkey, ask, failures, send, sign_in_with, token_of_page
from tests.pages import Browser


@pytest.mark.parametrize(("is_synced", "key"), [(False, "hwk"), (True, "swk")])
def test_a_passkey_alone_signs_in_and_says_what_happened(
    app: Flask, browser: Browser, person: Person, stranger: Browser, is_synced: bool, key: str
) -> None:
    authenticator = Authenticator(is_synced=is_synced, counts=not is_synced)
    passkey = add_passkey(sign_in(browser, person), authenticator)
    for _ in range(2):
        sign_in_with(stranger, passkey, authenticator)
        assert (stranger.status, stranger.location) == (303, "/account")
    shared = copy_of(app, stranger)
    assert shared is not None
    assert (shared.sub, shared.acr, shared.amr) == (person.sub, "phr", [key, "user", "mfa"])
    assert ">never<" not in browser.get("/account/passkeys").text
    assert "Passkey" in stranger.get("/account/sessions").text
    [event, _] = rows(
        app,
        "SELECT method, success FROM login_events WHERE sid IS NOT NULL AND method = 'passkey' AND sid = :sid",
        sid=shared.sid,
    )
    assert tuple(event) == ("passkey", True)


@pytest.mark.parametrize("algorithm", ["EdDSA", "RS256"])
def test_each_algorithm_that_we_ask_for_works(
    browser: Browser, person: Person, stranger: Browser, algorithm: str
) -> None:
    passkey = add_passkey(sign_in(browser, person), Authenticator(algorithm=algorithm))
    assert is_signed_in(sign_in_with(stranger, passkey))


def test_a_passkey_signs_in_without_redis(
    person: Person, passkey: Passkey, stranger: Browser, redis_away: Callable[[], None]
) -> None:
    assert is_signed_in(sign_in_with(stranger, passkey))


def test_whoever_signs_in_with_a_passkey_lands_where_they_wanted(
    person: Person, passkey: Passkey, stranger: Browser
) -> None:
    stranger.get("/login?continue=/account/sessions")
    assert 'action="/login/passkey?continue=/account/sessions"' in stranger.text
    asked = ask(stranger, *SIGN_IN)
    answer = Authenticator().answer(passkey, asked.options)
    send(stranger, "/login", "/login/passkey?continue=/account/sessions", asked, answer)
    assert stranger.location == "/account/sessions"


def test_the_options_of_a_sign_in_name_nobody(stranger: Browser) -> None:
    options = ask(stranger, *SIGN_IN).options
    assert options["allowCredentials"] == []
    assert options["userVerification"] == "required"
    assert options["rpId"] == "localhost"


@pytest.mark.parametrize(
    "authenticator",
    [
        Authenticator(origin="https://evil.test"),
        Authenticator(origin="http://localhost:8000.evil.test"),
        Authenticator(rp_id="evil.test"),
        Authenticator(challenge=b"another challenge, of this length"),
        Authenticator(verifies=False),
        Authenticator(cross_origin=True),
    ],
    ids=["origin", "longer_origin", "rp_id", "challenge", "not_verified", "in_a_frame"],
)
def test_an_answer_that_was_not_given_to_us_opens_nothing(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser, authenticator: Authenticator
) -> None:
    sign_in_with(stranger, passkey, authenticator)
    assert (stranger.status, stranger.location) == (303, "/login")
    assert "The passkey was not accepted" in stranger.get("/login").text
    assert not is_signed_in(stranger)
    assert failures(app, person) == [("bad_password", "passkey")]
    assert is_signed_in(sign_in_with(stranger, passkey))


def _signature(answer: dict[str, Any]) -> None:
    signature = bytearray(raw(answer["response"]["signature"]))
    signature[-1] ^= 1
    answer["response"]["signature"] = text(bytes(signature))


def _flags(answer: dict[str, Any]) -> None:
    data = bytearray(raw(answer["response"]["authenticatorData"]))
    data[32] ^= 0x18  # it says that it is synced, unsigned
    answer["response"]["authenticatorData"] = text(bytes(data))


def _no_handle(answer: dict[str, Any]) -> None:
    del answer["response"]["userHandle"]


def _handle(answer: dict[str, Any]) -> None:
    answer["response"]["userHandle"] = text(uuid.uuid4().bytes)


def _kind(answer: dict[str, Any]) -> None:
    client_data = json.loads(raw(answer["response"]["clientDataJSON"]))
    answer["response"]["clientDataJSON"] = text(
        json.dumps({**client_data, "type": "webauthn.create"}).encode()
    )


@pytest.mark.parametrize("tamper", [_signature, _flags, _no_handle, _handle, _kind])
def test_a_tampered_answer_opens_nothing(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser, tamper: Callable[[Any], None]
) -> None:
    asked = ask(stranger, *SIGN_IN)
    answer = Authenticator().answer(passkey, asked.options)
    tamper(answer)
    send(stranger, *SIGN_IN, asked, answer)
    assert stranger.location == "/login"
    assert not is_signed_in(stranger)
    assert failures(app, person) == [("bad_password", "passkey")]


def test_a_key_of_ones_own_under_anothers_id_opens_nothing(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser
) -> None:
    forged = Passkey(handle=passkey.handle, is_synced=False, count=5, credential_id=passkey.credential_id)
    assert not is_signed_in(sign_in_with(stranger, forged))
    assert failures(app, person) == [("bad_password", "passkey")]


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "{",
        "null",
        "[]",
        '"x"',
        "{}",
        '{"id": 1}',
        '{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"!","authenticatorData":"","signature":""}}',
        '{"id":"AA","rawId":"AB","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"e30","signature":"e30"}}',
        "[" * 15_000,
        "\x00\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
        "x" * 300_000,
        '{"id":"' + "A" * 20_000 + '"}',
    ],
    ids=range(13),
)
def test_garbage_is_refused_in_words(app: Flask, stranger: Browser, garbage: str) -> None:
    asked = ask(stranger, *SIGN_IN)
    send(stranger, *SIGN_IN, asked, garbage)
    assert (stranger.status, stranger.location) == (303, "/login")
    assert "We do not know this passkey" in stranger.get("/login").text


def test_a_counter_that_goes_back_is_refused_and_its_owner_told_once(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser, log_text: Callable[[], str]
) -> None:
    copy = Passkey(
        handle=passkey.handle,
        is_synced=False,
        count=passkey.count,
        credential_id=passkey.credential_id,
        key=passkey.key,
    )
    for _ in range(3):
        assert is_signed_in(sign_in_with(Browser(app), passkey))
    for _ in range(2):
        assert "may have been copied" in sign_in_with(stranger, copy).get("/login").text
    assert not is_signed_in(stranger)
    assert len(mails_to(app, person.email, "passkey_copied")) == 1
    assert failures(app, person) == [("bad_password", "passkey")] * 2
    assert "passkey_counter_went_back" in log_text()
    # A counter that was there and is 0 now went back, too.
    copy.count = 0
    assert not is_signed_in(sign_in_with(stranger, copy))
    assert is_signed_in(sign_in_with(stranger, passkey))


def test_one_count_is_good_for_one_of_two_side_by_side(app: Flask, person: Person, passkey: Passkey) -> None:
    def attempt() -> Callable[[], Any]:
        browser = Browser(app)
        asked = ask(browser, *SIGN_IN)
        passkey.count = 7
        answer = Authenticator().answer(passkey, asked.options)
        return lambda: send(browser, *SIGN_IN, asked, answer).location

    outcomes = side_by_side(*[attempt() for _ in range(3)])
    assert sorted(outcomes) == ["/account", "/login", "/login"]


def test_a_sign_in_that_is_under_way_while_its_passkey_goes_opens_nothing(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.account.extensions import db
    from services.account.flows import login
    from services.account.flows.securing import secure_account
    from services.account.models import Passkey as Kept

    go_on = login.go_on

    def go_on_later(*arguments: Any, **values: Any) -> Any:
        # Between the look at the person and the session: its owner says "It wasn't me".
        with db.transaction() as session:
            secure_account(sub=person.sub)
            session.execute(sa.delete(Kept).where(Kept.credential_id == passkey.credential_id))
        return go_on(*arguments, **values)

    monkeypatch.setattr(login, "go_on", go_on_later)
    sign_in_with(stranger, passkey)
    assert not is_signed_in(stranger)


def test_a_disabled_person_is_not_let_in(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser
) -> None:
    from services.account.flows.users import disable_user

    with app.app_context():
        disable_user(sub=person.sub)
    sign_in_with(stranger, passkey)
    assert "This account is disabled" in stranger.get("/login").text
    assert not is_signed_in(stranger)
    assert failures(app, person) == [("disabled", "passkey")]


def test_guessing_is_limited_and_written_down(app: Flask, stranger: Browser) -> None:
    asked = ask(stranger, *SIGN_IN)
    token = token_of_page(stranger, "/login")
    data = {"csrf_token": token, "ticket": asked.ticket, "passkey": "{}"}
    before = rows(app, "SELECT count(*) FROM login_events WHERE failure_reason = 'throttled'")[0][0]
    statuses = {stranger.post("/login/passkey", data).status_code for _ in range(61)}
    assert statuses == {303, 429}
    assert rows(app, "SELECT count(*) FROM login_events WHERE failure_reason = 'throttled'")[0][0] > before
