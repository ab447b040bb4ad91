"""/admin/clients: staff find, register, read, change, stop and delete apps; without script, and nothing is lost."""

import re
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask

from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import run_command, sign_in_copy
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty
from tests.pages import ORIGIN, Browser, forms_of, token_of

LOOKING = ("", "/{client}", "/refusals", "/resources", "/resources/{resource}")
STARTING = ("/new", "/{client}/settings", "/resources/new", "/registration-tokens")
ACTING = (
    "/new",
    "/{client}/settings",
    "/{client}/rotate-secret",
    "/{client}/enable",
    "/{client}/disable",
    "/{client}/delete",
    "/resources/new",
    "/resources/{resource}",
    "/resources/{resource}/delete",
    "/registration-tokens",
    "/registration-tokens/{token}/revoke",
)
WITHOUT_FRESH = ("/{client}/disable", "/registration-tokens/{token}/revoke")
OLD_S = 360


def signed_in(app: Flask, *roles: str, **more: Any) -> Browser:
    browser = Browser(app)
    sign_in_copy(browser, app, roles=list(roles), **more)
    return browser


@pytest.fixture
def support(app: Flask) -> Browser:
    return signed_in(app, "support")


@pytest.fixture
def words(app: Flask, client: RelyingParty) -> dict[str, str]:
    from services.oidc.flows.registration_tokens import create_registration_token
    from services.oidc.flows.resources.changing import create_resource

    word = uuid.uuid4().hex
    with app.app_context():
        made = create_resource(identifier=f"https://{word}.test", name="Orders", scopes={word: "see orders"})
        token, _ = create_registration_token(note="Partner")
        return {"client": client.client_id, "resource": str(made.id), "token": str(token.id)}


def press(browser: Browser, path: str, **data: str) -> int:
    """POST as a form would, whether or not the page shows it."""
    browser.post("/account/apps")  # comes back with a token
    return browser.post(path, {"csrf_token": token_of(browser), **data}).status_code


def secret_on(browser: Browser) -> str | None:
    found = re.search(r'id="client-secret">([^<]+)<', browser.text)
    return found[1] if found else None


def settings(app: Flask, client_id: str) -> dict[str, Any]:
    from services.oidc.flows.clients import get_client, settings_of

    with app.app_context():
        parts_of(app).db.session.rollback()
        return settings_of(get_client(client_id))


# -- who may what ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "looks", "acts"),
    [([], 403, False), (["reviewer"], 403, False), (["support"], 200, False), (["admin"], 200, True)],
)
def test_every_route_is_tried_by_each_role(
    app: Flask, words: dict[str, str], roles: list[str], looks: int, acts: bool
) -> None:
    browser = signed_in(app, *roles)
    for path in LOOKING:
        assert browser.get(f"/admin/clients{path.format(**words)}").status_code == looks, path
    for path in STARTING:
        assert browser.get(f"/admin/clients{path.format(**words)}").status_code == (200 if acts else 403), (
            path
        )
    for path in ACTING:
        status = press(browser, f"/admin/clients{path.format(**words)}")
        assert (status in (303, 400, 412)) if acts else (status == 403), path


def test_every_route_of_the_desk_is_tried_above(app: Flask) -> None:
    kinds = {
        "{client}": "<client_id>",
        "{resource}": "<uuid:resource_id>",
        "{token}": "<uuid:token_id>",
    }
    tried = set()
    for path in (*LOOKING, *STARTING, *ACTING):
        for name, rule in kinds.items():
            path = path.replace(name, rule)
        tried.add(f"/admin/clients{path}")
    ours = ("clients.", "client_settings.", "resources.", "refusals.", "registration_tokens.")
    served = {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith(ours)}
    assert served == tried


def test_strangers_are_asked_to_sign_in_and_forms_need_their_token(
    browser: Browser, admin: Browser, words: dict[str, str]
) -> None:
    for path in LOOKING:
        assert browser.get(f"/admin/clients{path.format(**words)}").headers["Location"].startswith("/login")
    for path in ACTING:
        assert admin.post(f"/admin/clients{path.format(**words)}").status_code == 400, path


