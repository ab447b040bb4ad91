"""Accounts elsewhere: signing in with one, linking it, and that an address never says who somebody is."""

import json
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from flask import Flask

from libs.service import parts_of
from tests.account.conftest import (
    Person,
    cookie_of,
    copy_of,
    execute,
    is_signed_in,
    rows,
    side_by_side,
    sign_in,
)
from tests.account.linking_steps import NAMES, arrive, failures, link, linked, mails_of, sign_in_with
from tests.account.password_tools import add_totp
from tests.account.provider_server import Account, ProviderServer
from tests.conftest import run_command
from tests.pages import Browser

# -- linking and signing in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_linked_account_signs_its_owner_in(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer, name: str
) -> None:
    link(linker, provider, name)
    assert linker.location == "/account/links"
    assert linked(app, person)[0][:2] == (name, provider.url)
    assert "octocat" in linker.get("/account/links").text

    other = Browser(app)
    sign_in_with(other, provider, name)
    assert other.status == 303 and other.location == "/account"
    session = copy_of(app, other)
    assert session is not None
    assert (session.sub, session.amr, session.acr) == (person.sub, ["fed"], "1")
    (event,) = rows(app, "SELECT method, success FROM login_events WHERE sid = :sid", sid=session.sid)
    assert tuple(event) == (name, True)
    assert name.capitalize().replace("Github", "GitHub") in other.get("/account/sessions").text
    query = "SELECT last_used_at FROM linked_identities l JOIN users u ON u.id = l.user_id WHERE sub = :sub"
    (used,) = rows(app, query, sub=person.sub)
    assert used[0] is not None


def test_the_browser_lands_where_it_wanted_to_go(
    app: Flask, linker: Browser, provider: ProviderServer
) -> None:
    link(linker, provider)
    other = Browser(app)
    sign_in_with(other, provider, path="/login?continue=/account/sessions?x=1")
    assert other.location == "/account/sessions?x=1"


def test_no_other_origin_is_where_it_lands(app: Flask, linker: Browser, provider: ProviderServer) -> None:
    link(linker, provider)
    other = Browser(app)
    other.get("/login")
    form, _ = other.find_form("with-github", {})
    other.post(form.action, {**dict(form.fields), "continue": "https://evil.test/"})
    arrive(other, provider.visit(other.location))
    assert other.location == "/account"


