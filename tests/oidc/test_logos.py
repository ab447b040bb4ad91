"""Logos: fetched by us under guard, small pictures alone, kept; a browser never meets the app's server."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from flask import Flask

from libs.people.sessions import Session
from libs.service import parts_of
from tests.oidc.relying_party import RelyingParty
from tests.pages import Browser

Make = Callable[..., RelyingParty]
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
LETTER = ("image/svg+xml", b">T</text>")


class LogoServer(ThreadingHTTPServer):
    """Answers with what `body` is, and counts."""

    body, status, headers, asked = PNG, 200, {"Content-Type": "text/html"}, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/logo.png"


class _Handler(BaseHTTPRequestHandler):
    server: LogoServer

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def server(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogoServer]:
    parts = parts_of(app)
    monkeypatch.setattr(parts, "settings", replace(parts.settings, OUTBOUND_ALLOWED_HOSTS=("127.0.0.1",)))
    with LogoServer(("127.0.0.1", 0), _Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()
        for key in parts.redis.scan_iter(match="logo:*"):
            parts.redis.delete(key)


def shown(browser: Browser, client: RelyingParty) -> tuple[str, bytes]:
    page = browser.get(f"/oauth2/consent/logo/{client.client_id}")
    assert page.status_code == 200
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    return page.mimetype, page.data


def test_a_picture_comes_from_our_own_origin_and_is_fetched_once(
    browser: Browser, person: Session, make_client: Make, server: LogoServer
) -> None:
    client = make_client(logo_uri=server.url)
    page = client.ask(browser)
    assert f'src="/oauth2/consent/logo/{client.client_id}"' in page.text
    assert "127.0.0.1" not in page.text
    assert "img-src 'self' data:" in page.headers["Content-Security-Policy"]
    assert server.asked == 0, "the page itself waits for nobody"
    for _ in range(3):
        assert shown(browser, client) == ("image/png", PNG), "by its bytes, whatever its server calls it"
    assert server.asked == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xd8\xff\xe0" + b"\0" * 20, "image/jpeg"),
        (b"GIF89a" + b"\0" * 20, "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_four_kinds_are_shown(
    browser: Browser, make_client: Make, server: LogoServer, body: bytes, kind: str
) -> None:
    server.body = body
    assert shown(browser, make_client(logo_uri=server.url)) == (kind, body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"body": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"},
        {"body": b"<html>"},
        {"body": b""},
        {"body": PNG + b"\0" * 70_000},
        {"status": 404},
        {"status": 302, "headers": {"Location": "http://127.0.0.1/"}},
    ],
    ids=lambda wrong: str(wrong)[:40],
)
def test_of_anything_else_the_first_letter_is_left(
    browser: Browser, make_client: Make, server: LogoServer, wrong: dict[str, Any]
) -> None:
    for name, value in wrong.items():
        setattr(server, name, value)
    client = make_client(logo_uri=server.url)
    for _ in range(2):
        kind, data = shown(browser, client)
        assert kind == LETTER[0]
        assert LETTER[1] in data
    assert server.asked == 1, "nor is it asked for again and again"


def test_addresses_of_our_own_network_are_not_visited(
    app: Flask, browser: Browser, make_client: Make, server: LogoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_of(app), "settings", replace(parts_of(app).settings, OUTBOUND_ALLOWED_HOSTS=()))
    assert shown(browser, make_client(logo_uri=server.url))[0] == LETTER[0]
    assert server.asked == 0


def test_one_is_fetched_at_a_time(
    app: Flask, browser: Browser, make_client: Make, server: LogoServer
) -> None:
    client = make_client(logo_uri=server.url)
    parts_of(app).redis.set("logo:fetching", "1", ex=5)
    assert shown(browser, client)[0] == LETTER[0]
    assert server.asked == 0
    parts_of(app).redis.delete("logo:fetching")
    assert shown(browser, client)[0] == "image/png"


def test_a_letter_is_escaped_and_an_unknown_app_has_none(browser: Browser, make_client: Make) -> None:
    assert b">B</text>" in shown(browser, make_client(name="<b>&"))[1]
    assert b">?</text>" in shown(browser, make_client(name="<&>"))[1]
    assert browser.get("/oauth2/consent/logo/nobody").status_code == 404