def test_what_opens_doors_wants_a_fresh_sign_in_and_stopping_an_app_does_not(
    app: Flask, words: dict[str, str]
) -> None:
    browser = signed_in(app, "admin", auth_time=int(time.time()) - OLD_S)
    for path in ACTING:
        status = press(browser, f"/admin/clients{path.format(**words)}", name="Typed")
        assert status == (303 if path in WITHOUT_FRESH else 403), path
        assert path in WITHOUT_FRESH or 'value="Typed"' in browser.text, "what was entered comes back"


def test_support_sees_no_button(
    app: Flask, support: Browser, client: RelyingParty, words: dict[str, str]
) -> None:
    support.get(f"/admin/clients/{client.client_id}")
    assert not [form for form in forms_of(support.text) if form.method == "post"]
    support.get(f"/admin/clients/resources/{words['resource']}")
    assert "see orders" in support.text
    assert not [form for form in forms_of(support.text) if form.method == "post"]


# -- finding -----------------------------------------------------------------------------------------------------


def test_an_app_is_found_and_the_list_goes_on(
    support: Browser, make_client: Callable[..., RelyingParty]
) -> None:
    from services.oidc.routes import clients

    word = uuid.uuid4().hex
    made = [make_client(name=f"{word} {number}").client_id for number in range(clients.LISTED + 1)]
    support.fill("/admin/clients", button="search", q=word, state="enabled")
    assert made[-1] in support.text
    assert made[0] not in support.text
    older = re.search(r'id="older" href="([^"]+)"', support.text)
    assert older
    support.get(older[1].replace("&amp;", "&"))
    assert made[0] in support.text
    assert made[-1] not in support.text
    support.fill("/admin/clients", button="search", q=word, state="disabled")
    assert "No app is like that." in support.text
    for odd in ("state=odd", "after=odd", "after=2026-01-01~x", "after=%00~%00", "q=%00%ff"):
        assert support.get(f"/admin/clients?{odd}").status_code == 200


@pytest.mark.parametrize("client_id", ["nobody", "%00", "a%20b", "%ff", "x" * 3000, "%F0%9F%92%A5"])
def test_an_id_of_nobody_is_a_page(admin: Browser, client_id: str) -> None:
    for path in ("", "/settings"):
        assert admin.get(f"/admin/clients/{client_id}{path}").status_code == 404, path
    for action in ("settings", "rotate-secret", "enable", "disable", "delete"):
        assert press(admin, f"/admin/clients/{client_id}/{action}", version="1") == 404, action


def test_the_page_says_what_happens_with_the_app(
    browser: Browser, person: Session, support: Browser, client: RelyingParty
) -> None:
    client.tokens(browser)
    client.send(browser, redirect_uri=f"{REDIRECT_URI}x")
    support.get(f"/admin/clients/{client.client_id}")
    assert "1 grant, 1 person" in support.text
    assert "redirect_uri differs from the registered one at character" in support.text
    assert "see your e-mail address" in support.text
    assert f"{ORIGIN}/.well-known/openid-configuration" in support.text


def test_the_page_says_what_is_weak_and_asks_nobody(
    app: Flask, admin: Browser, support: Browser, make_client: Callable[..., RelyingParty]
) -> None:
    nowhere = "https://127.0.0.1:1/keys"
    client = make_client(
        auth_method="private_key_jwt", jwks_uri=nowhere, require_pkce=False, scopes=["openid"]
    )
    page = f"/admin/clients/{client.client_id}"
    admin.get(page)
    assert "PKCE is not required" in admin.text
    assert f'href="{page}/settings#require_pkce"' in admin.text
    assert "cannot be read" not in admin.text
    assert "addresses are not asked" in admin.text
    assert "cannot be read" in run_command(app, "clients", "check", client.client_id).output
    support.get(page, headers={"Accept-Language": "ru"})
    assert "PKCE не обязателен" in support.text
    assert "#require_pkce" not in support.text
    sound = make_client(scopes=["openid"])
    support.get(f"/admin/clients/{sound.client_id}")
    assert "Nothing, as far as its settings tell." in support.text
    assert f'href="/admin/clients/logouts?client={sound.client_id}"' in support.text


