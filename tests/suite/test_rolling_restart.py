"""Everything is restarted one after the other while somebody signs in to an app: they notice nothing."""

import base64
import hashlib
import secrets
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

from gateway.suite import Suite
from tests.conftest import SERVICES
from tests.running import descendants, wait_until
from tests.suite.people import PASSWORD, People

CALLBACK = "https://app.test/callback"


def roll(suite: Suite) -> None:
    """A rolling restart on one machine: new web processes before the old ones go, and new workers."""
    before = {name: set(descendants(suite.pid(name))) for name in (*SERVICES, "front")}
    for name in before:
        suite.signal(name, signal.SIGHUP)
    suite.signal("nginx", signal.SIGHUP)
    with ThreadPoolExecutor(len(SERVICES)) as at_once:
        for name in SERVICES:
            at_once.submit(restart, suite, f"{name}-worker")
    for name, workers in before.items():
        wait_until(lambda name=name, workers=workers: set(descendants(suite.pid(name))) - workers != set())  # type: ignore[misc]


def restart(suite: Suite, program: str) -> None:
    suite.stop_program(program)
    suite.start_program(program)


def test_a_sign_in_to_an_app_completes(people: People, suite: Suite, whole_again: Callable[[], None]) -> None:
    member, client = people.member(), people.client()
    browser, verifier = people.browser(), secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "client_id": client["client_id"],
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid profile email",
        "state": "a state",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    browser.get("/oauth2/authorize?" + urlencode(asked), follow=True)
    assert urlsplit(browser.url).path == "/login", browser.text
    roll(suite)
    browser.fill(email=member.email, password=PASSWORD, follow=True)
    assert 'id="allow"' in browser.text, browser.text
    browser.fill(button="allow", follow=True)
    assert browser.location.startswith(CALLBACK), browser.text
    roll(suite)
    answer = requests.post(
        f"{people.origin}/oauth2/token",
        {
            "grant_type": "authorization_code",
            "code": parse_qs(urlsplit(browser.location).query)["code"][0],
            "redirect_uri": CALLBACK,
            "code_verifier": verifier,
        },
        auth=(client["client_id"], client["client_secret"]),
        verify=people.certificate,
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    userinfo = requests.get(
        f"{people.origin}/oauth2/userinfo",
        headers={"Authorization": f"Bearer {answer.json()['access_token']}"},
        verify=people.certificate,
        timeout=30,
    )
    assert userinfo.json()["email"] == member.email
