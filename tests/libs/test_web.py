"""Headers, redirects, addresses, problems, languages."""

import io
import json
from collections.abc import Callable

import pytest
from flask import Flask, Response, request, url_for
from werkzeug.test import EnvironBuilder, run_wsgi_app

from libs.web.app import App, Ready, needed_where
from libs.web.client_address import parse_address
from libs.web.redirects import safe_path
from tests.pages import Browser


@pytest.mark.parametrize("target", ["/", "/account?tab=1", "/oauth2/authorize/abc"])
def test_paths_of_ours_are_followed(target: str) -> None:
    assert safe_path(target) == target


@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        "//evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "https://evil.test",
        "javascript:alert(1)",
        "/\t/evil.test",
        "/\r\nSet-Cookie: a=b",
        "evil.test",
        " /x",
        "/" + "a" * 5000,
    ],
)
def test_nothing_leads_to_another_origin(target: str | None) -> None:
    assert safe_path(target, "/home") == "/home"


def test_every_page_carries_the_headers(sample_app: Flask) -> None:
    headers = Browser(sample_app).get("/open").headers
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_a_page_that_does_not_look_at_the_browsers_session_does_not_vary_by_it(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    browser.get("/open?language=ru")
    name = sample_app.config["SESSION_COOKIE_NAME"]
    assert browser.cookie(name)
    assert "Vary" not in browser.get("/open").headers
    assert "Cookie" in browser.get("/nowhere").headers["Vary"]
    browser.set_cookie(name, "made up")
    assert browser.get("/open").status_code == 200
    assert "Здесь" not in browser.get("/nowhere").text


def test_pages_with_a_token_in_the_address_send_no_referrer(sample_app: Flask) -> None:
    assert Browser(sample_app).get("/open?token=x").headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("x' OR 1", None),
    ],
)
def test_addresses_have_one_form(text: str, address: str | None) -> None:
    assert parse_address(text) == address


def test_what_strangers_write_into_x_forwarded_for_changes_nothing(sample_app: Flask) -> None:
    from libs.web.client_address import ClientAddress

    seen = []

    def app(environ: dict[str, str], _start: object) -> list[bytes]:
        seen.append(environ["REMOTE_ADDR"])
        return []

    for header, hops, expected in (
        ("6.6.6.6, 203.0.113.5", 1, "203.0.113.5"),
        ("6.6.6.6", 0, "127.0.0.1"),
        ("garbage", 1, "127.0.0.1"),
        ("6.6.6.6, 203.0.113.5, 10.0.0.2", 2, "203.0.113.5"),
        ("", 2, "127.0.0.1"),
    ):
        ClientAddress(app, hops)({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": header}, None)  # type: ignore[arg-type]
        assert seen[-1] == expected, header


def test_a_500_shows_a_correlation_id_and_nothing_else(
    sample_app: Flask, log_text: Callable[[], str]
) -> None:
    page = Browser(sample_app).get("/crash")
    assert page.status_code == 500
    assert "hunter2" not in page.text
    assert page.headers["X-Request-ID"] in page.text
    assert "unexpected_error" in log_text()
    assert "password=hunter2" not in log_text()


def test_an_api_answers_problems_as_json(sample_app: Flask) -> None:
    page = Browser(sample_app).post("/api/v1/notes", json={"text": "x"})
    assert page.status_code == 422
    assert page.content_type == "application/problem+json"
    assert page.json["type"] == "urn:updspace-id:problem:too-short"  # type: ignore[index]
    assert page.json["errors"] == {"text": "Three letters are the least."}  # type: ignore[index]


def test_an_unknown_page_says_what_to_do_in_the_readers_language(sample_app: Flask) -> None:
    page = Browser(sample_app).get("/nowhere", headers={"Accept-Language": "ru", "Accept": "text/html"})
    assert page.status_code == 404
    assert "Здесь ничего нет" in page.text
    assert '<html lang="ru">' in page.text


def test_a_chosen_language_stays(sample_app: Flask) -> None:
    browser = Browser(sample_app)
    assert "Здесь" not in browser.get("/nowhere").text
    browser.get("/nowhere?language=ru")
    assert "Здесь ничего нет" in browser.get("/nowhere").text


def test_a_request_can_be_found_in_the_logs_by_its_id(sample_app: Flask, log_text: Callable[[], str]) -> None:
    Browser(sample_app).get("/open?token=very-secret", headers={"X-Request-ID": "req-12345678"})
    lines = [json.loads(line) for line in log_text().splitlines()]
    line = next(line for line in lines if line["event"] == "request")
    assert line["correlation_id"] == "req-12345678"
    assert {"timestamp", "level", "service", "logger", "event"} <= set(line)
    assert "very-secret" not in json.dumps(lines)


def test_a_request_id_that_is_no_id_is_replaced(sample_app: Flask) -> None:
    page = Browser(sample_app).get("/open", headers={"X-Request-ID": 'x"; evil'})
    assert page.headers["X-Request-ID"] != 'x"; evil'


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/keep", {"text": "a\x00b"}),
        ("/keep", {"text": "half a pair \ud800"}),
        ("/keep?id=99999999999999999999", {"text": "x"}),
    ],
)
def test_what_no_column_can_keep_is_the_senders_mistake(
    sample_app: Flask, path: str, body: dict[str, str]
) -> None:
    page = Browser(sample_app).post(path, json=body)
    assert page.status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("HEAD", "/open", {}, 200),
        ("HEAD", "/nowhere", {}, 404),
        ("OPTIONS", "/open", {}, 200),
        ("DELETE", "/open", {}, 405),
        ("POST", "/keep", {"data": "text", "content_type": "text/plain"}, 415),
        ("POST", "/keep", {"data": b"x" * (1024 * 1024 + 1), "content_type": "application/json"}, 413),
        ("POST", "/limited", {"data": {"a": "x" * (1024 * 1024 + 1)}}, 413),
    ],
)
def test_every_refusal_is_a_page_in_the_readers_language(
    sample_app: Flask, method: str, path: str, options: dict[str, object], status: int
) -> None:
    page = Browser(sample_app).open(path, method=method, headers={"Accept-Language": "ru"}, **options)
    assert page.status_code == status
    if status >= 400 and method != "HEAD":
        assert '<html lang="ru">' in page.text
        assert not set("abcdefghij") & set(page.text.split("<h1>")[1].split("</h1>")[0])
    if status == 405:
        assert "GET" in page.headers["Allow"]


