"""The link "It wasn't me" in every security mail, and what its button does."""

import uuid
from collections.abc import Callable

import pytest
from flask import Flask

from libs.guard import single_use
from libs.messaging.events import UserChanged
from tests.account.conftest import (
    Person,
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
    link_provider,
    mailed_link,
    password_hash,
    things_of,
)
from tests.conftest import recorded
from tests.pages import Browser, token_of

AGO = "interval '2 hours'"
THIEFS_PASSWORD = "thief of umbrellas and rivers"


def age_of_all(app: Flask, person: Person) -> None:
    """What the person has, they have had for a while."""
    for table in ("passkeys", "totp_credentials", "linked_identities"):
        execute(app, f"UPDATE {table} t SET created_at = t.created_at - {AGO} FROM users u"
                f" WHERE u.id = t.user_id AND sub = :sub", sub=person.sub)  # fmt: skip
    execute(app, f"UPDATE totp_credentials SET confirmed_at = confirmed_at - {AGO}")


@pytest.fixture
def notice(app: Flask, member: Person) -> str:
    """The link "It wasn't me" of a mail about a change of the password, made by somebody who has the password."""
    thief = sign_in(Browser(app), member)
    thief.fill("/account/password", old_password=member.password, new_password=THIEFS_PASSWORD)
    assert thief.status == 303
    return not_me(app, member.email)


def not_me(app: Flask, email: str) -> str:
    return link_in(mails_to(app, email, "password_changed")[-1], "not_me")


def test_looking_at_it_says_what_happened_and_spends_nothing(app: Flask, member: Person, notice: str) -> None:
    for _ in range(3):
        scanner = Browser(app)
        scanner.get(notice)
        assert scanner.status == 200
        assert "The password of your account was changed." in scanner.text
        assert member.email in scanner.text
        assert scanner.page.headers["Referrer-Policy"] == "no-referrer"
        assert scanner.page.headers["Cache-Control"] == "no-store"
    assert password_hash(app, member)


def test_its_button_ends_all_sessions_and_starts_a_reset(app: Flask, member: Person, notice: str) -> None:
    thief = Browser(app)
    thief.fill("/login", email=member.email, password=THIEFS_PASSWORD)
    assert is_signed_in(thief)
    owner = Browser(app)
    owner.get(notice)
    owner.fill(button="not-me")
    assert (owner.status, owner.location) == (303, "/account/not-me?done=mailed")
    assert "Your account is secured" in owner.get(owner.location).text
    assert not is_signed_in(thief)
    assert not is_signed_in(owner)
    thief.fill("/login", email=member.email, password=THIEFS_PASSWORD)
    assert thief.status == 422
    [mail] = mails_to(app, member.email, "account_secured")
    owner.fill(link_in(mail), password=NEW_PASSWORD)
    assert (owner.status, owner.location) == (303, "/account")
    actions = [
        (row.action, row.actor)
        for row in rows(
            app, "SELECT action, actor FROM audit_entries WHERE target = :t", t=f"user:{member.sub}"
        )
    ]
    assert ("user.disavowed", f"user:{member.sub}") in actions


def test_it_works_once_however_often_it_is_pressed_at_once(app: Flask, member: Person, notice: str) -> None:
    browsers = [Browser(app) for _ in range(4)]
    for browser in browsers:
        browser.get(notice)
    side_by_side(*[lambda one=browser: one.fill(button="not-me") for browser in browsers])
    assert sorted(browser.status for browser in browsers) == [303, 410, 410, 410]
    assert len(mails_to(app, member.email, "account_secured")) == 1
    assert Browser(app).get(notice).status_code == 410


def test_it_ends_after_its_time_and_leads_on(app: Flask, member: Person, notice: str) -> None:
    browser = Browser(app)
    browser.get(notice)
    execute(
        app,
        "UPDATE security_notices SET expires_at = now() - interval '1 second' WHERE token_digest = :digest",
        digest=single_use.digest(token_in(notice)),
    )
    browser.fill(button="not-me")
    assert browser.status == 410
    assert "/password/forgot" in browser.text
    assert password_hash(app, member)


@pytest.mark.parametrize("token", ["", "x", "A" * 43])
def test_unknown_tokens_do_nothing(browser: Browser, token: str) -> None:
    assert browser.get(f"/account/not-me?token={token}").status_code == 410


def test_it_needs_the_forms_token_and_our_origin(app: Flask, member: Person, notice: str) -> None:
    browser = Browser(app)
    browser.post(notice, {})
    assert browser.status == 400
    browser.get(notice)
    csrf = token_of(browser)
    browser.post(notice, {"csrf_token": csrf}, headers={"Origin": "https://evil.test"})
    assert browser.status == 403
    assert password_hash(app, member)


def test_what_was_added_since_goes_and_what_was_there_before_stays(
    app: Flask, member: Person, notice: str
) -> None:
    for add in (add_totp, add_passkey, link_provider):
        add(app, member)
    age_of_all(app, member)
    add_passkey(app, member)  # the intruder's
    assert things_of(app, member) == 4
    owner = Browser(app)
    owner.get(notice)
    owner.fill(button="not-me")
    assert things_of(app, member) == 3
    names = rows(
        app, "SELECT 1 FROM passkeys JOIN users u ON u.id = user_id WHERE sub = :sub", sub=member.sub
    )
    assert len(names) == 1
    [entry] = rows(
        app,
        "SELECT before FROM audit_entries WHERE action = 'user.additions_removed' AND target = :t",
        t=f"user:{member.sub}",
    )
    assert entry.before == {"passkeys": 1, "known_devices": 1}


