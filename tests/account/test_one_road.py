"""The one road: whatever ends somebody's access here reaches their apps by back-channel, as far as its cause goes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.messaging.events import AccessRevoked, UserErased
from libs.people import sessions
from libs.service import parts_of
from services.oidc.flows.clients import create_client
from services.oidc.models import LogoutDelivery
from services.oidc.protocol import backchannel_logout
from tests.account.conftest import Person, cookie_of, copy_of, sign_in
from tests.conftest import receive, recorded, run_command
from tests.oidc.conftest import ALL_SCOPES
from tests.oidc.listeners import Listeners, listening, read
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty
from tests.pages import Browser

Act = Callable[[Flask, Browser, Person], Any]


@pytest.fixture
def listeners(oidc_app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listeners]:
    parts = parts_of(oidc_app)
    monkeypatch.setattr(parts, "settings", replace(parts.settings, OUTBOUND_ALLOWED_HOSTS=("127.0.0.1",)))
    with oidc_app.app_context(), parts.db.transaction() as session:
        session.execute(sa.delete(LogoutDelivery))
    with listening() as found:
        yield found


@pytest.fixture
def rp(oidc_app: Flask, listeners: Listeners) -> RelyingParty:
    """An app that is told."""
    with oidc_app.app_context():
        made = create_client(
            name="App",
            redirect_uris=[REDIRECT_URI],
            scopes=ALL_SCOPES,
            backchannel_logout_uri=listeners.address("app"),
        )
    return RelyingParty(app=oidc_app, client_id=made.client.client_id, secret=made.secret)


def at_the_issuer(oidc_app: Flask, browser: Browser) -> Browser:
    """The same browser, there."""
    there = Browser(oidc_app)
    there.set_cookie(sessions.cookie_name(parts_of(oidc_app).settings), cookie_of(browser))
    return there


def carry(app: Flask, oidc_app: Flask, sub: str) -> list[str]:
    """Bring what account recorded of this person to the issuer, which then sends. Returns the causes."""
    events = [one for one in recorded(app) if isinstance(one, AccessRevoked | UserErased) and one.sub == sub]
    for event in events:
        assert receive(oidc_app, event, "account") == "handled"
    with oidc_app.app_context():
        backchannel_logout.send_due()
    return [event.cause for event in events if isinstance(event, AccessRevoked)]


def command(*arguments: str) -> Act:
    def act(app: Flask, browser: Browser, person: Person) -> None:
        words = [person.email if word == "EMAIL" else word for word in arguments]
        result = run_command(app, *words)
        assert result.exit_code == 0, result.output

    return act


def change_password(app: Flask, browser: Browser, person: Person) -> None:
    new = "five green turtles swim at night"
    browser.fill("/account/password", old_password=person.password, new_password=new)
    assert browser.status == 303, browser.text


def sign_out(app: Flask, browser: Browser, person: Person) -> None:
    browser.fill("/logout", button="sign-out")


def end_from_the_list(app: Flask, browser: Browser, person: Person) -> None:
    shared = copy_of(app, browser)
    assert shared is not None
    browser.fill("/account/sessions", button=shared.sid)


ROADS: dict[str, tuple[Act, str, bool]] = {
    "sign-out": (sign_out, "sign_out", True),
    "ended from the list": (end_from_the_list, "session_ended", True),
    "revoked by staff": (command("sessions", "revoke", "EMAIL"), "sessions_revoked", False),
    "disabled": (command("users", "disable", "EMAIL"), "disabled", False),
    "secured": (command("users", "secure", "EMAIL"), "sessions_revoked", False),
    "erased": (command("users", "erase", "EMAIL", "--now", "--yes"), "erased", False),
    "password changed": (change_password, "password_changed", False),
}
"""What is done, the cause that it has, and whether it ends one session alone."""


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("scope", ["openid", "openid offline_access"])
def test_every_end_of_access_reaches_the_app(
    app: Flask,
    oidc_app: Flask,
    person: Person,
    rp: RelyingParty,
    listeners: Listeners,
    road: str,
    scope: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.account.cli.grants.GRANTS_WAIT_S", 0.01)
    act, cause, is_session = ROADS[road]
    browser, elsewhere = sign_in(Browser(app), person), sign_in(Browser(app), person)
    shared = copy_of(app, browser)
    assert shared is not None
    tokens = rp.tokens(at_the_issuer(oidc_app, browser), scope=scope)
    others = rp.tokens(at_the_issuer(oidc_app, elsewhere), scope=scope)
    act(app, browser, person)
    assert cause in carry(app, oidc_app, person.sub)
    told = [read(oidc_app, token, aud=rp.client_id) for token in listeners.tokens["app"]]
    assert [(claims["sub"], claims.get("sid")) for claims in told] == [
        (person.sub, shared.sid if is_session else None)
    ]
    is_kept = is_session and "offline_access" in scope
    assert (rp.refresh(tokens["refresh_token"]).status_code == 200) is is_kept
    assert (rp.refresh(others["refresh_token"]).status_code == 200) is is_session
