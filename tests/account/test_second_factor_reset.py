"""The way back for whoever lost every second factor: by waiting, or by staff."""

import json
from collections.abc import Callable

import pytest
from flask import Flask

from libs.messaging.events import AccessRevoked, MailRequested
from tests.account.conftest import Person, copy_of, execute, is_signed_in, rows, side_by_side, sign_in
from tests.account.password_tools import add_passkey, without_password
from tests.account.second_factors import App, full_sign_in, half_sign_in, person_with_app, unspend
from tests.account.test_second_factor import audited, mails
from tests.account.test_sessions import revocations
from tests.conftest import recorded, run_command
from tests.pages import Browser, token_of


def resets(app: Flask, person: Person) -> list[tuple[bool, str | None]]:
    """Whether each was mailed, and how it ended; newest first."""
    query = (
        "SELECT mailed_at IS NOT NULL AS mailed, end_cause FROM second_factor_resets r "
        "JOIN users ON users.id = user_id WHERE sub = :sub ORDER BY r.id DESC"
    )
    return [(row.mailed, row.end_cause) for row in rows(app, query, sub=person.sub)]


def lose_everything(app: Flask, person: Person) -> Browser:
    browser = half_sign_in(Browser(app), person)
    browser.fill("/login/second-factor/other", button="lost", follow=True)
    return browser


def wait(app: Flask, days: int = 4) -> int:
    """Let so many days pass for everybody on the way back, and the task run."""
    from services.account.flows.second_factor_reset import mail_due_links

    for column in ("available_at", "mailed_at"):
        execute(
            app, f"UPDATE second_factor_resets SET {column} = {column} - :days * interval '1 day'", days=days
        )
    with app.app_context():
        return mail_due_links()


def link_of(app: Flask, person: Person) -> str:
    mail = [
        event
        for event in recorded(app, MailRequested)
        if event.recipient == person.email and event.template == "second_factor_reset_ready"
    ][-1]
    link: str = mail.context["link"]
    return link.replace("http://localhost:8000", "")


def test_the_way_back_waits_mails_a_link_and_removes_everything(
    app: Flask, browser: Browser, person: Person, phone: App
) -> None:
    lost = lose_everything(app, person)
    assert "The wait ends on" in lost.text
    assert mails(app, person)[-1] == "second_factor_reset_started"
    wait(app, days=0)
    assert "second_factor_reset_ready" not in mails(app, person)
    assert wait(app) >= 1
    wait(app, days=0)
    assert mails(app, person).count("second_factor_reset_ready") == 1
    link = link_of(app, person)

    newcomer = Browser(app)
    for _ in range(3):
        assert "First sign in as you always do." in newcomer.get(link).text, "looking spends nothing"
    assert "no-referrer" in newcomer.page.headers["Referrer-Policy"]
    assert 'id="remove-second-factor"' not in newcomer.text
    half_sign_in(newcomer, person, "/login?continue=" + link.replace("?", "%3F").replace("=", "%3D"))
    newcomer.get(newcomer.location)
    assert newcomer.location == link
    newcomer.fill(link, button="remove-second-factor")
    assert newcomer.location.startswith("/login?")
    assert not is_signed_in(newcomer)
    assert not is_signed_in(browser), "all sessions end"
    assert [event.cause for event in revocations(app, person)] == ["sessions_revoked"]
    assert mails(app, person)[-1] == "second_factor_reset_done"
    assert "second_factor.reset" in audited(app, person)
    assert resets(app, person) == [(True, "used")]
    sign_in(newcomer, person)
    shared = copy_of(app, newcomer)
    assert shared is not None
    assert (shared.amr, shared.acr) == (["pwd"], "1")
    assert newcomer.get(link).status_code == 410