def test_the_second_factor_is_asked_all_the_same(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    link(linker, provider)
    add_totp(app, person)
    other = Browser(app)
    sign_in_with(other, provider)
    assert other.location.startswith("/login/second-factor?")
    assert not cookie_of(other)
    assert not is_signed_in(other)


def test_linking_is_told_by_mail_and_kept_in_the_audit(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    link(linker, provider)
    mail = mails_of(app, person)[-1]
    assert mail.template == "provider_linked"
    assert (mail.context["provider"], mail.context["account"]) == ("GitHub", "octocat")
    assert "/account/not-me?token=" in mail.context["not_me"]
    entries = json.loads(run_command(app, "audit", "list", "--target", f"user:{person.sub}", "--json").output)
    assert entries[0]["action"] == "identity.linked"
    assert entries[0]["actor"] == f"user:{person.sub}"

    linker.fill("/account/links", button="unlink-github")
    assert mails_of(app, person)[-1].template == "provider_unlinked"
    entries = json.loads(run_command(app, "audit", "list", "--target", f"user:{person.sub}", "--json").output)
    assert entries[0]["action"] == "identity.unlinked"


def test_linking_the_same_account_twice_changes_nothing(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    link(linker, provider)
    execute(app, "UPDATE provider_visits SET used_at = now()")
    linker.get("/account/links")
    # The button is gone; the form can be sent all the same.
    token = dict(linker.find_form("unlink-github", {})[0].fields)["csrf_token"]
    linker.post("/link/github", {"csrf_token": token})
    arrive(linker, provider.visit(linker.location))
    assert linker.location == "/account/links"
    assert "was linked already" in linker.get("/account/links").text
    assert len(linked(app, person)) == 1
    provider.account = Account(provider.account.number + 1, name="another")
    linker.post("/link/github", {"csrf_token": token})
    arrive(linker, provider.visit(linker.location))
    assert "Unlink that one first" in linker.get("/account/links").text
    assert len(linked(app, person)) == 1


def test_linking_needs_somebody_signed_in_and_a_form_of_ours(app: Flask, provider: ProviderServer) -> None:
    stranger = Browser(app)
    assert stranger.get("/link/github").location == "/login?continue=%2Flink%2Fgithub"
    assert stranger.post("/link/github", {}).status_code in (400, 403)
    assert stranger.post("/login/with/github", {}).status_code in (400, 403)
    assert not rows(
        app,
        "SELECT 1 FROM provider_visits WHERE used_at IS NULL AND created_at > now() - interval '1 second'",
    )


def test_linking_and_unlinking_need_a_fresh_sign_in(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    link(linker, provider)
    linker.get("/account/links")
    execute(app, "UPDATE sign_in_sessions SET auth_time = now() - interval '6 minutes'")
    parts_of(app).redis.flushdb()
    for button in ("link-discord", "unlink-github"):
        linker.fill("/account/links", button=button)
        assert linker.status in (403, 303)
        assert "fresh_after=" in linker.text + linker.location
        # Sent again from there, the form may lead to the provider.
        assert "form-action" not in linker.page.headers["Content-Security-Policy"]
    assert len(linked(app, person)) == 1


def test_pages_that_lead_to_a_provider_let_their_forms_go_there(app: Flask, linker: Browser) -> None:
    for page in ("/login?another=yes", "/account/links"):
        assert "form-action" not in linker.get(page).headers["Content-Security-Policy"]


def test_without_providers_no_page_speaks_of_them(app: Flask, browser: Browser, person: Person) -> None:
    assert "with-github" not in browser.get("/login").text
    assert "form-action 'self'" in browser.page.headers["Content-Security-Policy"]
    sign_in(browser, person)
    assert "/account/links" not in browser.get("/account").text
    assert browser.get("/account/links").status_code == 200
    assert Browser(app).get("/link/github/callback?state=x&code=y").status_code == 404


def test_a_provider_nobody_declared_does_not_exist(
    app: Flask, linker: Browser, provider: ProviderServer
) -> None:
    form, _ = (linker.get("/account/links"), linker.find_form("link-github", {}))[1]
    assert linker.post("/link/gitlab", dict(form.fields)).status_code == 404
    assert linker.post("/login/with/gitlab", dict(form.fields)).status_code == 404


# -- identity is never an address ------------------------------------------------------------------------------


@pytest.mark.parametrize("is_verified", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_an_address_links_nothing_and_signs_nobody_in(
    app: Flask, person: Person, provider: ProviderServer, name: str, is_verified: bool
) -> None:
    provider.account.email, provider.account.is_verified = person.email, is_verified
    count = rows(app, "SELECT count(*) FROM users")
    stranger = Browser(app)
    sign_in_with(stranger, provider, name)
    assert stranger.status == 403
    assert "Nobody here has linked this account yet" in stranger.text
    # A verified address fills in the form that follows; another is not shown.
    assert (urlencode({"login_hint": person.email}) in stranger.text) == is_verified
    assert not is_signed_in(stranger)
    assert not linked(app, person)
    assert rows(app, "SELECT count(*) FROM users") == count
    assert failures(app)[0] == (name, "unknown_account")


def test_the_page_of_a_stranger_leads_to_signing_in_and_to_applying(
    app: Flask, person: Person, provider: ProviderServer
) -> None:
    browser = Browser(app)
    sign_in_with(browser, provider, path="/login?continue=/demo")
    assert 'href="/apply?continue=%2Fdemo"' in browser.text or 'href="/apply?continue=/demo"' in browser.text
    sign_in(browser, person, "/login?continue=/account/links")
    assert browser.location == "/account/links"
    link(browser, provider)
    other = Browser(app)
    sign_in_with(other, provider)
    assert is_signed_in(other)


def test_the_page_of_a_stranger_keeps_nothing_of_the_answer_in_its_address(
    app: Flask, browser: Browser, provider: ProviderServer
) -> None:
    sign_in_with(browser, provider)
    assert browser.status == 403
    assert "code=" not in browser.url and "state=" not in browser.url
    russian = browser.get(browser.url + "&language=ru")
    assert russian.status_code == 403
    assert "Войти другим способом" in browser.text
    assert browser.get("/link/nobody/not-linked").status_code == 404
    assert browser.get("/link/github/anything").status_code == 404


def test_a_renamed_account_is_the_same_and_its_old_name_nobodys(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    link(linker, provider)
    owner, name = provider.account, provider.account.name
    provider.account = Account(owner.number + 7, name=name, email=owner.email)
    thief = Browser(app)
    sign_in_with(thief, provider)
    assert thief.status == 403
    provider.account = Account(owner.number, name="renamed")
    other = Browser(app)
    sign_in_with(other, provider)
    assert is_signed_in(other)
    assert "renamed" in other.get("/account/links").text


def test_an_account_linked_to_somebody_else_is_refused_without_a_name(
    app: Flask, linker: Browser, person: Person, make_person: Callable[..., Person], provider: ProviderServer
) -> None:
    link(linker, provider)
    second_person = make_person(name="Second Person")
    second = sign_in(Browser(app), second_person)
    link(second, provider)
    assert second.status == 409
    assert "linked to another person" in second.text
    assert person.email not in second.text and "Ann Lee" not in second.text
    assert not linked(app, second_person)


def test_two_people_who_link_one_account_at_once(
    app: Flask, make_person: Callable[..., Person], provider: ProviderServer
) -> None:
    people = [make_person() for _ in range(2)]
    browsers = [sign_in(Browser(app), someone) for someone in people]
    backs = []
    for browser in browsers:
        browser.fill("/account/links", button="link-github")
        backs.append(provider.visit(browser.location))
    side_by_side(*(lambda b=b, back=back: arrive(b, back) for b, back in zip(browsers, backs, strict=True)))
    assert sorted(browser.status for browser in browsers) == [303, 409]
    assert sum(len(linked(app, someone)) for someone in people) == 1


def test_issuers_are_apart_though_their_subjects_are_alike(
    app: Flask, linker: Browser, provider: ProviderServer
) -> None:
    """GitHub's number 42 and another issuer's 42 are two people."""
    link(linker, provider, "acme")
    execute(
        app,
        "UPDATE linked_identities SET issuer = 'https://elsewhere.test' WHERE issuer = :issuer",
        issuer=provider.url,
    )
    other = Browser(app)
    sign_in_with(other, provider, "acme")
    assert other.status == 403


def test_a_disabled_person_is_told_and_not_let_in(
    app: Flask, linker: Browser, person: Person, provider: ProviderServer
) -> None:
    link(linker, provider)
    run_command(app, "users", "disable", person.email)
    other = Browser(app)
    sign_in_with(other, provider)
    assert not is_signed_in(other)
    assert "This account is disabled" in other.get("/login").text
    assert failures(app)[0] == ("github", "disabled")
