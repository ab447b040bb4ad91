"""No secret where it does not belong: a whole journey with known secrets, then a search of everything that is kept."""

import base64
import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
import redis
import requests
import sqlalchemy as sa
from authlib.integrations.requests_client import OAuth2Session

from libs.observe.tracing import MAY_BE_TOLD
from tests.account.second_factors import codes_in, secret_in
from tests.collector import Collector
from tests.pages import HTTPBrowser
from tests.running import link_in, wait_for_link, wait_until
from tests.suite.issuer_secrets import use_the_issuer
from tests.suite.people import PASSWORD, Member, People
from tests.suite.test_relying_parties import come_back

SERVICES = ("account", "onboarding", "oidc", "notification")


@pytest.fixture(scope="module")
def secrets(people: People, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one journey made that nobody else may read, by name."""
    found = {}
    email, browser = people.new_email("marked"), people.browser()
    people.apply(browser, email)
    confirmation = link_in(people.wait_for_mail(email)[0]["text"])
    people.confirm(browser, email)
    people.approve(email)
    activation = wait_for_link(lambda: people.mail(email), "/activate")
    people.enrol(browser, email)
    member = Member(email, "Ada Lovelace", browser)
    client = people.client("--scope", "openid email offline_access")
    with OAuth2Session(
        client["client_id"],
        client["client_secret"],
        scope="openid email offline_access",
        redirect_uri="https://app.test/callback",
        code_challenge_method="S256",
    ) as app:
        app.verify, app.trust_env = people.certificate, False
        verifier = "marked-verifier-" + "v" * 40
        address, state = app.create_authorization_url(
            people.origin + "/oauth2/authorize", code_verifier=verifier
        )
        callback = come_back(member, address)
        endpoint = people.origin + "/oauth2/token"
        token = app.fetch_token(
            endpoint, authorization_response=callback, state=state, code_verifier=verifier
        )
        first = token["refresh_token"]
        fresh = app.refresh_token(endpoint, refresh_token=first)
    code = parse_qs(urlsplit(callback).query)["code"][0]
    cookie = browser.cookie("__Host-id_session")
    assert cookie
    found |= {
        "the password": PASSWORD,
        "the confirmation link's token": parse_qs(urlsplit(confirmation).query)["token"][0],
        "the activation link's token": parse_qs(urlsplit(activation).query)["token"][0],
        "the session's secret": cookie.split(".")[0],
        "the client's secret": client["client_secret"],
        "the authorization code": code,
        "the PKCE verifier": verifier,
        "the access token": token["access_token"],
        "the refreshed access token": fresh["access_token"],
        "the ID token": token["id_token"],
        "the refresh token": first,
        "the second refresh token": fresh["refresh_token"],
    }
    found |= change_everything(people, email, browser)
    found |= use_the_issuer(people, tmp_path_factory.mktemp("keys"))
    for name in ("SECRET_KEY", "DATA_ENCRYPTION_KEYS", "EVENT_ENCRYPTION_KEYS"):
        found[name] = people.suite.environ[name].split(":")[-1]
    assert all(len(value) >= 14 for value in found.values()), "short ones would be found by chance"
    return found


def change_everything(people: People, email: str, browser: HTTPBrowser) -> dict[str, str]:
    """What somebody gets in hand who changes every way into their account and takes their data along, by name."""
    found = {}

    def token(subject: str, mailbox: str = email) -> str:
        """The token of the link in the newest mail of this subject; the other one is for "It wasn't me"."""

        def text() -> str:
            return next((mail["text"] for mail in people.mail(mailbox) if subject in mail["subject"]), "")

        wait_until(lambda: bool(text()))
        links = {
            urlsplit(link).path: parse_qs(urlsplit(link).query)["token"][0]
            for link in re.findall(r"https://\S+\?token=\S+", text())
        }
        if not_me := links.pop("/account/not-me", None):
            found[f'the link "It wasn\'t me" of {subject}'] = not_me
        return next(iter(links.values()), "")

    strange = people.browser()
    strange.fill("/password/forgot", email=email, follow=True)
    found["the reset link's token"] = reset = token("Set a new password")
    found["the password after the reset"] = "seven marked herons wade at dawn"
    strange.fill(
        f"/password/reset?token={reset}",
        password=found["the password after the reset"],
        follow=True,
    )
    token("The password of your account")
    strange.fill("/account/second-factor", button="set-up", follow=True)
    found["the authenticator app's secret"] = secret_in(strange.text)
    strange.fill(code=pyotp.TOTP(found["the authenticator app's secret"]).now())
    found |= {f"recovery code {number}": code for number, code in enumerate(codes_in(strange.text))}
    assert "recovery code 0" in found, strange.text
    strange.fill("/account/email", button="change-email", email=f"new-{email}", follow=True)
    found["the new address's token"] = confirm = token("Confirm your new", f"new-{email}")
    strange.fill(f"/account/email/confirm?token={confirm}", button="confirm-email")
    assert strange.status == 200, strange.text
    token("address of your account", email)
    strange.fill("/account/data", button="collect-data", follow=True)
    found["the data link's token"] = take = token("data is ready", f"new-{email}")
    strange.fill(f"/account/data/download?token={take}", button="download-data")
    assert "services" in strange.text
    found["the data that was taken along"] = '"recovery_codes_left": '
    browser.get("/account")
    assert browser.status == 303, "the reset has signed it out"
    return found


def assert_absent(secrets: dict[str, str], text: str, place: str) -> None:
    for name, value in secrets.items():
        assert value not in text, f"{name} stands in {place}"


def test_no_log_holds_a_secret(people: People, secrets: dict[str, str]) -> None:
    files = sorted(people.suite.data.path.rglob("log/*"))
    assert len(files) > 8
    for file in files:
        assert_absent(secrets, file.read_text(errors="replace"), file.name)


def test_no_column_holds_a_secret(people: People, secrets: dict[str, str]) -> None:
    for service in SERVICES:
        url = people.suite.environ[f"{service.upper()}_DATABASE_URL"]
        engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1))
        with engine.connect() as connection:
            for table in sa.inspect(connection).get_table_names():
                rows = connection.execute(sa.text(f'SELECT t::text FROM "{table}" t')).scalars()
                assert_absent(secrets, "\n".join(rows), f"{service}.{table}")
        engine.dispose()


def everything_in(client: "redis.Redis[Any]") -> str:
    """All keys and values of a Redis, as text."""
    reads = {
        b"string": lambda key: client.get(key),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": lambda key: client.smembers(key),
        b"hash": lambda key: client.hgetall(key),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"none": lambda key: None,
    }
    lines = [f"{key} {reads[client.type(key)](key)}" for key in client.scan_iter(count=1000)]
    for queue in SERVICES:
        for message in client.lrange(queue, 0, -1):  # type: ignore[union-attr]
            lines.append(base64.b64decode(json.loads(message)["body"]).decode())
    return "\n".join(lines)


def test_redis_and_its_queues_hold_no_secret(people: People, secrets: dict[str, str]) -> None:
    client = redis.Redis.from_url(people.suite.environ["REDIS_URL"])
    text = everything_in(client)
    assert "sess:" in text, "there is something to search"
    assert_absent(secrets, text, "Redis")


def test_a_mail_on_its_way_shows_nothing_in_the_queue(people: People) -> None:
    """With notification's worker stopped, the request for a mail waits in Redis: sealed."""
    email, browser = people.new_email("queued"), people.browser()
    client = redis.Redis.from_url(people.suite.environ["REDIS_URL"])
    people.suite.stop_program("notification-worker")
    try:
        people.apply(browser, email)
        # Beat queues there, too.
        wait_until(lambda: "sealed" in everything_in(client))
        queued = everything_in(client)
    finally:
        people.suite.start_program("notification-worker")
    token = parse_qs(urlsplit(link_in(people.wait_for_mail(email)[0]["text"])).query)["token"][0]
    assert token not in queued


def test_no_metric_holds_a_secret(people: People, secrets: dict[str, str]) -> None:
    for service in SERVICES:
        port = people.suite.ports.web(service)
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        assert "id_http_request_duration_seconds" in text
        assert_absent(secrets, text, f"the metrics on port {port}")


def test_no_trace_holds_a_secret(people: People, secrets: dict[str, str], collector: Collector) -> None:
    wait_until(lambda: {f"id-{name}" for name in SERVICES} <= {span.process for span in collector.spans()})
    for body in collector.bodies:
        for name, value in secrets.items():
            assert value.encode() not in body, f"{name} stands in a trace"
        assert b"@people.test" not in body, "nobody's address does"
    assert {name for span in collector.spans() for name in span.attributes} <= MAY_BE_TOLD