@pytest.mark.parametrize(
    "host", ["id.example", "ID.example:8000", "[::1]:80", "a" * 70, "a..b", "no host/", "м.рф"]
)
@pytest.mark.parametrize("path", ["/page", "//page", "/café", "/no/such"])
@pytest.mark.parametrize("query", ["", "name=caf%C3%A9"])
def test_an_address_leads_our_app_where_it_leads_flask(host: str, path: str, query: str) -> None:
    found = []
    for kind in (Flask, App):
        app = kind("sample")
        app.add_url_rule(
            "/page", view_func=lambda: f"{request.host} {request.url} {url_for('page')}", endpoint="page"
        )
        answer = app.test_client().get(path, headers={"Host": host}, query_string=query)
        found.append((answer.status, answer.data, answer.headers.get("Location")))
    assert found[0] == found[1]


def test_a_short_body_is_read_as_it_came_and_no_further() -> None:
    app = App("sample")
    app.add_url_rule(
        "/", view_func=lambda: request.get_data() + b"|" + request.form["name"].encode(), methods=["POST"]
    )
    environ = EnvironBuilder(method="POST", data={"name": "value"}).get_environ()
    environ["wsgi.input"] = io.BytesIO(b"name=valueGET / HTTP/1.1")
    environ["wsgi.input_terminated"] = True
    assert b"".join(run_wsgi_app(app, environ)[0]) == b"name=value|value"


def test_a_ready_answer_is_what_werkzeug_would_have_made_of_it() -> None:
    headers = (("Content-Type", "application/json"), ("ETag", '"1"'))
    for method in ("GET", "HEAD"):
        environ = EnvironBuilder(method=method).get_environ()
        ready, plain = (
            run_wsgi_app(made, environ) for made in (Ready(b"{}", headers), Response(b"{}", headers=headers))
        )
        assert (b"".join(ready[0]), ready[1], list(ready[2])) == (
            b"".join(plain[0]),
            plain[1],
            list(plain[2]),
        )


def test_a_ready_answer_can_still_be_changed() -> None:
    ready = Ready(b"{}", ())
    ready.headers["Vary"] = "Origin"
    ready.status_code = 400
    ready.set_data(b"other")
    body, status, headers = run_wsgi_app(ready, EnvironBuilder().get_environ())
    assert (b"".join(body), status, headers["Vary"], headers["Content-Length"]) == (
        b"other",
        "400 BAD REQUEST",
        "Origin",
        "5",
    )


def test_hooks_run_in_order_and_only_where_they_are_needed() -> None:
    app, ran = App("sample"), []

    def hook(name: str, answer: str | None = None) -> Callable[[], str | None]:
        def run() -> str | None:
            ran.append(name)
            return answer

        return run

    app.before_request(hook("always"))
    app.before_request(needed_where(lambda _, method: method == "POST")(hook("of POST")))
    app.before_request(needed_where(lambda endpoint, _: endpoint == "other")(hook("of other", "refused")))
    app.before_request(hook("last"))
    for endpoint in ("page", "other"):
        app.add_url_rule(f"/{endpoint}", endpoint, lambda: "served", methods=["GET", "POST"])
    browser = app.test_client()
    for _ in range(2):
        for method, path, body, hooks in (
            ("GET", "/page", "served", ["always", "last"]),
            ("POST", "/page", "served", ["always", "of POST", "last"]),
            ("GET", "/other", "refused", ["always", "of other"]),
            ("POST", "/other", "refused", ["always", "of POST", "of other"]),
        ):
            ran.clear()
            assert browser.open(path, method=method).text == body
            assert ran == hooks
    ran.clear()
    browser.get("/none")
    assert ran == ["always", "of POST", "of other"], (
        "where there is no endpoint every hook decides for itself"
    )
