"""/account/second-factor: authenticator apps are set up, replaced and removed."""

from collections.abc import Callable

import pytest
from flask import Flask

from libs.messaging.events import MailRequested
from tests.account.conftest import (
    Person,
    cookie_of,
    copy_of,
    execute,
    is_signed_in,
    rows,
    sign_in,
)
from tests.account.second_factors import (
    App,
    full_sign_in,
    half_sign_in,
    person_with_app,
    secret_in,
    set_up_app,
    unspend,
)
from tests.conftest import recorded, run_command
from tests.pages import Browser, token_of


def mails(app: Flask, person: Person) -> list[str]:
    return [event.template for event in recorded(app, MailRequested) if event.recipient == person.email]


def events(app: Flask, person: Person) -> list[tuple[str, str | None]]:
    """Method and reason of the person's login events, newest first."""
    query = (
        "SELECT method, failure_reason FROM login_events JOIN users ON users.id = user_id "
        "WHERE sub = :sub ORDER BY login_events.id DESC"
    )
    return [(row.method, row.failure_reason) for row in rows(app, query, sub=person.sub)]


def audited(app: Flask, person: Person) -> list[str]:
    query = "SELECT action FROM audit_entries WHERE target = :target ORDER BY id DESC"
    return [row.action for row in rows(app, query, target=f"user:{person.sub}")]


# -- setting up ------------------------------------------------------------------------------------------------


