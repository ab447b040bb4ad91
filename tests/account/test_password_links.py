"""People activated by staff: the event opens the account, a mailed link sets the password."""

import uuid
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask

from libs.guard import single_use
from libs.messaging.events import (
    AccountOpened,
    ApplicantActivated,
    SignInThreatened,
    UserChanged,
)
from tests.account.conftest import (
    PASSWORD,
    Person,
    copy_of,
    execute,
    is_signed_in,
    link_in,
    mails_to,
    rows,
    side_by_side,
    sign_in,
)
from tests.conftest import receive, recorded
from tests.pages import Browser, token_of


def activated(**values: object) -> ApplicantActivated:
    return ApplicantActivated(
        **{
            "application_id": str(uuid.uuid4()),
            "email": f"dina-{uuid.uuid4().hex[:10]}@people.test",
            "name": "Dina Direct",
            "locale": "ru",
            "roles": [],
            "reason": "met in person",
            **values,
        }
    )


@pytest.fixture
def event(app: Flask) -> ApplicantActivated:
    event = activated()
    assert receive(app, event, "onboarding") == "handled"
    return event


@pytest.fixture
def link(app: Flask, event: ApplicantActivated) -> str:
    [mail] = mails_to(app, event.email)
    return link_in(mail)


def expire(app: Flask, link: str) -> None:
    digest = single_use.digest(parse_qs(urlsplit(link).query)["token"][0])
    execute(
        app,
        "UPDATE password_links SET expires_at = now() - interval '1 second' WHERE token_digest = :digest",
        digest=digest,
    )


def test_an_activated_applicant_gets_an_account_and_a_mail(app: Flask, event: ApplicantActivated) -> None:
    [opened] = [e for e in recorded(app, AccountOpened) if e.application_id == event.application_id]
    [changed] = [e for e in recorded(app, UserChanged) if e.sub == opened.sub]
    assert changed.claims["email_verified"] is False
    assert changed.locale == "ru"
    [mail] = mails_to(app, event.email)
    assert (mail.template, mail.locale) == ("set_password", "ru")
    assert mail.context["name"] == "Dina Direct"
    assert mail.context["link"].startswith("http://localhost:8000/password/set?token=")
    assert mail.deduplication_key.startswith("set_password:")
    assert mail.expires_at is not None
    token = parse_qs(urlsplit(mail.context["link"]).query)["token"][0]
    for table in ("password_links", "outbox_events", "audit_entries"):
        assert not rows(app, f"SELECT 1 FROM {table} t WHERE t::text LIKE :token", token=f"%{token}%")


def test_before_the_password_nobody_can_sign_in(app: Flask, event: ApplicantActivated) -> None:
    browser = Browser(app)
    browser.fill("/login", email=event.email, password=PASSWORD)
    assert browser.status == 422
    assert "is not right" in browser.text


def test_looking_at_the_link_spends_nothing_and_using_it_signs_in(
    app: Flask, browser: Browser, event: ApplicantActivated, link: str
) -> None:
    for _ in range(3):
        scanner = Browser(app)
        scanner.get(link)
        assert scanner.status == 200
        assert scanner.page.headers["Referrer-Policy"] == "no-referrer"
        assert scanner.page.headers["Cache-Control"] == "no-store"
    browser.fill(link, password=PASSWORD)
    assert (browser.status, browser.location) == (303, "/account")
    assert is_signed_in(browser)
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.claims["email_verified"] is True
    versions = [e.version for e in recorded(app, UserChanged) if e.sub == shared.sub]
    assert versions == [1, 2]
    sign_in(Browser(app), Person(sub=shared.sub, email=event.email))


def test_a_refused_password_leaves_the_link_good(browser: Browser, link: str) -> None:
    browser.fill(link, password="short")
    assert browser.status == 422
    assert "at least 15" in browser.text or "не меньше 15" in browser.text
    browser.fill(password=PASSWORD)
    assert browser.status == 303


def test_used_links_are_refused(app: Flask, browser: Browser, link: str) -> None:
    browser.fill(link, password=PASSWORD)
    late = Browser(app)
    late.get(link)
    assert late.status == 410
    assert "does not work any more" in late.text


def test_the_link_used_many_times_at_once_sets_one_password(app: Flask, link: str) -> None:
    browsers = [Browser(app) for _ in range(4)]
    for browser in browsers:
        browser.get(link)
    passwords = [f"green kettle on windowsill {word}" for word in ("one", "two", "red", "sea")]
    side_by_side(*(lambda b=b, p=p: b.fill(password=p) for b, p in zip(browsers, passwords, strict=True)))
    assert sorted(browser.status for browser in browsers) == [303, 410, 410, 410]
    assert sum(is_signed_in(browser) for browser in browsers) == 1


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "%00", "\ud83d"])
def test_unknown_and_mangled_tokens_get_a_page_that_helps(browser: Browser, token: str) -> None:
    browser.get("/password/set", query_string={"token": token.encode("utf-8", "surrogatepass")})
    assert browser.status == 410
    browser.get("/password/set")
    assert browser.status == 410