def test_the_link_alone_opens_nothing_and_is_of_its_owner_only(
    app: Flask, person: Person, phone: App, make_person: Callable[..., Person]
) -> None:
    other = make_person()
    person_with_app(app, Browser(app), other)
    lose_everything(app, person)
    wait(app)
    link = link_of(app, person)
    thief = half_sign_in(Browser(app), other)
    assert 'id="remove-second-factor"' not in thief.get(link).text
    thief.get("/login")
    thief.post(link, {"csrf_token": token_of(thief)})
    assert thief.status == 410
    stranger = Browser(app)
    stranger.get("/login")
    stranger.post(link, {"csrf_token": token_of(stranger)})
    assert stranger.location == "/login"
    assert resets(app, person) == [(True, None)]


def test_the_link_pressed_side_by_side_removes_once(app: Flask, person: Person, phone: App) -> None:
    lose_everything(app, person)
    wait(app)
    link = link_of(app, person)
    browsers = [half_sign_in(Browser(app), person) for _ in range(3)]
    for browser in browsers:
        browser.get(link)
    side_by_side(
        *(lambda browser=browser: browser.fill(button="remove-second-factor") for browser in browsers)
    )
    assert sorted(browser.status for browser in browsers) == [303, 410, 410]
    assert mails(app, person).count("second_factor_reset_done") == 1


def test_asking_again_goes_on_with_the_same_wait(app: Flask, person: Person, phone: App) -> None:
    lose_everything(app, person)
    again = half_sign_in(Browser(app), person)
    again.get("/login/second-factor/other")
    assert 'id="lost"' not in again.text
    assert 'id="lost-state"' in again.text
    asking = [half_sign_in(Browser(app), person) for _ in range(3)]

    def ask(browser: Browser) -> int:
        browser.get("/login/second-factor/other")
        return browser.post("/login/second-factor/lost", {"csrf_token": token_of(browser)}).status_code

    assert side_by_side(*(lambda browser=browser: ask(browser) for browser in asking)) == [303] * 3
    assert resets(app, person) == [(False, None)]
    assert mails(app, person).count("second_factor_reset_started") == 1


def test_two_who_lose_everything_at_once_begin_one_wait(app: Flask, person: Person, phone: App) -> None:
    browsers = [half_sign_in(Browser(app), person) for _ in range(3)]
    for browser in browsers:
        browser.get("/login/second-factor/other")
    side_by_side(*(lambda browser=browser: browser.fill(button="lost") for browser in browsers))
    assert [browser.status for browser in browsers] == [303] * 3
    assert resets(app, person) == [(False, None)]


def test_asking_is_limited(app: Flask, person: Person, phone: App) -> None:
    browser = half_sign_in(Browser(app), person)
    browser.get("/login/second-factor/other")
    token = token_of(browser)
    statuses = [
        browser.post("/login/second-factor/lost", {"csrf_token": token}).status_code for _ in range(6)
    ]
    assert statuses == [303] * 5 + [429]


def test_a_sign_in_with_a_second_factor_ends_it(app: Flask, person: Person, phone: App) -> None:
    lose_everything(app, person)
    full_sign_in(Browser(app), person, phone)
    assert resets(app, person) == [(False, "cancelled")]
    wait(app)
    assert "second_factor_reset_ready" not in mails(app, person)


def test_a_link_mailed_already_dies_with_a_sign_in_by_a_second_factor(
    app: Flask, person: Person, phone: App
) -> None:
    lose_everything(app, person)
    wait(app)
    unspend(app, person)
    full_sign_in(Browser(app), person, phone)
    assert Browser(app).get(link_of(app, person)).status_code == 410


def test_its_owner_ends_it_on_their_page(app: Flask, browser: Browser, person: Person, phone: App) -> None:
    lose_everything(app, person)
    page = browser.get("/account/second-factor").text
    assert "Somebody asked to remove your second step" in page
    browser.fill(button="cancel-reset", follow=True)
    assert "The second step stays." in browser.text
    assert resets(app, person) == [(False, "cancelled")]
    assert "second_factor_reset.cancelled" in audited(app, person)
    lose_everything(app, person)
    assert resets(app, person) == [(False, None), (False, "cancelled")]
    assert mails(app, person).count("second_factor_reset_started") == 2, "told each time"


