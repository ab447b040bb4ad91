"""A passkey as the second step of a sign-in."""

import json
from collections.abc import Callable
from typing import Any

from flask import Flask

from tests.account.authenticator import Authenticator, Passkey, text
from tests.account.conftest import (
    Person,
    copy_of,
    execute,
    is_signed_in,
    side_by_side,
    sign_in,
)
from tests.account.passkey_doors import SIGN_IN, add_passkey, ask, failures, send, token_of_page
from tests.account.second_factors import half_sign_in
from tests.account.test_login import counted
from tests.pages import Browser, token_of

STEP = ("/login/second-factor", "/login/second-factor/passkey")


def test_after_the_password_a_passkey_is_asked_for(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser
) -> None:
    half_sign_in(stranger, person, "/login?continue=/account/sessions")
    assert not is_signed_in(stranger)
    asked = ask(stranger, *STEP)
    assert [one["id"] for one in asked.options["allowCredentials"]] == [text(passkey.credential_id)]
    answer = Authenticator().answer(passkey, asked.options)
    send(stranger, STEP[0], f"{STEP[1]}?continue=/account/sessions", asked, answer)
    assert (stranger.status, stranger.location) == (303, "/account/sessions")
    shared = copy_of(app, stranger)
    assert shared is not None
    assert (shared.acr, shared.amr) == ("phr", ["pwd", "hwk", "user", "mfa"])


def test_a_passkey_that_did_not_check_the_person_is_a_second_factor_and_no_more(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser
) -> None:
    half_sign_in(stranger, person)
    asked = ask(stranger, *STEP)
    send(stranger, *STEP, asked, Authenticator(verifies=False).answer(passkey, asked.options))
    shared = copy_of(app, stranger)
    assert shared is not None
    assert (shared.acr, shared.amr) == ("2", ["pwd", "hwk", "mfa"])


def test_another_persons_passkey_is_no_second_factor(
    app: Flask, person: Person, passkey: Passkey, make_person: Callable[..., Person], stranger: Browser
) -> None:
    other = make_person()
    others = add_passkey(sign_in(Browser(app), other))
    half_sign_in(stranger, person)
    asked = ask(stranger, *STEP)
    send(stranger, *STEP, asked, Authenticator().answer(others, asked.options))
    assert stranger.location == "/login/second-factor"
    assert not is_signed_in(stranger)
    assert failures(app, person) == [("bad_second_factor", "passkey")]
    assert failures(app, other) == []
    # The attempt is still open to its owner.
    asked = ask(stranger, *STEP)
    assert is_signed_in(send(stranger, *STEP, asked, Authenticator().answer(passkey, asked.options)))


def test_the_second_step_without_the_first_opens_nothing(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser
) -> None:
    stranger.get("/login")
    headers = {"Accept": "application/json", "X-CSRFToken": token_of(stranger)}
    assert stranger.post(f"{STEP[1]}/options", headers=headers).status_code == 409
    asked = ask(stranger, *SIGN_IN)
    answer = Authenticator().answer(passkey, asked.options)
    send(stranger, "/login", STEP[1], asked, answer)
    assert stranger.location == "/login"
    assert not is_signed_in(stranger)


def test_a_second_step_is_taken_once(app: Flask, person: Person, passkey: Passkey, stranger: Browser) -> None:
    half_sign_in(stranger, person)
    asked = [ask(stranger, *STEP) for _ in range(2)]
    token = token_of_page(stranger, "/login")

    def post(number: int) -> Callable[[], Any]:
        answer = Authenticator().answer(passkey, asked[number].options)
        twin = Browser(app)
        twin.set_cookie("id_browser", stranger.cookie("id_browser") or "")
        data = {"csrf_token": token, "ticket": asked[number].ticket, "passkey": json.dumps(answer)}
        return lambda: twin.post(STEP[1], data).headers["Location"]

    # Synced keys do not count, so that only the attempt itself decides.
    execute(app, "UPDATE passkeys SET sign_count = 0 WHERE credential_id = :id", id=passkey.credential_id)
    passkey.count = 0
    outcomes = side_by_side(post(0), post(1))
    assert sorted(outcomes) == ["/account", "/login"]


def test_a_wrong_passkey_at_the_second_step_is_an_attempt_that_failed(
    app: Flask, person: Person, passkey: Passkey, stranger: Browser
) -> None:
    half_sign_in(stranger, person)
    names = ("id_auth_login_attempts_total", "id_auth_login_failure_total")
    before = [counted(app, name) for name in names]
    send(stranger, *STEP, ask(stranger, *STEP), "{}")
    assert [counted(app, name) for name in names] == [number + 1 for number in before]