def test_names_are_text_whatever_they_hold(
    support: Browser, make_client: Callable[..., RelyingParty]
) -> None:
    client = make_client(name='<script>alert("1")</script>{{7*7}}')
    for path in ("", f"/{client.client_id}"):
        support.get(f"/admin/clients{path}")
        assert "&lt;script&gt;" in support.text
        assert "<script>alert" not in support.text
        assert "{{7*7}}" in support.text


def test_a_sign_in_that_somebody_else_begins_can_be_tried(
    support: Browser, make_client: Callable[..., RelyingParty]
) -> None:
    client = make_client(
        initiate_login_uri="https://rp.test/begin?from=us", client_uri="https://rp.test/home"
    )
    support.get(f"/admin/clients/{client.client_id}")
    found = re.search(r'id="start-sign-in" href="([^"]+)"', support.text)
    assert found
    query = parse_qs(urlsplit(found[1].replace("&amp;", "&")).query)
    assert query["from"] == ["us"]
    assert query["iss"] == [ORIGIN]
    assert query["target_link_uri"] == ["https://rp.test/home"]
    assert query["login_hint"][0].endswith("@people.test")


# -- registering -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "uris", "expected"),
    [
        ("web", REDIRECT_URI, {"auth_method": "client_secret_basic", "require_pkce": True}),
        ("browser", REDIRECT_URI, {"auth_method": "none", "rotate_refresh_tokens": True}),
        ("native", "com.example.app:/cb", {"auth_method": "none", "application_type": "native"}),
        ("native", "", {"grants": ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]}),
        ("machine", "", {"grants": ["client_credentials"], "scopes": ["users:read"]}),
    ],
)
def test_an_app_is_registered_by_its_kind_and_the_secret_is_shown_once(
    app: Flask, admin: Browser, kind: str, uris: str, expected: dict[str, Any]
) -> None:
    admin.fill(
        "/admin/clients/new",
        button="register",
        name="Billing",
        kind=kind,
        redirect_uris=uris,
        scopes=["openid", "email", "users:read"],
    )
    assert admin.status == 303, admin.text
    address = admin.location
    client_id = address.rpartition("/")[2]
    assert "?" not in address
    found = settings(app, client_id)
    assert {name: found[name] for name in expected} == expected
    admin.get(address)
    secret = secret_on(admin)
    assert (secret is not None) == (found["auth_method"] != "none")
    admin.get(address)
    assert secret_on(admin) is None, "a reload shows none"


def test_nobody_else_is_shown_the_secret_and_redis_holds_it_sealed(app: Flask, admin: Browser) -> None:
    admin.fill(
        "/admin/clients/new", button="register", name="Billing", kind="web", redirect_uris=REDIRECT_URI
    )
    store = parts_of(app).redis
    kept = [str(store.get(key)) for key in store.scan_iter(match="new_secret:*")]
    other = signed_in(app, "admin")
    other.get(admin.location)
    assert secret_on(other) is None
    admin.get(admin.location)
    secret = secret_on(admin)
    assert secret
    assert not any(secret in text for text in kept)
    assert not list(store.scan_iter(match="new_secret:*"))


def test_what_cannot_be_registered_comes_back_as_entered(admin: Browser) -> None:
    admin.fill(
        "/admin/clients/new",
        button="register",
        name="Billing <b>",
        kind="browser",
        redirect_uris="http://billing.example/cb",
        scopes=["openid"],
    )
    assert admin.status == 400
    assert "http://billing.example/cb cannot be used" in admin.text
    [form] = [form for form in forms_of(admin.text) if form.method == "post"]
    entered = dict(form.fields)
    assert entered["kind"] == "browser"
    assert entered["redirect_uris"].strip() == "http://billing.example/cb"
    assert [value for name, value in form.fields if name == "scopes"] == ["openid"]
    assert "Billing &lt;b&gt;" in admin.text
    assert press(admin, "/admin/clients/new", name="Billing", kind="odd") == 400