def test_an_app_is_set_up_with_its_first_code_and_raises_this_session(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    before, old_secret = copy_of(app, browser), cookie_of(browser)
    assert before is not None
    browser.fill("/account/second-factor", button="set-up", follow=True)
    page = browser.text
    assert '<svg viewBox="' in page
    assert "style=" not in page
    phone = App(secret_in(page))
    browser.fill(code="000000")
    assert browser.status == 422
    assert "This is not the code that the app shows now." in browser.text
    browser.fill(code=phone.code())
    assert browser.status == 200
    after = copy_of(app, browser)
    assert after is not None
    assert (after.sid, after.amr, after.acr) == (before.sid, ["pwd", "otp", "mfa"], "2")
    assert after.auth_time >= before.auth_time
    assert cookie_of(browser) != old_secret
    thief = Browser(app)
    thief.set_cookie("id_session", old_secret)
    assert not is_signed_in(thief)
    assert "second_factor_added" in mails(app, person)
    assert "totp.added" in audited(app, person)
    browser.get("/account/second-factor/app")
    assert browser.location == "/account/second-factor", "the seed is not shown again"


def test_setting_an_app_up_is_no_new_sign_in(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    execute(
        app,
        "UPDATE sign_in_sessions SET auth_time = now() - interval '2 minutes', provider = 'github'"
        " FROM users WHERE users.id = user_id AND sub = :sub",
        sub=person.sub,
    )
    query = (
        "SELECT auth_time, absolute_end, provider FROM sign_in_sessions JOIN users ON users.id = user_id"
        " WHERE sub = :sub"
    )
    [before] = rows(app, query, sub=person.sub)
    set_up_app(app, browser, person)
    [after] = rows(app, query, sub=person.sub)
    assert (after.auth_time, after.provider) == (before.auth_time, "github")
    assert after.absolute_end <= before.absolute_end
    shared = copy_of(app, browser)
    assert shared is not None
    assert (shared.auth_time, shared.acr) == (int(before.auth_time.timestamp()), "2")


def test_the_seed_is_nowhere_but_sealed_in_its_row(
    app: Flask, browser: Browser, person: Person, log_text: Callable[[], str]
) -> None:
    phone = person_with_app(app, browser, person)
    browser.get("/account/second-factor")
    shown = [browser.text, browser.get("/account").text]
    full_sign_in(Browser(app), person, phone)
    audit = run_command(app, "audit", "list", "--json").output
    for place in (log_text(), audit, *shown):
        assert phone.secret not in place
        for code in phone.recovery_codes:
            assert code not in place
    for table in ("totp_credentials", "recovery_codes", "outbox_events", "sign_in_attempts", "audit_entries"):
        for secret in (phone.secret, *phone.recovery_codes):
            assert not rows(app, f"SELECT 1 FROM {table} t WHERE t::text LIKE :secret", secret=f"%{secret}%")


def test_an_app_that_took_too_long_to_set_up_starts_again(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    browser.fill("/account/second-factor", button="set-up", follow=True)
    phone = App(secret_in(browser.text))
    execute(app, "UPDATE totp_credentials SET created_at = now() - interval '2 hours'")
    browser.fill(code=phone.code(), follow=True)
    assert "Please start setting up the app again." in browser.text
    assert "Set up an authenticator app" in browser.text


def test_replacing_an_app_keeps_the_old_one_until_the_new_one_has_shown_a_code(
    app: Flask, browser: Browser, person: Person, phone: App
) -> None:
    browser.fill("/account/second-factor", button="set-up", follow=True)
    new = App(secret_in(browser.text))
    assert new.secret != phone.secret
    full_sign_in(Browser(app), person, phone)
    page = browser.get("/account/second-factor/app").text
    assert secret_in(page) == new.secret
    browser.fill(code=new.code())
    assert browser.status == 303, "no new recovery codes: the old ones go on working"
    unspend(app, person)
    half_sign_in(other := Browser(app), person)
    other.fill(other.location, code=phone.code())
    assert other.status == 422
    other.fill(code=new.code())
    assert other.status == 303
    assert audited(app, person).count("totp.replaced") == 1


def test_without_its_app_a_person_signs_in_with_one_step_again(
    app: Flask, browser: Browser, person: Person, phone: App
) -> None:
    browser.fill("/account/second-factor", button="remove-app", follow=True)
    assert "The authenticator app was removed." in browser.text
    assert "second_factor_removed" in mails(app, person)
    query = "SELECT 1 FROM recovery_codes JOIN users ON users.id = user_id WHERE sub = :sub"
    assert not rows(app, query, sub=person.sub)
    other = sign_in(Browser(app), person)
    shared = copy_of(app, other)
    assert shared is not None
    assert (shared.amr, shared.acr) == (["pwd"], "1")


def test_changing_the_second_step_needs_a_fresh_sign_in(
    app: Flask, browser: Browser, person: Person, phone: App
) -> None:
    execute(
        app,
        "UPDATE sign_in_sessions s SET auth_time = now() - interval '10 minutes' "
        "FROM users u WHERE u.id = s.user_id AND u.sub = :sub",
        sub=person.sub,
    )
    from services.account.flows.copies import rewrite_copies

    with app.app_context():
        [user] = rows(app, "SELECT id FROM users WHERE sub = :sub", sub=person.sub)
        rewrite_copies(user.id)
    for path in ("/account/second-factor", "/account/second-factor/app"):
        browser.get(path)
        assert browser.status == 303
        assert "fresh_after=" in browser.location
        browser.get("/account/sessions")
        browser.post(path, {"csrf_token": token_of(browser), "remove": "yes"})
        assert browser.status == 403
        assert 'id="sign-in-again"' in browser.text
    assert rows(
        app,
        "SELECT 1 FROM totp_credentials JOIN users ON users.id = user_id WHERE sub = :sub",
        sub=person.sub,
    )


def test_a_session_that_was_ended_meanwhile_is_not_raised(
    app: Flask, browser: Browser, person: Person
) -> None:
    from services.account.flows.revoking import revoke_access
    from services.account.flows.totp import NothingPending, confirm_totp
    from services.account.flows.visitor import Visitor

    sign_in(browser, person)
    browser.fill("/account/second-factor", button="set-up", follow=True)
    phone = App(secret_in(browser.text))
    shared = copy_of(app, browser)
    assert shared is not None
    with app.app_context():
        revoke_access(sub=person.sub, cause="sessions_revoked")
        with pytest.raises(NothingPending):
            confirm_totp(
                session=shared, code=phone.code(), visitor=Visitor(held=tuple(cookie_of(browser).split(".")))
            )
    assert not is_signed_in(browser)
