"""Unlinking an account elsewhere: the last way in stays, and nothing of a link survives."""

from typing import Any

import pytest
from flask import Flask

from libs.messaging.events import AccessRevoked, UserChanged
from tests.account.conftest import Person, is_signed_in, rows, side_by_side, sign_in
from tests.account.linking_steps import arrive, declare, link, link_two, linked, sign_in_with
from tests.account.password_tools import add_totp, without_password
from tests.account.provider_server import ProviderServer
from tests.conftest import recorded
from tests.pages import Browser


def test_an_unlinked_account_signs_nobody_in_and_its_other_sessions_end(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    link(linker, provider)
    came_in_with_it, by_password = Browser(app), sign_in(Browser(app), person)
    sign_in_with(came_in_with_it, provider)
    linker.fill("/account/links", button="unlink-github")
    assert linker.location == "/account/links"
    assert not linked(app, person)
    assert not is_signed_in(came_in_with_it)
    assert is_signed_in(linker) and is_signed_in(by_password)
    assert recorded(app, AccessRevoked)[-1].cause == "session_ended"  # type: ignore[attr-defined]
    [row] = rows(app, "SELECT version FROM users WHERE sub = :sub", sub=person.sub)
    told = [event.version for event in recorded(app, UserChanged) if event.sub == person.sub]
    assert told[-1] == row.version, "the issuer hears of every version, and takes none over from a session"
    other = Browser(app)
    sign_in_with(other, provider)
    assert other.status == 403


def test_a_half_done_sign_in_ends_with_its_link(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    link(linker, provider)
    add_totp(app, person)
    sign_in_with(Browser(app), provider)
    linker.fill("/account/links", button="unlink-github")
    (attempt,) = rows(app, "SELECT finished_at FROM sign_in_attempts ORDER BY id DESC LIMIT 1")
    assert attempt.finished_at is not None


def test_the_last_way_in_cannot_be_removed(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    link(linker, provider)
    without_password(app, person)
    linker.fill("/account/links", button="unlink-github")
    assert linker.status == 409
    assert "This is your only way to sign in" in linker.text
    assert len(linked(app, person)) == 1


def test_of_two_last_ways_in_removed_at_once_one_stays(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    link_two(linker, provider)
    without_password(app, person)
    forms = {}
    linker.get("/account/links")
    for name in ("github", "discord"):
        forms[name] = {**dict(linker.find_form(f"unlink-{name}", {})[0].fields), "unlink": name}
    twins = []
    for _ in forms:
        twin = Browser(app)
        for cookie in ("id_browser", "id_session"):
            twin.set_cookie(cookie, linker.cookie(cookie) or "")
        twins.append(twin)
    side_by_side(
        *(
            lambda twin=twin, form=form: twin.post("/account/links", form)
            for twin, form in zip(twins, forms.values(), strict=True)
        )
    )
    assert sorted(twin.status for twin in twins) == [303, 409]
    assert len(linked(app, person)) == 1


def test_a_provider_that_is_switched_off_is_no_way_in(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    link_two(linker, provider)
    without_password(app, person)
    declare(app, provider, DISCORD_CLIENT_ID="", DISCORD_CLIENT_SECRET="")
    text = linker.get("/account/links").text
    assert "switched off here" in text
    linker.fill("/account/links", button="unlink-github")
    assert linker.status == 409
    linker.fill("/account/links", button="unlink-discord")
    assert linker.status == 303
    assert [name for name, _, _ in linked(app, person)] == ["github"]


def test_what_is_not_linked_cannot_be_unlinked(app: Flask, linker: Browser, provider: ProviderServer) -> None:
    linker.get("/account/links")
    form, _ = linker.find_form("link-github", {})
    for name in ("github", "", "nobody"):
        assert linker.post("/account/links", {**dict(form.fields), "unlink": name}).status_code == 404


def test_nothing_of_a_link_survives_when_the_account_is_taken_over(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    """What the flow calls that gives an account to whoever proves its address."""
    from services.account.extensions import db
    from services.account.flows.linking import forget_links
    from services.account.flows.users import lock_user

    link_two(linker, provider)
    linker.fill("/account/links", button="link-acme")
    back = provider.visit(linker.location)
    with app.app_context(), db.transaction() as session:
        assert forget_links(session, lock_user(session, sub=person.sub)) == 2
    assert not linked(app, person)
    arrive(linker, back)
    assert linker.status == 409
    assert not linked(app, person)
    other = Browser(app)
    sign_in_with(other, provider)
    assert other.status == 403


def test_a_sign_in_that_is_under_way_while_its_link_goes_signs_nobody_in(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.account.extensions import db
    from services.account.flows import login
    from services.account.flows.linking import forget_links
    from services.account.flows.users import lock_user

    link(linker, provider)
    go_on = login.go_on

    def go_on_later(*arguments: Any, **values: Any) -> Any:
        # Between the look at the person and the session: the owner of the address takes the account over.
        with db.transaction() as session:
            forget_links(session, lock_user(session, sub=person.sub))
        return go_on(*arguments, **values)

    monkeypatch.setattr(login, "go_on", go_on_later)
    other = Browser(app)
    sign_in_with(other, provider)
    assert not is_signed_in(other)
