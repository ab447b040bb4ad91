"""The link that replaces a forgotten password, and what follows."""

import re
import uuid
from collections.abc import Callable

import pytest
from flask import Flask

from libs.guard import single_use
from libs.messaging.events import AccessRevoked, UserChanged
from libs.service import parts_of
from tests.account.conftest import (
    Person,
    cookie_of,
    execute,
    is_signed_in,
    link_in,
    mails_to,
    rows,
    side_by_side,
    sign_in,
    token_in,
)
from tests.account.password_tools import (
    NEW_PASSWORD,
    add_passkey,
    add_totp,
    age,
    answer,
    ask,
    link_provider,
    mailed_link,
    things_of,
    without_password,
)
from tests.conftest import receive, recorded
from tests.pages import Browser, token_of

# -- the link --------------------------------------------------------------------------------------------------


def test_looking_at_the_link_never_spends_it(app: Flask, link: str) -> None:
    for method in ("GET", "HEAD", "GET"):
        scanner = Browser(app)
        scanner.open(link, method=method)
        assert scanner.status == 200
        assert scanner.page.headers["Referrer-Policy"] == "no-referrer"
        assert scanner.page.headers["Cache-Control"] == "no-store"
        assert (
            "Set-Cookie" not in scanner.page.headers or "id_session" not in scanner.page.headers["Set-Cookie"]
        )
    browser = Browser(app)
    browser.fill(link, password=NEW_PASSWORD)
    assert browser.status == 303


def test_its_page_brings_nothing_from_third_parties(app: Flask, link: str) -> None:
    browser = Browser(app)
    browser.get(link)
    assert not re.findall(r'(?:src|href)="(?!/|#)', browser.text)
    assert "script-src 'self'" in browser.page.headers["Content-Security-Policy"]


def test_a_used_link_is_refused(app: Flask, link: str) -> None:
    Browser(app).fill(link, password=NEW_PASSWORD)
    late = Browser(app)
    late.get(link)
    assert late.status == 410
    assert "/password/forgot" in late.text


def test_a_superseded_link_is_refused_at_use(app: Flask, member: Person, link: str) -> None:
    slow = Browser(app)
    slow.get(link)
    age(app, member.sub, 11)
    newer = mailed_link(app, member.email)
    assert newer != link
    slow.fill(password=NEW_PASSWORD)
    assert slow.status == 410
    assert not is_signed_in(slow)
    slow.fill(newer, password=NEW_PASSWORD)
    assert slow.status == 303


def test_an_expired_link_is_refused_at_use_and_a_fresh_one_is_a_press_away(
    app: Flask, member: Person, link: str
) -> None:
    browser = Browser(app)
    browser.get(link)
    age(app, member.sub, 31)
    browser.fill(password=NEW_PASSWORD)
    assert browser.status == 410
    assert "has expired" in browser.text
    browser.fill(button="fresh-link")
    assert browser.status == 200
    fresh = link_in(mails_to(app, member.email, "reset_password")[-1])
    assert fresh != link
    assert Browser(app).get(link).status_code == 410
    browser.fill(fresh, password=NEW_PASSWORD)
    assert browser.status == 303


def test_a_link_of_one_kind_never_works_as_the_other(app: Flask, member: Person, link: str) -> None:
    token = token_in(link)
    execute(
        app,
        "UPDATE password_links SET used_at = NULL, purpose = 'reset' WHERE token_digest = :digest",
        digest=single_use.digest(token),
    )
    wrong_page = Browser(app)
    assert wrong_page.get(f"/password/set?token={token}").status_code == 410
    wrong_page.get(link)
    csrf = token_of(wrong_page)
    wrong_page.post(f"/password/set?token={token}", {"csrf_token": csrf, "password": NEW_PASSWORD})
    assert wrong_page.status == 410
    wrong_page.post(f"/account/not-me?token={token}", {"csrf_token": csrf})
    assert wrong_page.status == 410
    execute(
        app,
        "UPDATE password_links SET purpose = 'first' WHERE token_digest = :digest",
        digest=single_use.digest(token),
    )
    wrong_page.post(link, {"csrf_token": csrf, "password": NEW_PASSWORD})
    assert wrong_page.status == 410
    sign_in(Browser(app), member)


