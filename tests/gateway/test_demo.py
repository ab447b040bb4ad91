"""The demo, where its issuer refuses, lies or is away. Signing in to it is for the browser and the suite."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from gateway import demo
from gateway.servers import free_port
from gateway.settings import GatewaySettings
from tests.pages import Browser


@contextmanager
def issuer_like(answers: dict[str, tuple[str, Any]]) -> Iterator[str]:
    """Something that answers these paths with status and JSON; `{origin}` in them is its own."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, body = answers[environ["PATH_INFO"]]
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(body).replace("{origin}", origin).encode()]

    server = make_server("127.0.0.1", 0, app, threaded=True)
    origin = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield origin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


METADATA = {
    "issuer": "{origin}",
    "authorization_endpoint": "{origin}/oauth2/authorize",
    "token_endpoint": "{origin}/oauth2/token",
    "jwks_uri": "{origin}/jwks",
}


@pytest.fixture
def demo_of(environment: dict[str, str]) -> Callable[..., Flask]:
    """The demo as an app on a site of its own, for an issuer."""

    def make(issuer: str, **changed: str) -> Flask:
        settings = {**environment, "PUBLIC_URL": issuer, "DEMO_URL": "http://localhost:8000", **changed}
        return demo.create_app(GatewaySettings.load(settings))

    return make


def test_the_start_page_asks_nobody(demo_of: Callable[..., Flask]):
    browser = Browser(demo_of(f"http://localhost:{free_port()}"))
    page = browser.get("/", headers={"Accept-Language": "en"})
    assert page.status_code == 200
    assert 'id="demo-sign-in"' in page.text
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert "незнакомец" in browser.get("/", headers={"Accept-Language": "ru"}).text
    assert browser.get("/userinfo").status_code == 303
    assert browser.post("/refresh").status_code == 303


def test_with_the_issuer_away_it_says_so(demo_of: Callable[..., Flask]):
    page = Browser(demo_of(f"http://localhost:{free_port()}")).get(
        "/login", headers={"Accept-Language": "en"}
    )
    assert page.status_code == 503
    assert "cannot be reached" in page.text


def test_it_asks_with_pkce_state_and_nonce(demo_of: Callable[..., Flask]):
    with issuer_like({"/.well-known/openid-configuration": ("200 OK", METADATA)}) as issuer:
        browser = Browser(demo_of(issuer))
        assert browser.get("/login").status_code == 302
        asked = browser.query()
    assert browser.location.startswith(f"{issuer}/oauth2/authorize?")
    assert (asked["client_id"], asked["response_type"]) == ("demo", "code")
    assert asked["redirect_uri"] == "http://localhost:8000/callback"
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["state"]) >= 16
    assert len(asked["nonce"]) >= 16


def test_an_answer_to_no_question_of_this_browser_is_refused(demo_of: Callable[..., Flask]):
    browser = Browser(demo_of(f"http://localhost:{free_port()}"))
    page = browser.get("/callback?code=stolen&state=of-somebody-else", headers={"Accept-Language": "en"})
    assert page.status_code == 400
    assert "mismatching_state" in page.text


def test_a_persons_no_is_shown_and_nothing_else(demo_of: Callable[..., Flask]):
    browser = Browser(demo_of(f"http://localhost:{free_port()}"))
    page = browser.get("/callback?error=access_denied&error_description=%3Cb%3Eno%3C%2Fb%3E&state=x")
    assert page.status_code == 400
    assert "access_denied: &lt;b&gt;no&lt;/b&gt;" in page.text


def test_a_forged_id_token_signs_nobody_in(demo_of: Callable[..., Flask]):
    from joserfc import jwt
    from joserfc.jwk import ECKey

    answers: dict[str, tuple[str, Any]] = {"/.well-known/openid-configuration": ("200 OK", METADATA)}
    with issuer_like(answers) as issuer:
        key, other = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
        browser = Browser(demo_of(issuer))
        browser.get("/login")
        asked = browser.query()
        claims = {
            "iss": issuer,
            "aud": "demo",
            "sub": "somebody",
            "nonce": asked["nonce"],
            "iat": 1,
            "exp": 9999999999,
        }
        forged = jwt.encode({"alg": "ES256"}, claims, other)
        answers["/jwks"] = ("200 OK", {"keys": [key.as_dict(private=False)]})
        answers["/oauth2/token"] = (
            "200 OK",
            {"access_token": "a", "token_type": "Bearer", "id_token": forged, "expires_in": 60},
        )
        page = browser.get(f"/callback?code=x&state={asked['state']}", headers={"Accept-Language": "en"})
        assert page.status_code == 400
        assert "did not hold up" in page.text
        assert 'id="demo-sign-in"' in browser.get("/").text


def test_more_calls_at_once_than_it_allows_are_refused_at_once(
    demo_of: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(demo, "HTTP_TIMEOUT_S", 1)
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen(50)
        app = demo_of(f"http://localhost:{hanging.getsockname()[1]}")

        def sign_in(_number: int) -> int:
            return Browser(app).get("/login").status_code

        with ThreadPoolExecutor(12) as pool:
            began = time.monotonic()
            assert set(pool.map(sign_in, range(12))) == {503}
            # Had they waited for each other, it would have been three seconds.
            assert time.monotonic() - began < 2


def test_redis_away_is_a_503(demo_of: Callable[..., Flask]):
    app = demo_of(f"http://localhost:{free_port()}", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    browser = Browser(app)
    browser.set_cookie("id_demo", app.session_interface.get_signing_serializer(app).dumps({"id": "an-id"}))
    assert browser.get("/").status_code == 503