def test_an_expired_link_is_refused_and_offers_a_fresh_mail(
    app: Flask, browser: Browser, event: ApplicantActivated, link: str
) -> None:
    browser.get(link)
    expire(app, link)
    browser.fill(password=PASSWORD)
    assert browser.status == 410
    assert "has expired" in browser.text
    browser.fill(button="fresh-link")
    assert browser.status == 200
    assert "on its way" in browser.text
    old, fresh = mails_to(app, event.email)
    assert old.deduplication_key != fresh.deduplication_key
    again = Browser(app)
    again.get(link)
    assert again.status == 410
    assert "fresh-link" not in again.text
    browser.fill(link_in(fresh), password=PASSWORD)
    assert browser.status == 303


def test_asking_for_a_fresh_link_many_times_at_once_mails_one(
    app: Flask, event: ApplicantActivated, link: str
) -> None:
    expire(app, link)
    browsers = [Browser(app) for _ in range(4)]
    for browser in browsers:
        browser.get(link)
    side_by_side(*[lambda one=browser: one.fill(button="fresh-link") for browser in browsers])
    assert sorted(browser.status for browser in browsers) == [200, 410, 410, 410]
    assert len(mails_to(app, event.email)) == 2


def test_a_good_or_unknown_link_brings_no_further_mail(
    app: Flask, browser: Browser, event: ApplicantActivated, link: str
) -> None:
    browser.get(link)
    token = token_of(browser)
    browser.post(link, {"csrf_token": token, "fresh": "yes"})
    browser.post("/password/set?token=unknown", {"csrf_token": token, "fresh": "yes"})
    assert browser.status == 410
    assert len(mails_to(app, event.email)) == 1


def test_the_same_event_twice_is_one_account_and_one_mail(app: Flask) -> None:
    from libs.service import parts_of
    from tests.conftest import envelope_of

    event = activated()
    envelope = envelope_of(app, event, "onboarding")

    def deliver() -> str:
        with app.app_context():
            return parts_of(app).inbox.receive(envelope)

    assert side_by_side(*[deliver] * 4) == ["handled"] * 4
    assert len(mails_to(app, event.email)) == 1
    assert len(rows(app, "SELECT 1 FROM users WHERE application_id = :id", id=event.application_id)) == 1


def test_activating_again_mails_a_newer_link_and_ends_the_older(
    app: Flask, browser: Browser, event: ApplicantActivated, link: str
) -> None:
    receive(app, event, "onboarding")
    mails = mails_to(app, event.email)
    assert len(mails) == 2
    browser.get(link)
    assert browser.status == 410
    browser.fill(link_in(mails[1]), password=PASSWORD)
    assert browser.status == 303
    receive(app, event, "onboarding")
    assert len(mails_to(app, event.email)) == 2


def test_an_address_that_has_an_account_keeps_it_as_it_is(app: Flask, person: Person) -> None:
    event = activated(email=person.email.upper(), roles=["admin"])
    assert receive(app, event, "onboarding") == "handled"
    assert not mails_to(app, person.email)
    [opened] = [e for e in recorded(app, AccountOpened) if e.application_id == event.application_id]
    assert opened.sub == person.sub
    assert rows(app, "SELECT roles FROM users WHERE sub = :sub", sub=person.sub)[0].roles == []


def test_a_threatened_person_is_told_by_mail_once_an_hour(app: Flask, person: Person) -> None:
    for _ in range(2):
        threat = SignInThreatened(sub=person.sub, cause="refresh_token_theft")
        assert receive(app, threat, "oidc") == "handled"
    mails = mails_to(app, person.email)
    assert {mail.template for mail in mails} == {"sign_in_threatened"}
    assert len(mails) == 1
    assert "/account/not-me?token=" in mails[0].context["not_me"]
    assert receive(app, SignInThreatened(sub=str(uuid.uuid4()), cause="x"), "oidc") == "handled"


def test_no_log_line_holds_the_token_or_the_password(
    app: Flask, event: ApplicantActivated, link: str, log_text: Callable[[], str]
) -> None:
    browser = Browser(app)
    browser.fill(link, password=PASSWORD)
    assert browser.status == 303
    token = parse_qs(urlsplit(link).query)["token"][0]
    text = log_text()
    assert "/password/set" in text
    for secret in (token, PASSWORD, event.email, browser.cookie("id_session") or "none"):
        assert secret not in text
