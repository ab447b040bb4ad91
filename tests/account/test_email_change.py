"""/account/email: another address, which counts once its owner has used the link mailed there."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

from libs.messaging.events import MailRequested, UserChanged
from tests.account.conftest import Person, copy_of, execute, is_signed_in, rows, side_by_side, sign_in
from tests.conftest import recorded, run_command
from tests.pages import Browser, token_of
from tests.round_trips import counted


def new_address() -> str:
    import uuid

    return f"New-{uuid.uuid4().hex[:10]}@people.test"


def mails(app: Flask, to: str, template: str | None = None) -> list[MailRequested]:
    return [
        mail
        for mail in recorded(app, MailRequested)
        if mail.recipient == to and template in (None, mail.template)
    ]


def link(app: Flask, to: str) -> str:
    parts = urlsplit(mails(app, to, "confirm_new_email")[-1].context["link"])
    return f"{parts.path}?{parts.query}"


def ask(browser: Browser, email: str) -> Browser:
    browser.fill("/account/email", button="change-email", email=email)
    return browser


def confirm(browser: Browser, path: str) -> Browser:
    browser.fill(path, button="confirm-email")
    return browser


def row(app: Flask, person: Person) -> Any:
    return rows(app, "SELECT email, email_verified_at, version FROM users WHERE sub = :sub", sub=person.sub)[
        0
    ]


@pytest.fixture
def proven(make_person: Callable[..., Person]) -> Person:
    return make_person(is_email_verified=True)


def test_the_new_address_counts_once_its_link_is_used_and_the_old_one_is_told(
    app: Flask, browser: Browser, proven: Person
) -> None:
    sign_in(browser, proven)
    new = new_address()
    ask(browser, new)
    assert (browser.status, browser.location) == (303, "/account/email/sent")
    assert row(app, proven).email == proven.email, "inert until then"
    [mail] = mails(app, new)
    assert (mail.template, mail.context["name"]) == ("confirm_new_email", "")
    path = link(app, new)
    assert browser.get(path).status_code == 200
    assert browser.page.headers["Referrer-Policy"] == "no-referrer"
    assert browser.page.headers["Cache-Control"] == "no-store"
    assert row(app, proven).email == proven.email, "looking spends nothing"
    confirm(browser, path)
    assert "Your address is changed" in browser.text
    assert row(app, proven).email == new
    assert row(app, proven).email_verified_at is not None
    [told] = mails(app, proven.email, "email_changed")
    assert "/account/not-me?token=" in told.context["not_me"]
    event = [event for event in recorded(app, UserChanged) if event.sub == proven.sub][-1]
    assert (event.claims["email"], event.claims["email_verified"], event.version) == (new, True, 2)
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.claims["email"] == new
    # Signing in is by the new one alone.
    assert is_signed_in(sign_in(Browser(app), Person(sub=proven.sub, email=new)))
    other = Browser(app)
    other.fill("/login", email=proven.email, password=proven.password)
    assert other.status == 422


def test_the_audit_names_no_address(app: Flask, browser: Browser, proven: Person) -> None:
    sign_in(browser, proven)
    new = new_address()
    confirm(ask(browser, new), link(app, new))
    audit = run_command(app, "audit", "list", "--target", f"user:{proven.sub}", "--json").output
    assert "email_change.asked" in audit
    assert "user.email_changed" in audit
    assert "people.test" not in audit


def test_a_link_works_once(app: Flask, browser: Browser, proven: Person) -> None:
    sign_in(browser, proven)
    new = new_address()
    path = link(app, ask(browser, new) and new)
    browser.get(path)
    data = {"csrf_token": token_of(browser)}
    assert browser.post(path, data).status_code == 200
    assert browser.post(path, data).status_code == 410
    assert row(app, proven).version == 2


def test_a_newer_link_ends_the_older(app: Flask, browser: Browser, proven: Person) -> None:
    sign_in(browser, proven)
    first, second = new_address(), new_address()
    old = link(app, ask(browser, first) and first)
    new = link(app, ask(browser, second) and second)
    assert browser.get(old).status_code == 410
    confirm(browser, new)
    assert row(app, proven).email == second


def test_an_expired_link_changes_nothing(app: Flask, browser: Browser, proven: Person) -> None:
    sign_in(browser, proven)
    new = new_address()
    path = link(app, ask(browser, new) and new)
    browser.get(path)
    data = {"csrf_token": token_of(browser)}
    execute(app, "UPDATE email_changes SET expires_at = now() WHERE email = :email", email=new)
    assert browser.post(path, data).status_code == 410
    assert browser.get(path).status_code == 410
    assert row(app, proven).email == proven.email


def test_garbage_is_no_link(browser: Browser, proven: Person) -> None:
    sign_in(browser, proven)
    for token in ("", "x", "%00", "a" * 5000, "%F0%9F%90%A2"):
        assert browser.get(f"/account/email/confirm?token={token}").status_code == 410, token


def test_whoever_reads_the_mail_without_being_signed_in_as_the_owner_gets_nothing(
    app: Flask, browser: Browser, proven: Person, make_person: Callable[..., Person]
) -> None:
    sign_in(browser, proven)
    new = new_address()
    path = link(app, ask(browser, new) and new)
    stranger = Browser(app)
    stranger.get(path)
    assert stranger.status == 303
    assert stranger.location.startswith("/login?continue=%2Faccount%2Femail%2Fconfirm%3Ftoken%3D")
    sign_in(stranger, make_person())
    stranger.get(path)
    assert stranger.status == 403
    assert "another account" in stranger.text
    assert proven.email not in stranger.text
    stranger.get("/account/profile")
    assert stranger.post(path, {"csrf_token": token_of(stranger)}).status_code == 403
    assert row(app, proven).email == proven.email
    # In another browser its owner signs in and comes back to the button.
    elsewhere = Browser(app)
    elsewhere.get(path, follow=True)
    elsewhere.fill(email=proven.email, password=proven.password, follow=True)
    elsewhere.fill(button="confirm-email")
    assert row(app, proven).email == new


def test_asking_for_somebodys_address_looks_the_same_and_tells_them_instead(
    app: Flask, proven: Person, make_person: Callable[..., Person]
) -> None:
    owner, free = make_person(), new_address()
    answers = []
    for email in (free, owner.email.upper()):
        browser = ask(sign_in(Browser(app), proven), email)
        answers.append((browser.status, browser.location))
        page = re.sub(r'value="[^"]{30,}"', "", browser.get(browser.location).text)
        answers[-1] += (page,)
    assert answers[0] == answers[1]
    assert [mail.template for mail in mails(app, owner.email)] == ["email_in_use"]
    assert mails(app, owner.email.upper()) == []
    assert proven.email not in str(mails(app, owner.email)[0].context)


def test_asking_for_somebodys_address_costs_the_same(
    app: Flask, proven: Person, make_person: Callable[..., Person]
) -> None:
    owner = make_person()
    browser = sign_in(Browser(app), proven)
    costs = []
    for email in (new_address(), new_address(), owner.email):
        browser.get("/account/email")
        with counted() as trips:
            browser.fill(button="change-email", email=email)
        assert browser.status == 303
        costs.append((trips.postgres, trips.redis))
    assert costs[1] == costs[2]


def test_asking_again_in_another_spelling_is_no_change(browser: Browser, proven: Person) -> None:
    sign_in(browser, proven)
    ask(browser, proven.email.upper())
    assert browser.status == 422
    assert "already" in browser.text


@pytest.mark.parametrize(
    "email",
    ["", "x", "a@b@c", "a b@people.test", "a@people.test\r\nBcc: x@people.test", "x" * 300 + "@people.test"],
)
def test_what_is_no_address_is_refused(app: Flask, browser: Browser, proven: Person, email: str) -> None:
    sign_in(browser, proven)
    ask(browser, email)
    assert browser.status == 422
    assert (
        rows(app, "SELECT 1 FROM email_changes c JOIN users u ON u.id = user_id WHERE sub = :s", s=proven.sub)
        == []
    )


def test_two_people_who_confirm_one_address_side_by_side(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    people = [make_person(is_email_verified=True) for _ in range(4)]
    new = new_address()
    browsers, paths = [], []
    for person in people:
        browser = ask(sign_in(Browser(app), person), new)
        paths.append(link(app, new))
        browser.get(paths[-1])
        browsers.append(browser)

    def press(browser: Browser, path: str) -> Callable[[], int]:
        data = {"csrf_token": token_of(browser)}
        return lambda: browser.post(path, data).status_code

    answers = side_by_side(*[press(browser, path) for browser, path in zip(browsers, paths, strict=True)])
    assert sorted(answers) == [200, 409, 409, 409]
    assert [row(app, person).email == new for person in people].count(True) == 1
    loser = browsers[answers.index(409)]
    assert "Somebody was faster" in loser.text
    # Nothing else of the losers has changed either.
    assert [row(app, person).version for person in people].count(1) == 3
    assert sum(len(mails(app, person.email, "email_changed")) for person in people) == 1


def test_one_link_pressed_twice_side_by_side_changes_once(
    app: Flask, browser: Browser, proven: Person
) -> None:
    sign_in(browser, proven)
    new = new_address()
    path = link(app, ask(browser, new) and new)
    twins = [browser, sign_in(Browser(app), proven)]
    tokens = []
    for twin in twins:
        twin.get(path)
        tokens.append(token_of(twin))
    answers = side_by_side(
        *[
            lambda twin=twin, token=token: twin.post(path, {"csrf_token": token}).status_code
            for twin, token in zip(twins, tokens, strict=True)
        ]
    )
    assert sorted(answers) == [200, 410]
    assert len(mails(app, proven.email, "email_changed")) == 1


def test_password_links_of_the_old_address_end(app: Flask, browser: Browser, proven: Person) -> None:
    sign_in(browser, proven)
    execute(
        app,
        "INSERT INTO password_links (id, user_id, token_digest, purpose, created_at, expires_at)"
        " SELECT gen_random_uuid(), id, 'digest-' || sub, 'first', now(), now() + interval '1 day'"
        " FROM users WHERE sub = :sub",
        sub=proven.sub,
    )
    new = new_address()
    confirm(ask(browser, new), link(app, new))
    assert rows(
        app, "SELECT used_at IS NULL FROM password_links WHERE token_digest = :d", d=f"digest-{proven.sub}"
    ) == [(False,)]


def test_a_sign_in_of_long_ago_is_not_enough_to_ask(app: Flask, browser: Browser, proven: Person) -> None:
    from libs.people.sessions import copy_key, secret_digest
    from libs.service import parts_of
    from tests.account.conftest import cookie_of

    sign_in(browser, proven)
    browser.get("/account/email")
    data = {"csrf_token": token_of(browser), "email": new_address()}
    execute(
        app,
        "UPDATE sign_in_sessions SET auth_time = auth_time - interval '6 minutes' WHERE user_id ="
        " (SELECT id FROM users WHERE sub = :sub)",
        sub=proven.sub,
    )
    parts_of(app).redis.delete(copy_key(secret_digest(cookie_of(browser))))
    assert browser.get("/account/email").status_code == 303
    assert "fresh_after=" in browser.location
    assert browser.post("/account/email", data).status_code == 403
    assert mails(app, data["email"]) == []


def test_nobodys_mailbox_is_filled_from_here(app: Flask, make_person: Callable[..., Person]) -> None:
    target = new_address()
    answers = []
    for _ in range(6):
        browser = ask(sign_in(Browser(app), make_person()), target)
        answers.append(browser.status)
    assert answers == [303] * 5 + [429]


def test_old_requests_are_cleared_but_earlier_addresses_are_known_on(
    app: Flask, browser: Browser, proven: Person
) -> None:
    from services.account.flows.clearing import clear_old_rows

    sign_in(browser, proven)
    first, second = new_address(), new_address()
    confirm(ask(browser, first), link(app, first))
    ask(browser, second)
    execute(app, "UPDATE email_changes SET expires_at = now() - interval '31 days'")
    with app.app_context():
        clear_old_rows()
    left = rows(
        app,
        "SELECT c.email, previous_email FROM email_changes c JOIN users u ON u.id = user_id WHERE sub = :sub",
        sub=proven.sub,
    )
    assert left == [(first, proven.email)]
