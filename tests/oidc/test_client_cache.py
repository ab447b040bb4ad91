"""Clients in the process: what changes is seen within a second, in whatever way it was changed."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.guard.single_use import digest
from libs.people.sessions import Session
from services.oidc.flows.clients import last_uses, registered
from services.oidc.flows.clients.metadata import DEVICE_CODE
from tests.oidc.relying_party import RelyingParty, error_of
from tests.pages import Browser
from tests.round_trips import counted

Make = Callable[..., RelyingParty]


def change_elsewhere(app: Flask, statement: sa.Executable) -> None:
    """As another process would: this one is not told."""
    from services.oidc.extensions import db

    with app.app_context(), db.transaction() as session:
        session.execute(statement)


def seen(app: Flask, client: RelyingParty) -> Any:
    """As it is known once the second is over."""
    registered._cache.looked_at -= 1
    with app.app_context():
        return registered.find_client(client.client_id)


def lets_in(app: Flask, known: Any, secret: str | None) -> bool:
    with app.app_context():
        return known.check_client_secret(secret)


def test_a_change_by_whomever_is_seen_at_the_next_look(app: Flask, client: RelyingParty) -> None:
    from services.oidc.models import Client

    of_client = Client.client_id == client.client_id
    assert seen(app, client).name == "Test app"
    change_elsewhere(app, sa.update(Client).where(of_client).values(name="Another name"))
    assert seen(app, client).name == "Another name"
    change_elsewhere(app, sa.update(Client).where(of_client).values(is_enabled=False))
    assert seen(app, client) is None
    change_elsewhere(app, sa.update(Client).where(of_client).values(is_enabled=True))
    assert seen(app, client) is not None
    change_elsewhere(app, sa.delete(Client).where(of_client))
    assert seen(app, client) is None


def test_so_is_a_secret_that_came_or_went_or_shall_end(app: Flask, client: RelyingParty) -> None:
    from services.oidc.models import ClientSecret

    of_client = ClientSecret.client_id == client.client_id
    assert len(seen(app, client).secrets) == 1
    change_elsewhere(app, sa.insert(ClientSecret).values(client_id=client.client_id, digest=digest("second")))
    assert lets_in(app, seen(app, client), "second")
    change_elsewhere(app, sa.update(ClientSecret).where(of_client).values(expires_at=utcnow()))
    assert not lets_in(app, seen(app, client), "second")
    change_elsewhere(app, sa.delete(ClientSecret).where(of_client))
    assert seen(app, client).secrets == ()


def test_a_secret_ends_on_time_without_a_look(app: Flask, client: RelyingParty) -> None:
    from services.oidc.models import ClientSecret

    soon = utcnow() + timedelta(milliseconds=400)
    change_elsewhere(
        app, sa.update(ClientSecret).where(ClientSecret.client_id == client.client_id).values(expires_at=soon)
    )
    known = seen(app, client)
    assert lets_in(app, known, client.secret)
    time.sleep(0.5)
    assert not lets_in(app, known, client.secret)


def test_what_did_not_change_is_not_read_again(app: Flask, client: RelyingParty) -> None:
    first = seen(app, client)
    registered._cache.looked_at -= 1
    with app.app_context(), counted() as trips:
        assert registered.find_client(client.client_id) is first
        assert registered.find_client(client.client_id) is first
    assert trips.postgres == 1, "the look itself"


def test_what_nobody_asks_for_is_forgotten(app: Flask, client: RelyingParty, make_client: Make) -> None:
    other = make_client()
    seen(app, client)
    seen(app, other)
    seen(app, other)
    assert client.client_id not in registered._cache.clients


def test_the_last_use_of_a_secret_is_known_to_the_minute(app: Flask, client: RelyingParty) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import ClientSecret

    def last_use() -> Any:
        with app.app_context():
            return db.session.scalars(
                sa.select(ClientSecret.last_used_at).where(ClientSecret.client_id == client.client_id)
            ).one()

    before = seen(app, client)
    client.refresh("x")
    assert last_use() is None, "no request waits for it"
    with app.app_context():
        assert last_uses.write() >= 1
        assert last_use() == utcnow().replace(second=0, microsecond=0)
        client.refresh("x")
        assert (client.client_id, digest(client.secret or "")) not in last_uses._noted, (
            "once a minute is enough"
        )
    assert seen(app, client) is before, "and it is no change of the client"


@pytest.mark.parametrize("secret", ["wrong", ""])
def test_a_wrong_secret_is_no_use(app: Flask, client: RelyingParty, secret: str) -> None:
    with app.app_context():
        last_uses.write()
        client.secret = secret
        client.refresh("x")
        assert client.client_id not in {client_id for client_id, _ in last_uses._noted}


def test_a_client_that_somebody_has_deleted_a_moment_ago_gets_nothing_and_breaks_nothing(
    app: Flask, browser: Browser, person: Session, make_client: Make
) -> None:
    from services.oidc.models import Client

    def delete(client: RelyingParty) -> None:
        client.userinfo("x")  # it is remembered for a second from here on, at least
        change_elsewhere(app, sa.delete(Client).where(Client.client_id == client.client_id))

    asked = make_client()
    asked.ask(browser)
    delete(asked)
    assert browser.fill(button="allow").status_code == 404
    ours = make_client(is_first_party=True)
    ours.answer(browser)
    delete(ours)
    assert ours.ask(browser).status_code == 404
    device = make_client(grants=[DEVICE_CODE])
    shown = device.post("/oauth2/device_authorization", {"scope": "openid"}).json
    browser.get("/device", query_string={"user_code": shown["user_code"]})
    delete(device)
    assert browser.fill(button="allow").status_code == 404
    late = make_client()
    code = late.code(browser)
    delete(late)
    assert error_of(late.redeem(code)) == (400, "invalid_grant")