def test_the_link_used_many_times_at_once_sets_one_password(app: Flask, link: str) -> None:
    browsers = [Browser(app) for _ in range(5)]
    for browser in browsers:
        browser.get(link)
    words = ("one", "two", "red", "sea", "owl")
    side_by_side(
        *(
            lambda b=b, w=w: b.fill(password=f"yellow umbrella by the river {w}")
            for b, w in zip(browsers, words, strict=True)
        )
    )
    assert sorted(browser.status for browser in browsers) == [303, 410, 410, 410, 410]
    assert sum(is_signed_in(browser) for browser in browsers) == 1


def test_links_carry_the_configured_origin_whatever_the_host_header_says(app: Flask, member: Person) -> None:
    browser = Browser(app)
    browser.get("/password/forgot")
    csrf = token_of(browser)
    browser.post(
        "/password/forgot",
        {"csrf_token": csrf, "email": member.email},
        headers={"Host": "evil.test", "X-Forwarded-Host": "evil.test"},
    )
    answer(app)
    for mail in mails_to(app, member.email):
        assert mail.context["link"].startswith("http://localhost:8000/")


def test_a_refused_password_leaves_the_link_good_and_is_not_shown_again(app: Flask, link: str) -> None:
    browser = Browser(app)
    for password in ("short", "qwertyuiopasdfgh", "x" * 1001):
        browser.fill(link, password=password)
        assert browser.status == 422
        assert password not in browser.text
    browser.fill(password=NEW_PASSWORD)
    assert browser.status == 303


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "%00", "\ud83d"])
def test_unknown_and_mangled_tokens_get_a_page_that_helps(browser: Browser, token: str) -> None:
    browser.get("/password/reset", query_string={"token": token.encode("utf-8", "surrogatepass")})
    assert browser.status == 410
    assert "/password/forgot" in browser.text


def test_a_disabled_account_cannot_use_its_link(app: Flask, member: Person, link: str) -> None:
    browser = Browser(app)
    browser.get(link)
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=member.sub)
    browser.fill(password=NEW_PASSWORD)
    assert browser.status == 410


def test_resetting_needs_the_forms_token_and_our_origin(app: Flask, member: Person, link: str) -> None:
    browser = Browser(app)
    browser.post(link, {"password": NEW_PASSWORD})
    assert browser.status == 400
    assert NEW_PASSWORD not in browser.text
    browser.get(link)
    csrf = token_of(browser)
    data = {"csrf_token": csrf, "password": NEW_PASSWORD}
    browser.post(link, data, headers={"Origin": "https://evil.test"})
    assert browser.status == 403
    sign_in(browser, member)


# -- after a password reset ------------------------------------------------------------------------------------


def test_all_earlier_sessions_and_refresh_tokens_end(app: Flask, member: Person, link: str) -> None:
    before = [sign_in(Browser(app), member) for _ in range(2)]
    browser = Browser(app)
    browser.fill(link, password=NEW_PASSWORD)
    assert browser.status == 303
    assert [is_signed_in(one) for one in before] == [False, False]
    assert is_signed_in(browser)
    [event] = [e for e in recorded(app, AccessRevoked) if e.sub == member.sub]
    assert (event.sids, event.cause) == (None, "password_changed")
    assert parts_of(app).redis.exists(f"revoked:sub:{member.sub}")


def test_a_notice_is_mailed(app: Flask, member: Person, link: str) -> None:
    Browser(app).fill(link, password=NEW_PASSWORD)
    [mail] = mails_to(app, member.email, "password_changed")
    assert mail.context["not_me"].startswith("http://localhost:8000/account/not-me?token=")
    assert mail.locale == "ru"


@pytest.mark.parametrize("add", [add_totp, add_passkey])
def test_the_second_factor_is_kept_and_still_asked(
    app: Flask, member: Person, add: Callable[[Flask, Person], None]
) -> None:
    add(app, member)
    browser = Browser(app)
    browser.fill(mailed_link(app, member.email), password=NEW_PASSWORD)
    assert browser.status == 303
    assert browser.location.startswith("/login/second-factor?")
    assert not cookie_of(browser)
    assert not is_signed_in(browser)
    query = "SELECT hash FROM password_credentials JOIN users ON id = user_id WHERE sub = :sub"
    assert rows(app, query, sub=member.sub)[0].hash


