"""The route table, and that both front doors keep it."""

import pytest

from gateway import routes
from tests.gateway.doors import Door

# A path and who answers it in development; None is 404 at the gateway.
PATHS = {
    "/": "gateway",
    "/health": "gateway",
    "/healthz": "gateway",
    "/readyz": "gateway",
    "/docs": "gateway",
    "/openapi.json": "gateway",
    "/static": "gateway",
    "/static/id.css": "gateway",
    "/admin": "gateway",
    "/favicon.ico": "gateway",
    "/robots.txt": "gateway",
    "/.well-known/security.txt": "gateway",
    "/demo": "gateway",
    "/demo/callback": "gateway",
    "/login": "account",
    "/login/resume": "account",
    "/logout": "account",
    "/enrol": "account",
    "/account": "account",
    "/account/sessions": "account",
    "/password/set": "account",
    "/link": "account",
    "/.well-known/change-password": "account",
    "/api/v1/me": "account",
    "/api/v1/users/1": "account",
    "/admin/users": "account",
    "/admin/login-events": "account",
    "/admin/events/account": "account",
    "/apply": "onboarding",
    "/apply/confirm": "onboarding",
    "/activate": "onboarding",
    "/invitations/1": "onboarding",
    "/api/v1/applications": "onboarding",
    "/api/v1/invitations": "onboarding",
    "/admin/applications/1": "onboarding",
    "/admin/invitations": "onboarding",
    "/admin/policies": "onboarding",
    "/admin/events/onboarding": "onboarding",
    "/.well-known/openid-configuration": "oidc",
    "/.well-known/oauth-authorization-server": "oidc",
    "/.well-known/webfinger": "oidc",
    "/.well-known/jwks.json": "oidc",
    "/oauth2/token": "oidc",
    "/device": "oidc",
    "/account/apps": "oidc",
    "/account/apps/1": "oidc",
    "/api/v1/clients": "oidc",
    "/admin/clients": "oidc",
    "/admin/keys": "oidc",
    "/admin/events/oidc": "oidc",
    "/api/v1/messages": "notification",
    "/api/v1/mail-feedback": "notification",
    "/admin/messages": "notification",
    "/admin/events/notification": "notification",
    "/dev/mailbox": "notification",
    "/dev/mailbox/1": "notification",
    "/metrics": None,
    "/loginx": None,
    "/logout/": None,
    "/logout/x": None,
    "/accountant": None,
    "/admin/": None,
    "/admin/events": None,
    "/admin/events/accounts": None,
    "/health/": None,
    "/api": None,
    "/api/v1": None,
    "/api/v1/mail-feedback/x": None,
    "/.well-known/acme-challenge/x": None,
    "/dev": None,
    "/LOGIN": None,
    "/oauth2x": None,
}

ODD = (
    "//admin",
    "/admin//users",
    "/static/../admin/users",
    "/static/./id.css",
    "/static/..",
    "/static/.",
    "/static/%2e%2e/admin/users",
    "/static/%2E%2E/admin",
    "/static/.%2e/admin",
    "/admin;a=b/users",
    "/admin%3ba=b",
    "/admin%2fusers",
    "/admin%2Fusers",
    "/admin\\users",
    "/admin%5cusers",
    "/admin%00",
    "/admin%0d%0aX-Injected:%20yes",
    "/admin%7f",
    "/login%3f",
    "/login%23",
    "/%252e%252e/admin",
    "/login%",
    "/login%zz",
    "/login#part",
    "/login\xe9",
    "http://localhost/admin",
    "//evil.test/admin",
    "/..//admin",
)


@pytest.mark.parametrize(("path", "owner"), PATHS.items())
def test_the_longest_row_owns_a_path(path: str, owner: str | None):
    expected = None if path == "/metrics" else owner
    assert routes.owner_of(path, is_development=True) == expected


def test_development_pages_have_no_owner_elsewhere():
    for path in ("/demo", "/demo/callback", "/dev/mailbox", "/dev/mailbox/1"):
        assert routes.owner_of(path, is_development=False) is None


def test_no_two_rows_are_for_one_path():
    paths = [row.path for row in routes.ROUTES]
    assert len(paths) == len(set(paths))


def test_services_own_health_and_metrics_are_in_no_row():
    owners = {path: routes.owner_of(path, is_development=True) for path in (*routes.HEALTH_PATHS, "/metrics")}
    assert owners == {"/health": "gateway", "/healthz": "gateway", "/readyz": "gateway", "/metrics": None}


@pytest.mark.parametrize("target", ODD)
def test_a_target_that_could_be_read_in_two_ways_is_odd(target: str):
    assert routes.is_odd(target)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/login",
        "/login?continue=/a//b/../c;d%2e#".rstrip("#"),
        "/apply?name=%D0%98",
        "/a/b.c/..d/...",
        "/%61dmin",
        "/x%20y",
        "/a@b+c,d",
    ],
)
def test_ordinary_targets_are_not_odd(target: str):
    assert not routes.is_odd(target)


def test_both_doors_send_every_path_to_its_owner(door: Door):
    wrong = []
    for path, owner in PATHS.items():
        answer = door.ask(path + "?x=1&y=%2F..%2F")
        # What is in no row ends at the gateway's own app, which has no such page.
        expected = owner or "gateway"
        seen_path = "/closed" if path == "/metrics" else path
        if answer.status != 200 or (answer.seen["owner"], answer.seen["path"]) != (expected, seen_path):
            wrong.append((path, expected, answer.status, answer.text[:200]))
        elif path != "/metrics" and answer.seen["query"] != "x=1&y=%2F..%2F":
            wrong.append((path, answer.seen["query"]))
    assert not wrong


def test_an_escaped_ordinary_letter_means_the_same_at_door_and_service(door: Door):
    seen = door.ask("/%61dmin/%75sers").seen
    assert (seen["owner"], seen["path"]) == ("account", "/admin/users")
    seen = door.ask("/%6detrics").seen
    assert (seen["owner"], seen["path"]) == ("gateway", "/closed")


def test_both_doors_refuse_odd_paths(door: Door):
    statuses = {target: door.ask(target).status for target in ODD}
    assert set(statuses.values()) == {400}, {target: s for target, s in statuses.items() if s != 400}


def test_a_refused_path_is_explained_to_people_and_programs(door: Door):
    page = door.ask("//admin", headers={"Accept": "text/html", "Accept-Language": "en"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "That request could not be understood" in page.text
    assert page.headers["x-request-id"] in page.text
    russian = door.ask("//admin", headers={"Accept": "text/html", "Accept-Language": "ru-RU,ru;q=0.9"})
    assert "Не удалось разобрать этот запрос" in russian.text
    problem = door.ask("/api//v1")
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.seen["status"] == 400
    assert problem.seen["correlation_id"] == problem.headers["x-request-id"]
