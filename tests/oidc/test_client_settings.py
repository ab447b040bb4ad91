"""/admin/clients/ID/settings: every setting in one form, errors at their fields, one of two changes wins."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from flask import Flask

from tests.conftest import sign_in_copy
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty
from tests.oidc.test_clients import press, secret_on, settings
from tests.pages import Browser, forms_of

CHANGES: dict[str, Any] = {
    "name": "Invoices",
    "application_type": "native",
    "auth_method": "client_secret_post",
    "redirect_uris": f"{REDIRECT_URI}\r\n https://rp.test/second \r\n\r\n",
    "post_logout_redirect_uris": "https://rp.test/bye",
    "grants": ["authorization_code", "refresh_token", "client_credentials"],
    "scopes": ["openid", "clients:read"],
    "is_first_party": "yes",
    "allowed_roles": ["support"],
    "client_uri": "https://rp.test",
    "logo_uri": "https://rp.test/logo.png",
    "policy_uri": "https://rp.test/policy",
    "tos_uri": "https://rp.test/tos",
    "contacts": "ann@rp.test\nbob@rp.test",
    "software_id": "invoices",
    "software_version": "1.2",
    "jwks_uri": "https://rp.test/jwks.json",
    "token_endpoint_auth_signing_alg": "ES256",
    "request_object_signing_alg": "PS256",
    "request_uris": "https://rp.test/request#hash",
    "require_pushed_authorization_requests": "yes",
    "require_signed_request_object": "yes",
    "id_token_signed_response_alg": "ES256",
    "userinfo_signed_response_alg": "ES256",
    "access_token_format": "opaque",
    "access_token_signing_alg": "RS256",
    "claims_mapping": '{"team": {"value": "blue"}}',
    "initiate_login_uri": "https://rp.test/begin",
    "default_max_age": "600",
    "require_auth_time": "yes",
    "default_acr_values": ["2", "phr"],
    "backchannel_logout_uri": "https://rp.test/back",
    "backchannel_logout_session_required": "yes",
    "frontchannel_logout_uri": "https://rp.test/front",
    "frontchannel_logout_session_required": "yes",
}


@pytest.fixture
def page(client: RelyingParty) -> str:
    return f"/admin/clients/{client.client_id}/settings"


def entered_on(browser: Browser) -> dict[str, str]:
    [form] = [form for form in forms_of(browser.text) if form.method == "post"]
    return {name: value.lstrip("\n") for name, value in form.fields}


def test_every_setting_can_be_changed_and_saving_nothing_changes_nothing(
    app: Flask, admin: Browser, client: RelyingParty, page: str
) -> None:
    from services.oidc.flows.clients import SETTINGS

    before = settings(app, client.client_id)
    admin.fill(page, button="save")
    assert admin.status == 303, admin.text
    assert settings(app, client.client_id) == before
    names = {setting.name for setting in SETTINGS}
    admin.get(page)
    shown = {name for name, _ in forms_of(admin.text)[-1].fields}
    shown |= {value for name, value in forms_of(admin.text)[-1].fields if name == "shown"}
    assert names - shown == {"is_enabled"}, "which has buttons of its own"
    admin.fill(page, button="save", **CHANGES)
    assert admin.status == 303, admin.text
    after = settings(app, client.client_id)
    same = {name for name in names if after[name] == before[name]}
    untouched = {"require_pkce", "rotate_refresh_tokens", "is_enabled", "jwks", "subject_type"}
    assert same == untouched | {"sector_identifier_uri"}
    assert after["redirect_uris"] == [REDIRECT_URI, "https://rp.test/second"]
    assert after["default_max_age"] == 600
    assert after["claims_mapping"] == {"team": {"value": "blue"}}
    empty = {name: "" for name, value in CHANGES.items() if isinstance(value, str)}
    kept = ("name", "auth_method", "application_type", "redirect_uris", "jwks_uri")
    algs = ("id_token_signed_response_alg", "access_token_format", "access_token_signing_alg")
    cleared = {
        name: value for name, value in empty.items() if name not in (*kept, *algs) and CHANGES[name] != "yes"
    }
    admin.fill(page, button="save", **cleared)
    assert admin.status == 303, admin.text
    assert settings(app, client.client_id)["default_max_age"] is None
    assert settings(app, client.client_id)["claims_mapping"] == {}


def test_a_box_that_is_not_ticked_is_no_and_a_field_that_was_not_shown_stays(
    app: Flask, admin: Browser, client: RelyingParty, page: str
) -> None:
    assert press(admin, page, version="1", shown="require_pkce", name="Billing") == 303
    found = settings(app, client.client_id)
    assert (found["require_pkce"], found["rotate_refresh_tokens"]) == (False, True)
    assert (found["name"], found["redirect_uris"]) == ("Billing", [REDIRECT_URI])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("redirect_uris", "javascript:alert(1)\nhttps://rp.test/ok", "cannot be used"),
        ("default_max_age", "soon", "A whole number of seconds"),
        ("default_max_age", "-5", "A number of seconds"),
        ("default_max_age", "9" * 5000, "A whole number of seconds"),
        ("jwks", "{not json", "This is not JSON"),
        ("jwks", "[" * 100_000, "This is not JSON"),
        ("jwks", '{"keys": [NaN]}', "This is not JSON"),
        ("jwks", '{"keys": [], "keys": []}', "This is not JSON"),
        ("jwks", '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "not a JWKS of public keys"),
        ("claims_mapping", '{"iss": "email"}', "none that tokens mean something by"),
        ("claims_mapping", '["email"]', "This is not JSON"),
        ("name", "a\x07b", "Give it a name"),
        ("name", "n" * 5000, "Give it a name"),
        ("contacts", "x" * 5000, "At most 200 characters each"),
        ("auth_method", "odd", "One of:"),
        ("scopes", ["openid", "root"], "We do not offer: root"),
        ("frontchannel_logout_uri", "https://elsewhere.test/", "must be on the site"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_error_stands_at_its_field_and_nothing_entered_is_lost(
    app: Flask, admin: Browser, client: RelyingParty, page: str, field: str, value: Any, words: str
) -> None:
    before = settings(app, client.client_id)
    admin.fill(page, button="save", **{"policy_uri": "https://rp.test/kept", field: value})
    assert admin.status == 400
    assert words in admin.text
    entered = entered_on(admin)
    assert entered["policy_uri"] == "https://rp.test/kept"
    if isinstance(value, str) and field != "auth_method":
        assert entered[field] == value
    assert settings(app, client.client_id) == before


def test_a_change_that_needs_a_secret_makes_one_and_it_is_shown_once(
    app: Flask, admin: Browser, public_client: RelyingParty
) -> None:
    from services.oidc.flows.clients import verify_secret

    page = f"/admin/clients/{public_client.client_id}"
    admin.fill(f"{page}/settings", button="save", follow=True, auth_method="client_secret_basic")
    secret = secret_on(admin)
    assert secret
    with app.app_context():
        assert verify_secret(public_client.client_id, secret=secret)
    admin.get(page)
    assert secret_on(admin) is None
    admin.fill(f"{page}/settings", button="save", follow=True, auth_method="client_secret_post")
    assert secret_on(admin) is None, "it has one"
    admin.fill(f"{page}/settings", button="save", follow=True, auth_method="none")
    assert secret_on(admin) is None


def test_a_nul_byte_is_refused(admin: Browser, page: str) -> None:
    admin.fill(page, button="save", name="a\x00b")
    assert admin.status == 400


def test_whoever_comes_second_is_told_what_changed_and_may_save_all_the_same(
    app: Flask, admin: Browser, client: RelyingParty, page: str
) -> None:
    admin.get(page)
    other = Browser(app)
    sign_in_copy(other, app, roles=["admin"])
    other.fill(page, button="save", name="Theirs")
    assert other.status == 303
    admin.fill(button="save", name="Mine")
    assert admin.status == 412
    assert "Theirs" in admin.text
    assert entered_on(admin)["name"] == "Mine"
    assert settings(app, client.client_id)["name"] == "Theirs"
    admin.fill(button="save")
    assert admin.status == 303
    assert settings(app, client.client_id)["name"] == "Mine"


def test_an_error_after_somebody_elses_change_does_not_hide_it(
    app: Flask, admin: Browser, client: RelyingParty, page: str
) -> None:
    admin.get(page)
    other = Browser(app)
    sign_in_copy(other, app, roles=["admin"])
    other.fill(page, button="save", name="Theirs")
    admin.fill(button="save", name="Mine", default_max_age="soon")
    assert admin.status == 400
    admin.fill(button="save", default_max_age="600")
    assert admin.status == 412, "the form still is of what was seen first"


def test_of_two_at_once_one_wins(app: Flask, client: RelyingParty, page: str) -> None:
    browsers = [Browser(app) for _ in range(4)]
    for browser in browsers:
        sign_in_copy(browser, app, roles=["admin"])
        browser.get(page)
    barrier = Barrier(len(browsers))

    def save(browser: Browser) -> int:
        barrier.wait()
        return browser.fill(button="save", name=f"Name {uuid.uuid4().hex[:6]}").status_code

    with ThreadPoolExecutor(len(browsers)) as pool:
        assert sorted(pool.map(save, browsers)) == [303, 412, 412, 412]


def test_a_scope_that_is_gone_can_be_taken_away(
    app: Flask, admin: Browser, make_client: Callable[..., RelyingParty]
) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import Client

    client = make_client()
    with app.app_context(), db.transaction() as session:
        found = session.get(Client, client.client_id)
        assert found is not None
        found.scopes = [*found.scopes, "gone:read"]
    page = f"/admin/clients/{client.client_id}/settings"
    admin.fill(page, button="save")
    assert "We do not offer: gone:read" in admin.text
    admin.fill(page, button="save", scopes=["openid"])
    assert admin.status == 303
