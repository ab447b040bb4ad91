"""At the desk of apps: a new secret, stopping an app and letting it in again, deleting it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from flask import Flask

from libs.people.sessions import Session
from libs.service import parts_of
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty
from tests.oidc.test_clients import press, secret_on, signed_in
from tests.pages import Browser


def test_a_secret_is_made_once_for_each_press(app: Flask, admin: Browser, client: RelyingParty) -> None:
    """Two presses of one button would end the secret that the app lives by."""
    from services.oidc.flows.clients import verify_secret

    page = f"/admin/clients/{client.client_id}"
    admin.get(page)
    form, _ = admin.find_form("rotate-secret", {})
    data = dict(form.fields)
    assert admin.post(form.action, data).status_code == 303
    assert admin.post(form.action, data).status_code == 303
    admin.get(page)
    assert "the app has got another secret meanwhile" in admin.text
    new = secret_on(admin)
    assert new
    with app.app_context():
        assert verify_secret(client.client_id, secret=new)
        assert verify_secret(client.client_id, secret=client.secret or "")
    admin.fill(page, button="rotate-secret", overlap="0", follow=True)
    newest = secret_on(admin)
    with app.app_context():
        parts_of(app).db.session.rollback()
        assert verify_secret(client.client_id, secret=newest or "")
        assert not verify_secret(client.client_id, secret=new)


@pytest.mark.parametrize(("days", "lasts"), [("90", 90), ("0", None), ("odd", None), ("-1", None)])
def test_a_secret_may_be_made_for_a_while(
    app: Flask, admin: Browser, client: RelyingParty, days: str, lasts: int | None
) -> None:
    from services.oidc.flows.clients import get_client
    from services.oidc.flows.clients.secrets import living_secrets

    admin.fill(f"/admin/clients/{client.client_id}", button="rotate-secret", lifetime=days)
    with app.app_context():
        parts_of(app).db.session.rollback()
        newest = living_secrets(get_client(client.client_id))[-1]
    found = newest.expires_at and round((newest.expires_at - newest.created_at) / timedelta(days=1))
    assert found == lasts


def test_of_many_presses_at_once_one_makes_a_secret(app: Flask, client: RelyingParty) -> None:
    from services.oidc.flows.clients import verify_secret

    browsers = [signed_in(app, "admin") for _ in range(4)]
    for browser in browsers:
        browser.get(f"/admin/clients/{client.client_id}")
    barrier = Barrier(len(browsers))

    def make_secret(browser: Browser) -> bool:
        barrier.wait()
        browser.fill(button="rotate-secret", follow=True)
        return secret_on(browser) is not None

    with ThreadPoolExecutor(len(browsers)) as pool:
        assert sorted(pool.map(make_secret, browsers)) == [False, False, False, True]
    with app.app_context():
        assert verify_secret(client.client_id, secret=client.secret or "")


def test_a_new_secret_is_in_no_log(app: Flask, admin: Browser, log_text: Callable[[], str]) -> None:
    admin.fill(
        "/admin/clients/new",
        button="register",
        follow=True,
        name="Billing",
        kind="web",
        redirect_uris=REDIRECT_URI,
    )
    secret = secret_on(admin)
    assert secret
    assert secret not in log_text()


def test_a_public_client_gets_no_secret(admin: Browser, public_client: RelyingParty) -> None:
    assert press(admin, f"/admin/clients/{public_client.client_id}/rotate-secret") == 303
    admin.get(admin.location)
    assert "proves itself in another way" in admin.text


def test_an_app_is_stopped_and_let_in_again(
    browser: Browser, person: Session, admin: Browser, client: RelyingParty
) -> None:
    tokens = client.tokens(browser, scope="openid")
    admin.get(f"/admin/clients/{client.client_id}")
    assert "ends everything that it was given" in admin.text, "said before it is done"
    admin.fill(button="disable", follow=True)
    assert client.userinfo(tokens["access_token"]).status_code == 401
    admin.fill(button="enable", follow=True)
    assert client.userinfo(tokens["access_token"]).status_code == 401, "what has ended does not come back"
    assert "error" in client.refresh(tokens["refresh_token"]).json
    again = client.tokens(browser, scope="openid")
    assert client.userinfo(again["access_token"]).status_code == 200


def test_deleting_wants_the_name(admin: Browser, client: RelyingParty) -> None:
    page = f"/admin/clients/{client.client_id}"
    admin.fill(page, button="delete", name="Test", follow=True)
    assert "Nothing was deleted" in admin.text
    admin.fill(page, button="delete", name=" Test app ", follow=True)
    assert "Test app is deleted." in admin.text
    assert admin.get(page).status_code == 404
