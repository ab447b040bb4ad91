"""Accounts elsewhere: signing in with one, linking, unlinking, and everything a provider or a stranger may do wrong."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
import redis
from flask import Flask
from joserfc.jwk import RSAKey

from libs.messaging.events import AccessRevoked, MailRequested, UserChanged
from libs.service import parts_of
from libs.settings import SettingsError
from services.account.flows.revoking import revoke_access
from services.account.settings import AccountSettings
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
from tests.account.linking_steps import NAMES, arrive, declare, depart, failures, link, link_two, sign_in_with
from tests.account.password_tools import add_totp, without_password
from tests.account.provider_server import CLIENT_ID, CLIENT_SECRET, Account, ProviderServer
from tests.conftest import recorded, run_command
from tests.pages import ORIGIN, Browser


def linked(app: Flask, person: Person) -> list[tuple[str, str, str]]:
    query = """SELECT provider, issuer, subject FROM linked_identities l JOIN users u ON u.id = l.user_id
               WHERE u.sub = :sub ORDER BY provider"""
    return [tuple(row) for row in rows(app, query, sub=person.sub)]


def mails_of(app: Flask, person: Person) -> list[MailRequested]:
    return [mail for mail in recorded(app, MailRequested) if mail.recipient == person.email]  # type: ignore[attr-defined]


def end_access(app: Flask, person: Person) -> None:
    with app.app_context():
        revoke_access(sub=person.sub, cause="sessions_revoked")


@pytest.fixture
def member(browser: Browser, person: Person, provider: ProviderServer) -> Browser:
    """A browser in which somebody has just signed in by password."""
    return sign_in(browser, person)


# -- linking and signing in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_linked_account_signs_its_owner_in(
    app: Flask, member: Browser, person: Person, provider: ProviderServer, name: str
) -> None:
    link(member, provider, name)
    assert member.location == "/account/links"
    assert linked(app, person)[0][:2] == (name, provider.url)
    assert "octocat" in member.get("/account/links").text

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
    app: Flask, member: Browser, provider: ProviderServer
) -> None:
    link(member, provider)
    other = Browser(app)
    sign_in_with(other, provider, path="/login?continue=/account/sessions?x=1")
    assert other.location == "/account/sessions?x=1"


def test_no_other_origin_is_where_it_lands(app: Flask, member: Browser, provider: ProviderServer) -> None:
    link(member, provider)
    other = Browser(app)
    other.get("/login")
    form, _ = other.find_form("with-github", {})
    other.post(form.action, {**dict(form.fields), "continue": "https://evil.test/"})
    arrive(other, provider.visit(other.location))
    assert other.location == "/account"


def test_the_second_factor_is_asked_all_the_same(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    link(member, provider)
    add_totp(app, person)
    other = Browser(app)
    sign_in_with(other, provider)
    assert other.location.startswith("/login/second-factor?")
    assert not cookie_of(other)
    assert not is_signed_in(other)


def test_linking_is_told_by_mail_and_kept_in_the_audit(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    link(member, provider)
    mail = mails_of(app, person)[-1]
    assert mail.template == "provider_linked"
    assert (mail.context["provider"], mail.context["account"]) == ("GitHub", "octocat")
    assert "/account/not-me?token=" in mail.context["not_me"]
    entries = json.loads(run_command(app, "audit", "list", "--target", f"user:{person.sub}", "--json").output)
    assert entries[0]["action"] == "identity.linked"
    assert entries[0]["actor"] == f"user:{person.sub}"

    member.fill("/account/links", button="unlink-github")
    assert mails_of(app, person)[-1].template == "provider_unlinked"
    entries = json.loads(run_command(app, "audit", "list", "--target", f"user:{person.sub}", "--json").output)
    assert entries[0]["action"] == "identity.unlinked"


def test_linking_the_same_account_twice_changes_nothing(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    link(member, provider)
    execute(app, "UPDATE provider_visits SET used_at = now()")
    member.get("/account/links")
    # The button is gone; the form can be sent all the same.
    token = dict(member.find_form("unlink-github", {})[0].fields)["csrf_token"]
    member.post("/link/github", {"csrf_token": token})
    arrive(member, provider.visit(member.location))
    assert member.location == "/account/links"
    assert "was linked already" in member.get("/account/links").text
    assert len(linked(app, person)) == 1
    provider.account = Account(provider.account.number + 1, name="another")
    member.post("/link/github", {"csrf_token": token})
    arrive(member, provider.visit(member.location))
    assert "Unlink that one first" in member.get("/account/links").text
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
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    link(member, provider)
    member.get("/account/links")
    execute(app, "UPDATE sign_in_sessions SET auth_time = now() - interval '6 minutes'")
    parts_of(app).redis.flushdb()
    for button in ("link-discord", "unlink-github"):
        member.fill("/account/links", button=button)
        assert member.status in (403, 303)
        assert "fresh_after=" in member.text + member.location
        # Sent again from there, the form may lead to the provider.
        assert "form-action" not in member.page.headers["Content-Security-Policy"]
    assert len(linked(app, person)) == 1


def test_pages_that_lead_to_a_provider_let_their_forms_go_there(app: Flask, member: Browser) -> None:
    for page in ("/login?another=yes", "/account/links"):
        assert "form-action" not in member.get(page).headers["Content-Security-Policy"]


def test_without_providers_no_page_speaks_of_them(app: Flask, browser: Browser, person: Person) -> None:
    assert "with-github" not in browser.get("/login").text
    assert "form-action 'self'" in browser.page.headers["Content-Security-Policy"]
    sign_in(browser, person)
    assert "/account/links" not in browser.get("/account").text
    assert browser.get("/account/links").status_code == 200
    assert Browser(app).get("/link/github/callback?state=x&code=y").status_code == 404


def test_a_provider_nobody_declared_does_not_exist(
    app: Flask, member: Browser, provider: ProviderServer
) -> None:
    form, _ = (member.get("/account/links"), member.find_form("link-github", {}))[1]
    assert member.post("/link/gitlab", dict(form.fields)).status_code == 404
    assert member.post("/login/with/gitlab", dict(form.fields)).status_code == 404


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
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    link(member, provider)
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
    app: Flask, member: Browser, person: Person, make_person: Callable[..., Person], provider: ProviderServer
) -> None:
    link(member, provider)
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
    app: Flask, member: Browser, provider: ProviderServer
) -> None:
    """GitHub's number 42 and another issuer's 42 are two people."""
    link(member, provider, "acme")
    execute(
        app,
        "UPDATE linked_identities SET issuer = 'https://elsewhere.test' WHERE issuer = :issuer",
        issuer=provider.url,
    )
    other = Browser(app)
    sign_in_with(other, provider, "acme")
    assert other.status == 403


def test_a_disabled_person_is_told_and_not_let_in(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    link(member, provider)
    run_command(app, "users", "disable", person.email)
    other = Browser(app)
    sign_in_with(other, provider)
    assert not is_signed_in(other)
    assert "This account is disabled" in other.get("/login").text
    assert failures(app)[0] == ("github", "disabled")


# -- one browser, once, within ten minutes ---------------------------------------------------------------------


def test_only_the_browser_that_began_can_come_back(
    app: Flask, member: Browser, provider: ProviderServer
) -> None:
    """Neither a victim's browser that is led to an attacker's answer, nor one that began a visit of its own."""
    link(member, provider)
    attacker, victim = Browser(app), Browser(app)
    back = provider.visit(depart(attacker))
    arrive(victim, back)
    assert victim.status == 409
    assert not is_signed_in(victim)
    depart(victim)
    arrive(victim, back)
    assert victim.status == 409
    assert not is_signed_in(victim)


def test_nobody_links_an_attackers_account_to_a_victim(
    app: Flask, member: Browser, person: Person, make_person: Callable[..., Person], provider: ProviderServer
) -> None:
    attacker = sign_in(Browser(app), make_person())
    attacker.fill("/account/links", button="link-github")
    arrive(member, provider.visit(attacker.location))
    assert member.status == 409
    assert not linked(app, person)


def test_a_visit_ends_once(app: Flask, member: Browser, provider: ProviderServer) -> None:
    link(member, provider)
    browser = Browser(app)
    back = provider.visit(depart(browser))
    cookies = {name: browser.cookie(name) for name in ("id_browser",)}
    arrive(browser, back)
    assert browser.location == "/account"
    again = Browser(app)
    again.set_cookie("id_browser", cookies["id_browser"] or "")
    arrive(again, back)
    assert again.status == 409
    assert not is_signed_in(again)


def test_two_answers_side_by_side_sign_in_once(app: Flask, member: Browser, provider: ProviderServer) -> None:
    link(member, provider)
    browser = Browser(app)
    back = provider.visit(depart(browser))
    twins = [Browser(app) for _ in range(4)]
    for twin in twins:
        twin.set_cookie("id_browser", browser.cookie("id_browser") or "")
    side_by_side(*(lambda twin=twin: arrive(twin, back) for twin in twins))
    assert sorted(twin.status for twin in twins) == [303, 409, 409, 409]


def test_after_ten_minutes_it_is_too_late(app: Flask, member: Browser, provider: ProviderServer) -> None:
    link(member, provider)
    browser = Browser(app)
    back = provider.visit(depart(browser))
    execute(app, "UPDATE provider_visits SET expires_at = expires_at - interval '10 minutes'")
    arrive(browser, back)
    assert browser.status == 409
    assert "Please begin again" in browser.text
    assert failures(app)[0] == ("github", "expired")


def test_a_wrong_state_ends_nothing_well(app: Flask, member: Browser, provider: ProviderServer) -> None:
    link(member, provider)
    for change in ({"state": "wrong"}, {"state": ""}, {"state": None}):
        browser = Browser(app)
        back = urlsplit(provider.visit(depart(browser)))
        values = {k: v for k, v in {**dict(parse_qsl(back.query)), **change}.items() if v is not None}
        arrive(browser, f"{back.path}?{urlencode(values)}")
        assert browser.status == 409
        assert not is_signed_in(browser)


def test_an_answer_of_one_provider_is_none_at_another(
    app: Flask, member: Browser, provider: ProviderServer
) -> None:
    link(member, provider)
    browser = Browser(app)
    back = provider.visit(depart(browser, "discord"))
    arrive(browser, back.replace("/link/discord/", "/link/github/"))
    assert browser.status == 409


def test_a_link_needs_the_session_that_began_it(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    member.fill("/account/links", button="link-github")
    back = provider.visit(member.location)
    end_access(app, person)
    arrive(member, back)
    assert member.status == 409
    assert not linked(app, person)


def test_a_session_that_ends_while_the_provider_is_asked_links_nothing(
    app: Flask, member: Browser, person: Person, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    member.fill("/account/links", button="link-github")
    back = provider.visit(member.location)
    asked = provider.api

    def api(path: str, token: str) -> Any:
        end_access(app, person)
        return asked(path, token)

    monkeypatch.setattr(provider, "api", api)
    arrive(member, back)
    assert member.status == 409
    assert not linked(app, person)


def test_the_visit_keeps_its_secrets_to_itself(
    app: Flask, browser: Browser, provider: ProviderServer
) -> None:
    query = parse_qs(urlsplit(depart(browser, "acme")).query)
    (row,) = rows(app, "SELECT * FROM provider_visits ORDER BY id DESC LIMIT 1")
    kept = json.dumps([str(value) for value in row])
    assert query["state"][0] not in kept and query["nonce"][0] not in kept
    assert query["redirect_uri"] == [f"{ORIGIN}/link/acme/callback"]
    assert len(query["state"][0]) >= 43 and len(query["nonce"][0]) >= 43


# -- what a provider may do ------------------------------------------------------------------------------------


def test_who_says_no_is_back_at_the_sign_in_page(
    app: Flask, browser: Browser, provider: ProviderServer
) -> None:
    provider.denies = True
    sign_in_with(browser, provider, path="/login?continue=/demo")
    assert browser.location == "/login?continue=%2Fdemo"
    assert "You cancelled it there" in browser.get(browser.location).text
    assert failures(app)[0] == ("github", "cancelled")


def test_who_says_no_to_linking_is_back_at_the_list(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    provider.denies = True
    link(member, provider)
    assert member.location == "/account/links"
    assert "You cancelled it there" in member.get("/account/links").text
    assert not linked(app, person)


@pytest.mark.parametrize(
    ("name", "failure"),
    [("github", failure) for failure in ("500", "404", "drop", "garbage", "redirect", "huge", "429")]
    + [("discord", "garbage"), ("acme", "500"), ("acme", "garbage"), ("acme", "deep")],
)
def test_a_provider_that_fails_leads_back_to_the_sign_in_page(
    app: Flask, browser: Browser, provider: ProviderServer, name: str, failure: str
) -> None:
    back = provider.visit(depart(browser, name, "/login?continue=/demo"))
    provider.failure = failure
    arrive(browser, back)
    assert browser.location == "/login?continue=%2Fdemo"
    browser.get(browser.location)
    assert "does not answer at the moment" in browser.text or "did not tell us who you are" in browser.text
    assert failures(app)[0] == (name, "provider_error")


def test_a_provider_that_hangs_takes_no_longer_than_its_time(
    app: Flask, browser: Browser, provider: ProviderServer
) -> None:
    declare(app, provider, PROVIDER_TIMEOUT_MS=200)
    back = provider.visit(depart(browser))
    provider.failure = "hang"
    arrive(browser, back)
    assert browser.location.startswith("/login")
    assert failures(app)[0] == ("github", "provider_error")


def test_an_issuer_that_cannot_be_discovered_leads_back(
    app: Flask, browser: Browser, provider: ProviderServer
) -> None:
    provider.failure = "500"
    browser.fill("/login", button="with-acme")
    assert browser.location == "/login?continue=%2Faccount"
    assert failures(app)[0] == ("acme", "provider_error")


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://another.test"},
        {"token_endpoint": "http://another.test/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://another.test/authorize"},
        {"jwks_uri": "file:///etc/passwd"},
        {"token_endpoint": None},
    ],
)
def test_a_discovery_document_that_cannot_be_right_is_not_used(
    app: Flask, browser: Browser, provider: ProviderServer, metadata: dict[str, Any]
) -> None:
    provider.metadata = metadata
    browser.fill("/login", button="with-acme")
    assert browser.location == "/login?continue=%2Faccount"
    assert failures(app)[0] == ("acme", "provider_error")


def test_an_endpoint_inside_our_own_network_is_not_called(
    app: Flask, member: Browser, provider: ProviderServer
) -> None:
    """The issuer names where its tokens are; only a host that settings name may be private."""
    for name, url in (
        ("token_endpoint", "https://localhost:1/token"),
        ("jwks_uri", "https://169.254.169.254/keys"),
    ):
        declare(app, provider)
        provider.metadata = {name: url}
        browser = Browser(app)
        sign_in_with(browser, provider, "acme")
        assert browser.location.startswith("/login")
        assert failures(app)[0] == ("acme", "provider_error")


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"}, {"nonce": None}, {"aud": "another"}, {"aud": None}, {"aud": [CLIENT_ID, "another"]},
        {"aud": [CLIENT_ID, "another"], "azp": "another"}, {"azp": "another"}, {"iss": "https://another.test"},
        {"iss": None}, {"exp": 1}, {"exp": None}, {"iat": None}, {"sub": None}, {"sub": ""}, {"sub": 42},
        {"sub": "x" * 300},
    ],
)  # fmt: skip
def test_an_id_token_that_is_not_for_this_visit_signs_nobody_in(
    app: Flask, member: Browser, provider: ProviderServer, claims: dict[str, Any]
) -> None:
    link(member, provider, "acme")
    provider.claims = claims
    browser = Browser(app)
    sign_in_with(browser, provider, "acme")
    assert not is_signed_in(browser)
    assert failures(app)[0] == ("acme", "provider_error")


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_an_id_token_under_no_key_of_the_issuer_signs_nobody_in(
    app: Flask, member: Browser, provider: ProviderServer, algorithm: str
) -> None:
    link(member, provider, "acme")
    provider.id_token_alg = algorithm
    browser = Browser(app)
    sign_in_with(browser, provider, "acme")
    assert not is_signed_in(browser)
    assert failures(app)[0] == ("acme", "provider_error")


def test_a_key_that_was_made_since_is_fetched_and_a_foreign_one_refused(
    app: Flask, member: Browser, provider: ProviderServer
) -> None:
    link(member, provider, "acme")
    old = provider.key
    try:
        provider.key = RSAKey.generate_key(2048, {"kid": "k2", "use": "sig"})
        browser = Browser(app)
        sign_in_with(browser, provider, "acme")
        assert is_signed_in(browser)
        for kid in ("k2", "k3"):
            provider.jwks = [provider.key.as_dict(private=False)]
            published, provider.key = provider.key, RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})
            thief = Browser(app)
            sign_in_with(thief, provider, "acme")
            assert not is_signed_in(thief)
            provider.key = published
    finally:
        provider.key = old


@pytest.mark.parametrize("iss", ["https://another.test", None])
def test_an_answer_of_another_issuer_is_refused(
    app: Flask, member: Browser, provider: ProviderServer, iss: str | None
) -> None:
    """RFC 9207, where the issuer says that it names itself; the code never leaves for a token endpoint."""
    link(member, provider, "acme")
    provider.answer_iss = iss
    browser = Browser(app)
    provider.requests.clear()
    sign_in_with(browser, provider, "acme")
    assert not is_signed_in(browser)
    assert "POST /token" not in provider.requests


def test_a_code_of_somebody_else_is_refused(app: Flask, member: Browser, provider: ProviderServer) -> None:
    """PKCE: a code that another visit was given does not go with this visit's verifier."""
    link(member, provider)
    thief, victim = Browser(app), Browser(app)
    stolen = dict(parse_qsl(urlsplit(provider.visit(depart(victim))).query))["code"]
    own = dict(parse_qsl(urlsplit(provider.visit(depart(thief))).query))
    arrive(thief, "/link/github/callback?" + urlencode({**own, "code": stolen}))
    assert not is_signed_in(thief)
    assert failures(app)[0] == ("github", "provider_error")