def change_email(app: Flask, person: Person, email: str) -> None:
    """The intruder has moved the account to an address of theirs."""
    execute(
        app,
        "UPDATE users SET email = :email, email_normalised = :email, email_verified_at = now() WHERE sub = :sub",
        email=email,
        sub=person.sub,
    )


def settled_thief(app: Flask, member: Person) -> tuple[Browser, str]:
    """The intruder, signed in at an address and with a password of their own; and that address."""
    thiefs = f"thief-{uuid.uuid4().hex[:8]}@people.test"
    change_email(app, member, thiefs)
    thief = Browser(app)
    thief.fill("/login", email=thiefs, password=THIEFS_PASSWORD)
    thief.fill(
        "/account/password", old_password=THIEFS_PASSWORD, new_password="second thief of umbrellas here"
    )
    assert thief.status == 303
    return thief, thiefs


def test_an_address_changed_since_then_is_put_back_proven_and_the_way_back_goes_there(
    app: Flask, member: Person, notice: str
) -> None:
    _, thiefs = settled_thief(app, member)
    theirs = not_me(app, thiefs)
    stale = mailed_link(app, thiefs)
    owner = Browser(app)
    owner.get(notice)
    owner.fill(button="not-me")
    assert owner.status == 303
    [user] = rows(app, "SELECT email, email_verified_at FROM users WHERE sub = :sub", sub=member.sub)
    assert user.email == member.email
    assert user.email_verified_at is not None
    assert [e.claims["email"] for e in recorded(app, UserChanged) if e.sub == member.sub][-1] == member.email
    [mail] = mails_to(app, member.email, "account_secured")
    assert not mails_to(app, thiefs, "account_secured")
    # Nothing that was mailed to the intruder opens anything or brings their address back.
    assert Browser(app).get(stale).status_code == 410
    assert Browser(app).get(theirs).status_code == 410
    owner.fill(link_in(mail), password=NEW_PASSWORD)
    assert owner.status == 303
    assert is_signed_in(owner)


def test_an_intruder_who_presses_it_first_cannot_take_the_address_from_its_owner(
    app: Flask, member: Person, notice: str
) -> None:
    thief, thiefs = settled_thief(app, member)
    thief.get(not_me(app, thiefs))
    thief.fill(button="not-me")
    assert thief.status == 303
    owner = Browser(app)
    owner.get(notice)
    owner.fill(button="not-me")
    assert owner.status == 303
    [user] = rows(app, "SELECT email FROM users WHERE sub = :sub", sub=member.sub)
    assert user.email == member.email


def test_where_the_old_address_has_another_account_now_the_stolen_one_is_closed(
    app: Flask, member: Person, notice: str, make_person: Callable[..., Person]
) -> None:
    thiefs = f"thief-{uuid.uuid4().hex[:8]}@people.test"
    change_email(app, member, thiefs)
    make_person(email=member.email)
    owner = Browser(app)
    owner.get(notice)
    owner.fill(button="not-me", follow=True)
    assert "write to us" in owner.text
    [user] = rows(app, "SELECT email, status FROM users WHERE sub = :sub", sub=member.sub)
    assert (user.email, user.status) == (thiefs, "disabled")
    assert not mails_to(app, thiefs, "account_secured")


def test_an_address_that_was_never_proven_gives_nobody_the_account_back(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    """Somebody mistyped their address, came in by a link that was handed over, and puts it right."""
    person = make_person()
    own = f"own-{uuid.uuid4().hex[:8]}@people.test"
    browser = sign_in(Browser(app), person)
    browser.fill("/account/password", old_password=person.password, new_password=NEW_PASSWORD)
    before = not_me(app, person.email)
    browser.fill("/account/email", button="change-email", email=own)
    browser.fill(link_in(mails_to(app, own, "confirm_new_email")[-1]), button="confirm-email")
    assert browser.status == 200
    assert not mails_to(app, person.email, "email_changed")
    assert Browser(app).get(before).status_code == 410
    assert is_signed_in(browser)


def test_an_erasure_that_waits_is_called_off_and_the_intruders_browser_is_a_strange_one(
    app: Flask, member: Person, notice: str
) -> None:
    execute(app, "UPDATE users SET erase_at = now() + interval '1 day' WHERE sub = :sub", sub=member.sub)
    known = "SELECT 1 FROM known_devices JOIN users u ON u.id = user_id WHERE sub = :sub"
    assert rows(app, known, sub=member.sub)
    owner = Browser(app)
    owner.get(notice)
    owner.fill(button="not-me")
    assert rows(app, "SELECT erase_at FROM users WHERE sub = :sub", sub=member.sub)[0].erase_at is None
    assert not rows(app, known, sub=member.sub)


def test_a_link_of_another_kind_is_no_notice(app: Flask, member: Person, notice: str) -> None:
    token = token_in(notice)
    for path in ("/password/set", "/password/reset"):
        assert Browser(app).get(f"{path}?token={token}").status_code == 410


def test_every_kind_of_security_mail_is_named_on_the_page() -> None:
    from services.account.flows.securing import KINDS
    from services.notification.letters import LETTERS
    from services.notification.letters.security import SecurityNotice

    notices = {name for name, letter in LETTERS.items() if issubclass(letter, SecurityNotice)}
    assert notices <= set(KINDS), (
        "say in one line what each notice tells of: services/account/flows/securing.py"
    )


def test_no_log_line_holds_the_token(
    app: Flask, member: Person, notice: str, log_text: Callable[[], str]
) -> None:
    browser = Browser(app)
    browser.get(notice)
    browser.fill(button="not-me")
    assert browser.status == 303
    text = log_text()
    assert "/account/not-me" in text
    for secret in (token_in(notice), member.email):
        assert secret not in text