def test_what_was_begun_before_cannot_be_finished_after_it(app: Flask, member: Person, link: str) -> None:
    execute(
        app,
        "INSERT INTO email_changes (id, user_id, email, token_digest, created_at, expires_at)"
        " SELECT :id, id, 'thief@people.test', :id, now(), now() + interval '1 day' FROM users WHERE sub = :sub",
        id=str(uuid.uuid4()),
        sub=member.sub,
    )
    Browser(app).fill(link, password=NEW_PASSWORD)
    query = "SELECT used_at FROM email_changes c JOIN users u ON u.id = c.user_id WHERE sub = :sub"
    assert [row.used_at is None for row in rows(app, query, sub=member.sub)] == [False]


def test_the_address_counts_as_proven_and_the_audit_tells_the_story(app: Flask, person: Person) -> None:
    Browser(app).fill(mailed_link(app, person.email), password=NEW_PASSWORD)
    assert [e.claims["email_verified"] for e in recorded(app, UserChanged) if e.sub == person.sub] == [
        False,
        True,
    ]
    entries = rows(
        app,
        "SELECT action, actor FROM audit_entries WHERE target = :target ORDER BY created_at, id",
        target=f"user:{person.sub}",
    )
    assert ("password.link_asked_for", "task:answer_password_requests") in entries
    assert ("password.reset", f"user:{person.sub}") in entries


def test_an_account_that_never_had_a_password_gets_its_first_link_again(app: Flask) -> None:
    from tests.account.test_password_links import activated

    event = activated()
    receive(app, event, "onboarding")
    [first] = mails_to(app, event.email)
    ask(app, event.email)
    assert len(mails_to(app, event.email)) == 1  # the one it has is young
    sub = rows(app, "SELECT sub::text FROM users WHERE email = :email", email=event.email)[0].sub
    age(app, sub, 11)
    ask(app, event.email)
    _, again = mails_to(app, event.email)
    assert (first.template, again.template) == ("set_password", "set_password")
    browser = Browser(app)
    browser.fill(link_in(again), password=NEW_PASSWORD)
    assert (browser.status, browser.location) == (303, "/account")


def test_a_person_with_a_passkey_alone_gets_a_password_by_the_same_way(app: Flask, member: Person) -> None:
    without_password(app, member)
    add_passkey(app, member)
    browser = Browser(app)
    browser.fill(mailed_link(app, member.email), password=NEW_PASSWORD)
    assert browser.location.startswith("/login/second-factor?")


# -- whoever registered another's address first ----------------------------------------------------------------


def test_whoever_registered_anothers_address_first_loses_everything_there_when_its_owner_proves_it(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    squatted = make_person(is_email_verified=False)
    squatter = sign_in(Browser(app), squatted)
    squatter.fill("/account/profile", button="save-profile", website="https://squatter.example/")
    for add in (add_totp, add_passkey, link_provider):
        add(app, squatted)
    owner = Browser(app)
    owner.fill(mailed_link(app, squatted.email), password=NEW_PASSWORD)
    assert (owner.status, owner.location) == (303, "/account")  # the squatter's second factor asks nothing
    assert is_signed_in(owner)
    assert not is_signed_in(squatter)
    assert things_of(app, squatted) == 0
    changed = [event for event in recorded(app, UserChanged) if event.sub == squatted.sub][-1]
    assert "website" not in changed.claims
    assert [event.cause for event in recorded(app, AccessRevoked) if event.sub == squatted.sub] == [
        "taken_over"
    ]
    [entry] = rows(
        app,
        "SELECT before FROM audit_entries WHERE action = 'user.taken_over' AND target = :target",
        target=f"user:{squatted.sub}",
    )
    assert entry.before["passkeys"] == 1


def test_an_address_that_was_proven_before_keeps_what_is_its_owners(app: Flask, member: Person) -> None:
    for add in (add_totp, add_passkey, link_provider):
        add(app, member)
    Browser(app).fill(mailed_link(app, member.email), password=NEW_PASSWORD)
    assert things_of(app, member) == 3
