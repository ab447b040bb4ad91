"""Devices without a browser (RFC 8628): a code shown here, confirmed there, and tokens once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from libs.database import utcnow
from libs.guard.single_use import digest
from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import RelyingParty, error_of
from tests.pages import ORIGIN, Browser

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
Make = Callable[..., RelyingParty]


@pytest.fixture
def device(make_client: Make) -> RelyingParty:
    """A television: a public client that can show eight letters."""
    return make_client(
        name="Television", auth_method="none", grants=[DEVICE_CODE, "refresh_token"], redirect_uris=[]
    )


@pytest.fixture
def make_client(app: Flask, make_client: Make) -> Make:
    def make(**settings: Any) -> RelyingParty:
        from services.oidc.flows.clients import create_client

        if settings.get("redirect_uris") != []:
            return make_client(**settings)
        with app.app_context():
            made = create_client(
                scopes=("openid", "profile", "email", "offline_access"), **{"name": "Device", **settings}
            )
            return RelyingParty(
                app=app,
                client_id=made.client.client_id,
                secret=made.secret,
                auth_method=made.client.auth_method,
            )

    return make


def start(device: RelyingParty, **values: Any) -> dict[str, Any]:
    answer = device.post("/oauth2/device_authorization", {"scope": "openid profile email", **values})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def poll(device: RelyingParty, started: dict[str, Any], *, app: Flask | None = None) -> TestResponse:
    """Ask for tokens, as after the interval."""
    parts_of(app or device.app).redis.delete(f"device_asked:{digest(started['device_code'])}")
    return device.post("/oauth2/token", {"grant_type": DEVICE_CODE, "device_code": started["device_code"]})


def answer(browser: Browser, started: dict[str, Any], button: str = "allow") -> None:
    browser.get(started["verification_uri_complete"].removeprefix(ORIGIN))
    assert browser.status == 200, browser.text
    browser.fill(button=button, follow=True)


def test_a_device_gets_tokens_once_its_person_has_confirmed(
    browser: Browser, person: Session, device: RelyingParty
) -> None:
    started = start(device, scope="openid email")
    assert started["verification_uri"] == f"{ORIGIN}/device"
    assert started["expires_in"] == 600
    assert started["interval"] == 5
    assert error_of(poll(device, started)) == (400, "authorization_pending")

    browser.fill("/device", user_code=started["user_code"].lower().replace("-", " "))
    assert browser.status == 200
    assert "Television" in browser.text
    assert started["user_code"] in browser.text
    assert "see your e-mail address" in browser.text
    browser.fill(button="allow", follow=True)
    assert "The device is connected" in browser.text

    tokens = poll(device, started)
    assert tokens.status_code == 200, tokens.text
    assert device.userinfo(tokens.json["access_token"]).json["email"] == person.claims["email"]
    assert tokens.json["id_token"]
    assert device.refresh(tokens.json["refresh_token"]).status_code == 200
    assert tokens.headers["Cache-Control"] == "no-store"


def test_the_complete_link_shows_app_and_code_and_needs_a_button(
    browser: Browser, person: Session, device: RelyingParty
) -> None:
    started = start(device)
    browser.get(started["verification_uri_complete"].removeprefix(ORIGIN))
    assert "Television" in browser.text
    assert started["user_code"] in browser.text
    assert error_of(poll(device, started)) == (400, "authorization_pending"), "looking allows nothing"


def test_whoever_is_not_signed_in_comes_back_to_the_code(browser: Browser, device: RelyingParty) -> None:
    started = start(device)
    browser.get(started["verification_uri_complete"].removeprefix(ORIGIN))
    assert browser.location.startswith("/login?")
    assert started["user_code"] in browser.query()["continue"]


def test_a_person_may_refuse(browser: Browser, person: Session, device: RelyingParty) -> None:
    started = start(device)
    answer(browser, started, "deny")
    assert "The device was not connected" in browser.text
    assert error_of(poll(device, started)) == (400, "access_denied")
    browser.get(started["verification_uri_complete"].removeprefix(ORIGIN))
    assert browser.status == 422, "the code is answered"


def test_tokens_come_once_and_a_second_time_ends_what_the_first_got(
    browser: Browser, person: Session, device: RelyingParty
) -> None:
    started = start(device)
    answer(browser, started)
    first = poll(device, started).json
    assert error_of(poll(device, started)) == (400, "invalid_grant")
    assert device.userinfo(first["access_token"]).status_code == 401
    assert error_of(device.refresh(first["refresh_token"])) == (400, "invalid_grant")


def test_many_at_once_get_tokens_once(browser: Browser, person: Session, device: RelyingParty) -> None:
    started = start(device)
    answer(browser, started)
    body = {"grant_type": DEVICE_CODE, "device_code": started["device_code"]}
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: device.post("/oauth2/token", body), range(20)))
    assert sorted(one.status_code for one in answers) == [200] + [400] * 19


def test_of_two_people_who_allow_the_same_code_at_once_one_is_told_that_it_was_wrong(
    app: Flask, device: RelyingParty
) -> None:
    for _ in range(5):
        started = start(device)
        browsers = [Browser(app), Browser(app)]
        people = [sign_in_copy(browser, app) for browser in browsers]
        for browser in browsers:
            browser.get("/device", query_string={"user_code": started["user_code"]})
        both = threading.Barrier(2)

        def allow(browser: Browser, both: threading.Barrier = both) -> int:
            both.wait()
            return browser.fill(button="allow").status_code

        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(allow, browsers))
        assert sorted(answers) == [303, 422]
        who = people[answers.index(303)]
        token = device.post(
            "/oauth2/token", {"grant_type": DEVICE_CODE, "device_code": started["device_code"]}
        ).json["access_token"]
        assert device.userinfo(token).json["sub"] == who.sub


def test_a_device_that_asks_too_fast_is_told(device: RelyingParty) -> None:
    started = start(device)
    body = {"grant_type": DEVICE_CODE, "device_code": started["device_code"]}
    assert error_of(device.post("/oauth2/token", body)) == (400, "authorization_pending")
    assert error_of(device.post("/oauth2/token", body)) == (400, "slow_down")


def test_a_code_expires(app: Flask, browser: Browser, person: Session, device: RelyingParty) -> None:
    from services.oidc.protocol.device import DeviceRequest, device_requests

    started = start(device)
    key = f"device:{digest(started['device_code'])}"
    kept = DeviceRequest.from_json(parts_of(app).redis.get(key))  # type: ignore[arg-type]
    import dataclasses

    parts_of(app).redis.set(key, dataclasses.replace(kept, expires_at=1).to_json())
    with app.app_context():
        assert device_requests().find_by_user_code(started["user_code"].replace("-", "")) is None
    assert error_of(poll(device, started)) == (400, "expired_token")
    browser.get(started["verification_uri_complete"].removeprefix(ORIGIN))
    assert browser.status == 422


def test_what_was_confirmed_and_not_fetched_expires_too(
    app: Flask, browser: Browser, person: Session, device: RelyingParty
) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import Grant

    started = start(device)
    answer(browser, started)
    with app.app_context(), db.transaction() as session:
        session.execute(
            sa.update(Grant)
            .where(Grant.code_digest == digest(started["device_code"]))
            .values(code_expires_at=utcnow() - timedelta(seconds=1))
        )
    assert error_of(poll(device, started)) == (400, "invalid_grant")


def test_a_confirmation_outlives_redis(
    app: Flask, browser: Browser, person: Session, device: RelyingParty
) -> None:
    started = start(device)
    answer(browser, started)
    parts_of(app).redis.delete(f"device:{digest(started['device_code'])}")
    assert poll(device, started).status_code == 200


@pytest.mark.parametrize("wrong", ["a code of nobody", "another client's"])
def test_other_codes_are_refused_alike(
    browser: Browser, person: Session, device: RelyingParty, make_client: Make, wrong: str
) -> None:
    started = start(device)
    if wrong == "a code of nobody":
        started["device_code"] = "x" * 43
        thief = device
    else:
        answer(browser, started)
        thief = make_client(auth_method="none", grants=[DEVICE_CODE], redirect_uris=[])
    assert error_of(poll(thief, started)) == (400, "invalid_grant")


def test_after_five_wrong_codes_a_person_waits_and_right_ones_cost_nothing(
    app: Flask, browser: Browser, person: Session, device: RelyingParty
) -> None:
    for _ in range(8):
        answer(browser, start(device))
    for _ in range(5):
        browser.fill("/device", user_code="BBBB-BBBB")
        assert browser.status == 422
    started = start(device)
    browser.fill("/device", user_code=started["user_code"])
    assert browser.status == 429
    assert int(browser.page.headers["Retry-After"]) > 500
    other = Browser(app)
    sign_in_copy(other, app)
    other.fill("/device", user_code=started["user_code"])
    assert other.status == 200, "somebody else goes on"


def test_guesses_side_by_side_are_counted(app: Flask, person: Session, browser: Browser) -> None:
    from services.oidc.protocol import device as flow

    def guess(_: int) -> int:
        with app.test_request_context("/device"):
            try:
                flow.look_up("BBBB-BBBB", session=person, ip="192.0.2.7")
            except flow.NoSuchCode as error:
                return error.retry_after
        return -1

    with ThreadPoolExecutor(12) as threads:
        waits = list(threads.map(guess, range(12)))
    assert sum(wait == 0 for wait in waits) == 5


@pytest.mark.parametrize(
    "typed", ["", " ", "AEIO-UAEI", "1234-5678", "BBBB-BBB", "ЖЖЖЖЖЖЖЖ", "x" * 5000, "<b>", "\x00"]
)
def test_what_is_no_code_is_refused_on_the_form(browser: Browser, person: Session, typed: str) -> None:
    browser.fill("/device", user_code=typed)
    assert browser.status == 422
    assert 'id="user_code"' in browser.text


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"scope": "openid root"}, "invalid_scope"),
        ({"scope": "users:read"}, "invalid_scope"),
        ({"resource": "https://nobody.test/"}, "invalid_target"),
        ({"scope": "openid", "client_secret": "x"}, "invalid_client"),
    ],
    ids=str,
)
def test_requests_that_cannot_be(device: RelyingParty, values: dict[str, str], error: str) -> None:
    answer = device.post("/oauth2/device_authorization", values)
    assert answer.json["error"] == error
    assert answer.status_code in (400, 401)


def test_a_client_without_the_grant_is_refused(client: RelyingParty) -> None:
    assert error_of(client.post("/oauth2/device_authorization", {"scope": "openid"})) == (
        400,
        "unauthorized_client",
    )
    body = {"grant_type": DEVICE_CODE, "device_code": "x"}
    assert error_of(client.post("/oauth2/token", body)) == (400, "unauthorized_client")


def test_a_confidential_client_proves_itself(browser: Browser, person: Session, make_client: Make) -> None:
    printer = make_client(name="Printer", grants=[DEVICE_CODE], redirect_uris=[])
    started = start(printer)
    answer(browser, started)
    body = {"grant_type": DEVICE_CODE, "device_code": started["device_code"], "client_id": printer.client_id}
    assert error_of(printer.post("/oauth2/token", body, credentials=False)) == (401, "invalid_client")
    tokens = poll(printer, started)
    assert tokens.status_code == 200
    assert "refresh_token" not in tokens.json


def test_the_session_that_confirmed_is_what_it_lives_by(
    app: Flask, browser: Browser, person: Session, device: RelyingParty
) -> None:
    from services.oidc.flows.revoking import end_access

    bound, offline = start(device, scope="openid"), start(device, scope="openid offline_access")
    for started in (bound, offline):
        answer(browser, started)
    of_bound, of_offline = poll(device, bound).json, poll(device, offline).json
    with app.app_context():
        end_access(sub=person.sub, sids=[person.sid], cause="sign_out", not_before=2**31)
    assert error_of(device.refresh(of_bound["refresh_token"])) == (400, "invalid_grant")
    assert device.refresh(of_offline["refresh_token"]).status_code == 200


def test_an_app_for_staff_is_not_for_everybody(browser: Browser, person: Session, make_client: Make) -> None:
    tool = make_client(auth_method="none", grants=[DEVICE_CODE], redirect_uris=[], allowed_roles=["support"])
    started = start(tool)
    answer(browser, started)
    assert "This app is not for you" in browser.text
    assert error_of(poll(tool, started)) == (400, "authorization_pending")


def test_an_answer_for_another_account_of_the_browser_is_asked_again(
    browser: Browser, person: Session, device: RelyingParty
) -> None:
    started = start(device)
    browser.get(started["verification_uri_complete"].removeprefix(ORIGIN))
    browser.fill(button="allow", sub="somebody-else")
    assert browser.status == 200
    assert 'id="allow"' in browser.text
    assert error_of(poll(device, started)) == (400, "authorization_pending")


def test_the_app_stands_among_the_apps_with_access(
    browser: Browser, person: Session, device: RelyingParty
) -> None:
    started = start(device)
    answer(browser, started)
    poll(device, started)
    browser.get("/account/apps")
    assert "Television" in browser.text


def test_other_methods_and_redis_away(
    app: Flask, device: RelyingParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis as redis_py

    from tests.oidc.relying_party import http

    assert http(app).get("/oauth2/device_authorization", base_url=ORIGIN).status_code == 405
    monkeypatch.setattr(parts_of(app), "redis", redis_py.Redis(port=1, socket_connect_timeout=0.2))
    answer = device.post("/oauth2/device_authorization", {"scope": "openid"})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]


def test_codes_stand_nowhere_in_clear(app: Flask, device: RelyingParty) -> None:
    started = start(device)
    names = " ".join(parts_of(app).redis.scan_iter())
    assert started["device_code"] not in names
    assert started["user_code"].replace("-", "") not in names
    values = [parts_of(app).redis.get(key) for key in parts_of(app).redis.scan_iter("device*")]
    assert not any(started["device_code"] in str(value) for value in values)
    assert not any(started["user_code"].replace("-", "") in str(value) for value in values)