def test_whoever_did_not_ask_ends_it_from_the_mail(
    app: Flask, browser: Browser, person: Person, phone: App
) -> None:
    lose_everything(app, person)
    [mail] = [
        event
        for event in recorded(app, MailRequested)
        if event.recipient == person.email and event.template == "second_factor_reset_started"
    ]
    reader = Browser(app)
    reader.fill(mail.context["not_me"].replace("http://localhost:8000", ""), button="not-me")
    assert resets(app, person) == [(False, "cancelled")]
    wait(app)
    assert "second_factor_reset_ready" not in mails(app, person)
    assert not is_signed_in(browser)


def test_a_link_left_unused_expires_and_the_wait_can_begin_again(
    app: Flask, person: Person, phone: App
) -> None:
    lose_everything(app, person)
    wait(app)
    link = link_of(app, person)
    wait(app)
    assert Browser(app).get(link).status_code == 410
    assert resets(app, person) == [(True, "expired")]
    lose_everything(app, person)
    assert resets(app, person) == [(False, None), (True, "expired")]


def test_a_changed_password_ends_what_the_old_one_began(app: Flask, person: Person, phone: App) -> None:
    lose_everything(app, person)
    wait(app)
    browser = half_sign_in(Browser(app), person)
    browser.get(link_of(app, person))
    execute(
        app,
        "UPDATE password_credentials SET hash = hash || ' ' FROM users WHERE users.id = user_id AND sub = :sub",
        sub=person.sub,
    )
    browser.fill(button="remove-second-factor")
    assert browser.location == "/login"
    assert resets(app, person) == [(True, None)]


def test_disabled_people_get_no_link(app: Flask, person: Person, phone: App) -> None:
    lose_everything(app, person)
    assert run_command(app, "users", "disable", person.email).exit_code == 0
    wait(app)
    assert "second_factor_reset_ready" not in mails(app, person)


# -- by staff --------------------------------------------------------------------------------------------------


def test_staff_remove_second_factors_by_command(
    app: Flask, browser: Browser, person: Person, phone: App
) -> None:
    assert run_command(app, "users", "reset-second-factor", person.email).exit_code == 2, "it needs a reason"
    refused = run_command(app, "users", "reset-second-factor", person.email, "--reason", " ")
    assert (refused.exit_code, "say how you know" in refused.output) == (1, True)
    result = run_command(
        app, "users", "reset-second-factor", person.email, "--reason", "phone lost, called us", "--json"
    )
    assert result.exit_code == 0
    done = json.loads(result.stdout)
    assert (done["totp"], done["recovery_codes"], done["passkeys"]) == (True, 10, 0)
    assert not is_signed_in(browser)
    assert [event.cause for event in recorded(app, AccessRevoked) if event.sub == person.sub] == [
        "sessions_revoked"
    ]
    assert mails(app, person)[-1] == "second_factor_reset_by_staff"
    entries = json.loads(run_command(app, "audit", "list", "--target", f"user:{person.sub}", "--json").output)
    entry = next(entry for entry in entries if entry["action"] == "second_factor.reset")
    assert entry["reason"] == "phone lost, called us"
    assert entry["actor"].startswith("command:")
    sign_in(Browser(app), person)


@pytest.mark.parametrize(("has_password", "stays"), [(True, 0), (False, 1)])
def test_passkeys_go_too_unless_nothing_else_signs_the_person_in(
    app: Flask, person: Person, has_password: bool, stays: int
) -> None:
    add_passkey(app, person)
    if not has_password:
        without_password(app, person)
    result = run_command(app, "users", "reset-second-factor", person.email, "--reason", "lost")
    assert ("stay: nothing else signs them in" in result.output) == bool(stays)
    query = "SELECT 1 FROM passkeys JOIN users ON users.id = user_id WHERE sub = :sub"
    assert len(rows(app, query, sub=person.sub)) == stays
