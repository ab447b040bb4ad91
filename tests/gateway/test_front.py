"""The gateway's own app: landing page, /admin, assets, files, health."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

from gateway import front
from gateway.routes import SERVICES, owner_of
from gateway.settings import GatewaySettings
from libs.service import parts_of
from tests.conftest import sign_in_copy
from tests.pages import Browser


def healthy() -> dict[str, Any]:
    return {"status": "healthy", "version": "1.0.0", "components": []}


@pytest.fixture(scope="module")
def make_front(environment: dict[str, str]) -> Callable[..., Flask]:
    """The app under these settings, before services that are well."""

    def make(**changed: str) -> Flask:
        settings = GatewaySettings.load({**environment, **changed})
        return front.create_app(settings, sources=dict.fromkeys(SERVICES, healthy))

    return make


@pytest.fixture(scope="module")
def app(make_front: Callable[..., Flask]) -> Flask:
    return make_front()


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


def links_of(html: str) -> set[str]:
    return {urlsplit(link).path for link in re.findall(r'<a [^>]*href="(/[^"]*)"', html)}


def test_the_landing_page_leads_a_newcomer_through_the_tour(browser: Browser):
    page = browser.get("/")
    assert page.status_code == 200
    wanted = ["/apply", "/dev/mailbox", "/admin/applications", "/demo", "/account/sessions", "/logout"]
    assert set(wanted) <= links_of(page.text)
    positions = [page.text.rindex(f'<h3><a href="{path}">') for path in wanted if path != "/dev/mailbox"]
    assert positions == sorted(positions)


def test_outside_development_the_landing_page_shows_nothing_of_it(make_front: Callable[..., Flask]):
    app = make_front(ID_ENV="production", PUBLIC_URL="https://id.example.test")
    page = app.test_client().get("/", base_url="https://id.example.test")
    assert page.status_code == 200
    assert not {"/demo", "/dev/mailbox"} & links_of(page.text)
    assert app.test_client().get("/demo", base_url="https://id.example.test").status_code == 404


def test_the_landing_page_knows_who_is_signed_in(app: Flask, browser: Browser):
    sign_in_copy(browser, app, claims={"name": "Ada <b>Lovelace</b>"})
    page = browser.get("/")
    assert "Welcome back, Ada &lt;b&gt;Lovelace&lt;/b&gt;" in page.text
    assert "Administration" not in page.text
    assert page.headers["Cache-Control"] == "no-store"


def test_the_language_can_be_chosen_and_stays(browser: Browser):
    assert "Один аккаунт" in browser.get("/?language=ru").text
    assert "Один аккаунт" in browser.get("/").text
    assert "One account" in browser.get("/?language=en").text


def test_every_link_of_the_landing_page_has_an_owner(app: Flask, browser: Browser):
    sign_in_copy(browser, app, roles=["admin"])
    for page in ("/", "/admin"):
        for path in links_of(browser.get(page).text):
            assert owner_of(path, is_development=True), path


def test_admin_shows_each_role_its_own_pages(app: Flask, browser_of: Callable[..., Browser]):
    shown = {}
    for role in ("reviewer", "support", "admin"):
        browser = browser_of(app)
        sign_in_copy(browser, app, roles=[role])
        shown[role] = {path for path in links_of(browser.get("/admin").text) if path.startswith("/admin/")}
    assert shown["reviewer"] == {"/admin/applications", "/admin/invitations", "/admin/messages"}
    assert shown["support"] == {
        "/admin/users",
        "/admin/users/blocks",
        "/admin/login-events",
        "/admin/clients",
        "/admin/messages",
        "/admin/clients/logouts",
        "/admin/events/account",
    }
    assert shown["admin"] >= shown["reviewer"] | shown["support"]


def test_admin_is_for_staff(app: Flask, browser: Browser):
    assert browser.get("/admin").status_code == 303
    assert browser.location == "/login?continue=%2Fadmin"
    sign_in_copy(browser, app)
    assert browser.get("/admin").status_code == 403


def test_admin_shows_what_workers_counted_and_no_number_where_nobody_did(app: Flask, browser: Browser):
    redis = parts_of(app).redis
    sign_in_copy(browser, app, roles=["admin"])
    redis.delete("waiting:onboarding", "waiting:notification")
    assert "Waiting:" not in browser.get("/admin").text
    redis.set("waiting:onboarding", '{"applications": 3}', ex=30)
    redis.set("waiting:notification", '{"messages": 0}', ex=30)
    assert "Waiting: 3" in browser.get("/admin").text
    assert "Nothing waits" in browser.text
    redis.delete("waiting:onboarding", "waiting:notification")


def test_assets_may_be_kept_for_a_year_under_their_versioned_address(browser: Browser):
    address = re.search(r'href="(/static/id\.css\?v=[0-9a-f]+)"', browser.get("/").text)
    assert address
    asset = browser.get(address[1])
    assert asset.mimetype == "text/css"
    assert asset.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert browser.get("/static/id.css").headers["Cache-Control"] == "public, max-age=300"
    assert browser.get("/static/id.css?v=older").headers["Cache-Control"] == "public, max-age=300"
    script = browser.get("/static/passkeys.js")
    assert (script.status_code, script.mimetype) == (200, "text/javascript")
    for name in ("/static/nothing.css", "/static/../front.py", "/static/"):
        assert browser.get(name).status_code == 404
    assert browser.get("/favicon.ico").mimetype == "image/svg+xml"


def test_security_txt_says_where_to_report(browser: Browser):
    text = browser.get("/.well-known/security.txt").text
    assert text.startswith("Contact: mailto:security@updspace.com\nExpires: 20")
    assert "Canonical: http://localhost:8000/.well-known/security.txt\n" in text


def test_robots_may_read_the_start_page_alone(browser: Browser):
    assert "Disallow: /\n" in browser.get("/robots.txt").text


def test_health_answers(browser: Browser):
    assert browser.get("/healthz").get_json() == {"status": "alive"}
    assert browser.get("/readyz").get_json() == {"status": "ready", "failing": []}
    report = browser.get("/health").get_json()
    assert (report["status"], len(report["services"])) == ("healthy", 4)


def test_what_no_row_names_is_a_page_that_says_so(browser: Browser):
    page = browser.get("/nothing-here")
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "There is nothing here" in page.text
    for path in ("/docs/", "/openapi.json/", "/closed", "/health/", "/admin/"):
        assert browser.get(path).status_code == 404, path
    problem = browser.get("/api/v1/nothing")
    assert (problem.status_code, problem.mimetype) == (404, "application/problem+json")


def test_every_path_of_the_app_is_in_the_gateways_rows_or_closed(app: Flask):
    from gateway.routes import CLOSED_PATHS

    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<path:name>", "id.css")
        assert path in CLOSED_PATHS or owner_of(path, is_development=True) == "gateway", rule
