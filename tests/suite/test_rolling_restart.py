"""Everything is restarted one after the other while somebody signs in to an app and others ask: nobody notices."""

import base64
import contextlib
import hashlib
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def under_load(people: People, client: dict[str, str]) -> Iterator[None]:
    """Others ask for pages, documents and tokens meanwhile, each over a new connection; all must be answered."""
    basic = (client["client_id"], client["client_secret"])
    asked: list[Callable[[requests.Session], requests.Response]] = [
        lambda session: session.get(f"{people.origin}/login", timeout=30),
        lambda session: session.get(f"{people.origin}/apply", timeout=30),
        lambda session: session.get(f"{people.origin}/.well-known/jwks.json", timeout=30),
        lambda session: session.post(
            f"{people.origin}/oauth2/token", {"grant_type": "client_credentials"}, auth=basic, timeout=30
        ),
    ]
    is_over, failed, counts = threading.Event(), [], [0] * len(asked)

    def ask(number: int) -> None:
        while not is_over.wait(0.02):  # a breath for what starts on the same processors
            try:
                with requests.Session() as session:
                    session.trust_env, session.verify = False, people.certificate
                    answer = asked[number](session)
                if answer.status_code != 200:
                    failed.append(f"{answer.request.method} {answer.url}: {answer.status_code}")
            except requests.RequestException as error:
                failed.append(repr(error))
            counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join(60)
    assert failed == [], f"{len(failed)} of {sum(counts)}"
    assert min(counts) > 0


def test_a_sign_in_to_an_app_completes(people: People, suite: Suite, whole_again: Callable[[], None]) -> None:
    member = people.member()
    client = people.client("--grant", "authorization_code", "--grant", "client_credentials")
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
    with under_load(people, client):
        roll(suite)
    browser.fill(email=member.email, password=PASSWORD, follow=True)
    assert 'id="allow"' in browser.text, browser.text
    browser.fill(button="allow", follow=True)
    assert browser.location.startswith(CALLBACK), browser.text
    with under_load(people, client):
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