def test_an_address_that_the_app_may_not_see_is_not_needed(
    app: Flask, member: Browser, provider: ProviderServer
) -> None:
    provider.hides_addresses = True
    link(member, provider)
    other = Browser(app)
    sign_in_with(other, provider)
    assert is_signed_in(other)


@pytest.mark.parametrize("number", [0, -1, True, None, "7"])
def test_a_subject_that_is_none_signs_nobody_in(
    app: Flask, browser: Browser, provider: ProviderServer, number: Any
) -> None:
    provider.account = Account(number)
    sign_in_with(browser, provider)
    assert failures(app)[0] == ("github", "provider_error")


def test_what_the_provider_calls_itself_is_shown_as_text(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    provider.account.name = "<script>x</script>{{7*7}}\u202e\r\nBcc: a@b.test"
    link(member, provider)
    text = member.get("/account/links").text
    assert "<script>x" not in text and "&lt;script&gt;" in text and "{{7*7}}" in text
    query = "SELECT l.name FROM linked_identities l JOIN users u ON u.id = l.user_id WHERE sub = :sub"
    (row,) = rows(app, query, sub=person.sub)
    assert row.name.isprintable()


def test_tokens_and_codes_are_kept_nowhere(
    app: Flask, member: Browser, provider: ProviderServer, log_text: Callable[[], str]
) -> None:
    for name in NAMES:
        link(member, provider, name)
        sign_in_with(Browser(app), provider, name)
    provider.claims = {"nonce": "wrong"}
    sign_in_with(Browser(app), provider, "acme")
    marked = [*provider.issued, CLIENT_SECRET]
    assert len(marked) > 10
    log = log_text()
    assert not [secret for secret in marked if secret in log]
    tables = [row[0] for row in rows(app, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    everything = "".join(
        str(row) for table in tables for row in rows(app, f'SELECT t::text FROM "{table}" t')
    )
    assert not [secret for secret in marked if secret in everything]
    raw = redis.Redis.from_url(parts_of(app).settings.REDIS_URL)
    kept = b"".join(key + (raw.dump(key) or b"") for key in raw.scan_iter())
    assert kept
    assert not [secret for secret in marked if secret.encode() in kept]
    raw.close()


# -- unlinking -------------------------------------------------------------------------------------------------


def test_an_unlinked_account_signs_nobody_in_and_its_other_sessions_end(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    link(member, provider)
    came_in_with_it, by_password = Browser(app), sign_in(Browser(app), person)
    sign_in_with(came_in_with_it, provider)
    member.fill("/account/links", button="unlink-github")
    assert member.location == "/account/links"
    assert not linked(app, person)
    assert not is_signed_in(came_in_with_it)
    assert is_signed_in(member) and is_signed_in(by_password)
    assert recorded(app, AccessRevoked)[-1].cause == "session_ended"  # type: ignore[attr-defined]
    [row] = rows(app, "SELECT version FROM users WHERE sub = :sub", sub=person.sub)
    told = [event.version for event in recorded(app, UserChanged) if event.sub == person.sub]
    assert told[-1] == row.version, "the issuer hears of every version, and takes none over from a session"
    other = Browser(app)
    sign_in_with(other, provider)
    assert other.status == 403


def test_a_half_done_sign_in_ends_with_its_link(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    link(member, provider)
    add_totp(app, person)
    sign_in_with(Browser(app), provider)
    member.fill("/account/links", button="unlink-github")
    (attempt,) = rows(app, "SELECT finished_at FROM sign_in_attempts ORDER BY id DESC LIMIT 1")
    assert attempt.finished_at is not None


def test_the_last_way_in_cannot_be_removed(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    link(member, provider)
    without_password(app, person)
    member.fill("/account/links", button="unlink-github")
    assert member.status == 409
    assert "This is your only way to sign in" in member.text
    assert len(linked(app, person)) == 1


def test_of_two_last_ways_in_removed_at_once_one_stays(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    link_two(member, provider)
    without_password(app, person)
    forms = {}
    member.get("/account/links")
    for name in ("github", "discord"):
        forms[name] = {**dict(member.find_form(f"unlink-{name}", {})[0].fields), "unlink": name}
    twins = []
    for _ in forms:
        twin = Browser(app)
        for cookie in ("id_browser", "id_session"):
            twin.set_cookie(cookie, member.cookie(cookie) or "")
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
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    link_two(member, provider)
    without_password(app, person)
    declare(app, provider, DISCORD_CLIENT_ID="", DISCORD_CLIENT_SECRET="")
    text = member.get("/account/links").text
    assert "switched off here" in text
    member.fill("/account/links", button="unlink-github")
    assert member.status == 409
    member.fill("/account/links", button="unlink-discord")
    assert member.status == 303
    assert [name for name, _, _ in linked(app, person)] == ["github"]


def test_what_is_not_linked_cannot_be_unlinked(app: Flask, member: Browser, provider: ProviderServer) -> None:
    member.get("/account/links")
    form, _ = member.find_form("link-github", {})
    for name in ("github", "", "nobody"):
        assert member.post("/account/links", {**dict(form.fields), "unlink": name}).status_code == 404


def test_nothing_of_a_link_survives_when_the_account_is_taken_over(
    app: Flask, member: Browser, person: Person, provider: ProviderServer
) -> None:
    """What the flow calls that gives an account to whoever proves its address."""
    from services.account.extensions import db
    from services.account.flows.linking import forget_links
    from services.account.flows.users import lock_user

    link_two(member, provider)
    member.fill("/account/links", button="link-acme")
    back = provider.visit(member.location)
    with app.app_context(), db.transaction() as session:
        assert forget_links(session, lock_user(session, sub=person.sub)) == 2
    assert not linked(app, person)
    arrive(member, back)
    assert member.status == 409
    assert not linked(app, person)
    other = Browser(app)
    sign_in_with(other, provider)
    assert other.status == 403


def test_a_sign_in_that_is_under_way_while_its_link_goes_signs_nobody_in(
    app: Flask, member: Browser, person: Person, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.account.extensions import db
    from services.account.flows import login
    from services.account.flows.linking import forget_links
    from services.account.flows.users import lock_user

    link(member, provider)
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


# -- settings --------------------------------------------------------------------------------------------------

ISSUER = {
    "name": "acme",
    "label": "Acme",
    "discovery_url": "https://acme.test/.well-known/openid-configuration",
    "client_id": "x",
    "client_secret": "marked-secret",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_CLIENT_ID", "only-the-id"),
        ("DISCORD_CLIENT_SECRET", "only-the-secret"),
        ("GITHUB_API_URL", "http://api.github.com"),
        ("GITHUB_TOKEN_URL", "https://user:word@github.com/token"),
        ("DISCORD_API_URL", "https://discord.com/api/"),
        ("OPENID_PROVIDERS", "not JSON"),
        ("OPENID_PROVIDERS", '{"name": "acme"}'),
        ("OPENID_PROVIDERS", "[1]"),
        ("OPENID_PROVIDERS", json.dumps([{**ISSUER, "colour": "red"}])),
        ("OPENID_PROVIDERS", json.dumps([{**ISSUER, "client_secret": ""}])),
        ("OPENID_PROVIDERS", json.dumps([{**ISSUER, "client_id": 7}])),
        ("OPENID_PROVIDERS", json.dumps([{**ISSUER, "name": "Acme Inc"}])),
        ("OPENID_PROVIDERS", json.dumps([{**ISSUER, "name": "github"}])),
        ("OPENID_PROVIDERS", json.dumps([ISSUER, ISSUER])),
        ("OPENID_PROVIDERS", json.dumps([{**ISSUER, "discovery_url": "https://acme.test"}])),
        (
            "OPENID_PROVIDERS",
            json.dumps([{**ISSUER, "discovery_url": ISSUER["discovery_url"].replace("s:", ":")}]),
        ),
        ("PROVIDER_TIMEOUT_MS", "5"),
    ],
)
def test_a_provider_that_cannot_be_right_stops_the_start(
    environment: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=name.split("_")[0]) as refused:
        AccountSettings.load({**environment, name: value})
    assert "marked-secret" not in str(refused.value)


def test_a_third_provider_is_one_declaration(environment: dict[str, str]) -> None:
    settings = AccountSettings.load({**environment, "OPENID_PROVIDERS": json.dumps([ISSUER])})
    assert [issuer.name for issuer in settings.openid_issuers] == ["acme"]
    assert "marked-secret" not in repr(settings) + repr(settings.openid_issuers)
