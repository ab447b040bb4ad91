"""Revoking: each cause ends grants as far as the design's table says, in whatever order events come."""

import threading
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.messaging.events import AccessRevoked, UserChanged
from libs.people.denials import deny
from libs.people.sessions import Session
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.models import Consent
from tests.conftest import receive, run_command, sign_in_copy
from tests.oidc.relying_party import RelyingParty, error_of
from tests.pages import Browser

BOUND, OFFLINE = "openid email", "openid email offline_access"


def lives(client: RelyingParty, tokens: dict[str, Any]) -> bool:
    """Whether a grant still works; both of its tokens must agree."""
    access = client.userinfo(tokens["access_token"]).status_code == 200
    assert client.introspect(tokens["access_token"])["active"] is access
    assert client.introspect(tokens["refresh_token"])["active"] is access
    return access


def revoked(
    person: Session, *, cause: str, sids: list[str] | None, not_before: int | None = None
) -> AccessRevoked:
    return AccessRevoked(
        sub=person.sub,
        sids=sids,
        cause=cause,
        not_before=int(time.time()) if not_before is None else not_before,
    )


@pytest.mark.parametrize("cause", ["sign_out", "session_ended"])
def test_the_end_of_a_session_ends_what_is_bound_to_it(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, cause: str
) -> None:
    bound, offline = client.tokens(browser, scope=BOUND), client.tokens(browser, scope=OFFLINE)
    second = Browser(app)
    sign_in_copy(second, app, sub=person.sub)
    elsewhere = client.tokens(second, scope=BOUND)
    assert receive(app, revoked(person, cause=cause, sids=[person.sid]), "account") == "handled"
    assert not lives(client, bound)
    assert lives(client, offline)
    assert lives(client, elsewhere)
    assert error_of(client.refresh(bound["refresh_token"])) == (400, "invalid_grant")
    assert client.refresh(offline["refresh_token"]).status_code == 200


@pytest.mark.parametrize(
    "cause", ["sessions_revoked", "disabled", "password_changed", "taken_over", "erased"]
)
def test_everything_ends_with_the_person_s_access(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, cause: str
) -> None:
    bound, offline = client.tokens(browser, scope=BOUND), client.tokens(browser, scope=OFFLINE)
    stranger = Browser(app)
    sign_in_copy(stranger, app)
    others = client.tokens(stranger, scope=BOUND)
    receive(app, revoked(person, cause=cause, sids=None), "account")
    assert not lives(client, bound)
    assert not lives(client, offline)
    assert lives(client, others)


def test_what_somebody_else_allowed_apps_is_asked_anew_once_the_account_is_taken_back(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.tokens(browser, scope=BOUND)
    assert consents(app, person) == 1
    receive(app, revoked(person, cause="password_changed", sids=None), "account")
    assert consents(app, person) == 1
    receive(app, revoked(person, cause="taken_over", sids=None, not_before=int(time.time()) - 60), "account")
    assert consents(app, person) == 1, "what was allowed since then stays"
    receive(app, revoked(person, cause="taken_over", sids=None), "account")
    assert consents(app, person) == 0


def consents(app: Flask, person: Session) -> int:
    with app.app_context():
        query = sa.select(sa.func.count()).where(Consent.sub == person.sub)
        return int(db.session.scalar(query) or 0)


def test_a_changed_password_spares_the_session_it_was_changed_in(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    kept = client.tokens(browser, scope=BOUND)
    second = Browser(app)
    other = sign_in_copy(second, app, sub=person.sub)
    ended, offline = client.tokens(second, scope=BOUND), client.tokens(browser, scope=OFFLINE)
    receive(app, revoked(person, cause="password_changed", sids=[other.sid]), "account")
    assert lives(client, kept)
    assert not lives(client, ended)
    assert not lives(client, offline)


def test_an_event_that_arrives_late_ends_nothing_newer(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    tokens = client.tokens(browser)
    late = revoked(person, cause="sessions_revoked", sids=None, not_before=int(time.time()) - 60)
    receive(app, late, "account")
    assert lives(client, tokens)


def test_a_code_that_waits_is_ended_too(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    code = client.code(browser)
    receive(app, revoked(person, cause="sign_out", sids=[person.sid]), "account")
    assert error_of(client.redeem(code)) == (400, "invalid_grant")


@pytest.mark.parametrize("scope", [BOUND, OFFLINE])
def test_no_code_comes_of_a_sign_in_that_ended_since_it_was_read(
    app: Flask, browser: Browser, client: RelyingParty, scope: str
) -> None:
    now = int(time.time())
    person = sign_in_copy(browser, app, auth_time=now - 60)
    receive(app, revoked(person, cause="sessions_revoked", sids=None, not_before=now - 30), "account")
    receive(app, revoked(person, cause="sessions_revoked", sids=None, not_before=now - 90), "account")
    client.ask(browser, scope=scope)
    browser.fill(button="allow")
    browser.get(browser.location)
    assert urlsplit(browser.location).path == "/login", "its copy is not deleted yet, and yet it is over"
    assert browser.query()["fresh_after"] == str(now - 30)
    silent = client.answer(browser, scope=scope, prompt="none")
    assert (silent["error"], silent["iss"]) == ("login_required", parts_of(app).settings.PUBLIC_URL)
    sign_in_copy(browser, app, sub=person.sub, auth_time=now - 30)
    assert lives(client, client.tokens(browser, scope=scope)), "a new one goes on, in that very second too"


def test_a_code_being_issued_and_the_end_of_all_access_wait_for_each_other(
    app: Flask, browser: Browser, client: RelyingParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.oidc.protocol.authorization import codes

    now = int(time.time())
    person = sign_in_copy(browser, app, auth_time=now - 60)
    event = revoked(person, cause="sessions_revoked", sids=None, not_before=now - 30)
    ends = threading.Thread(target=receive, args=(app, event, "account"))
    check = codes.access_revoked_before

    def slow_check(sub: str) -> int:
        found = check(sub)
        ends.start()
        ends.join(timeout=0.5)
        assert ends.is_alive(), "it waits until the grant is stored"
        return found

    monkeypatch.setattr(codes, "access_revoked_before", slow_check)
    code = client.code(browser)
    ends.join(timeout=10)
    assert not ends.is_alive()
    assert error_of(client.redeem(code)) == (400, "invalid_grant")


def test_a_denial_works_before_the_event_arrives(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    bound, offline = client.tokens(browser, scope=BOUND), client.tokens(browser, scope=OFFLINE)
    deny(parts_of(app).redis, parts_of(app).settings, sids=[person.sid])
    assert not lives(client, bound)
    assert error_of(client.refresh(bound["refresh_token"])) == (400, "invalid_grant")
    assert lives(client, offline), "a session's denial passes over what outlives sessions"
    deny(parts_of(app).redis, parts_of(app).settings, subs=[person.sub])
    assert not lives(client, offline)


def test_the_copy_of_a_person_only_grows_newer(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    def changed(version: int, name: str, status: str = "active") -> UserChanged:
        return UserChanged(
            sub=person.sub, version=version, status=status, roles=[], claims={"name": name}, locale="en"
        )

    token = client.tokens(browser)["access_token"]
    for event in (changed(4, "Newest"), changed(3, "Older"), changed(2, "Gone", "disabled")):
        assert receive(app, event, "account") == "handled"
    assert client.userinfo(token).json["name"] == "Newest"
    receive(app, changed(5, "Newest", "disabled"), "account")
    assert client.userinfo(token).status_code == 401


def test_the_end_of_access_and_a_change_of_its_client_do_not_wait_for_each_other(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    """Each would have what the other one needs next: PostgreSQL would end one of them."""
    from services.oidc.flows.clients.finding import lock_client

    tokens = client.tokens(browser)
    event = revoked(person, cause="password_changed", sids=None)
    ending = threading.Thread(target=receive, args=(app, event), kwargs={"producer": "account"}, daemon=True)
    with app.app_context(), parts_of(app).db.transaction() as session:
        lock_client(session, client.client_id)
        ending.start()
        ending.join(timeout=3)
        assert not ending.is_alive()
    assert not lives(client, tokens)


def test_a_redis_that_lost_everything_revives_nothing(
    app: Flask, browser: Browser, person: Session, make_client: Any
) -> None:
    """The denials are gone with it; the rows are not."""
    ended = make_client(), make_client(access_token_format="opaque"), make_client()
    tokens = [client.tokens(browser) for client in ended]
    waiting = ended[2].code(browser)
    receive(app, revoked(person, cause="secured", sids=None), "account")
    deny(parts_of(app).redis, parts_of(app).settings, subs=[person.sub])
    parts_of(app).redis.flushall()
    for client, issued in zip(ended, tokens, strict=True):
        assert not lives(client, issued)
        assert error_of(client.refresh(issued["refresh_token"])) == (400, "invalid_grant")
    assert error_of(ended[2].redeem(waiting)) == (400, "invalid_grant")


def test_staff_end_a_persons_tokens_by_command(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    tokens = client.tokens(browser, scope=OFFLINE)
    result = run_command(app, "tokens", "revoke", "--user", person.claims["email"].upper())
    assert result.exit_code == 0, result.output
    assert "1 grant(s)" in result.output
    assert not lives(client, tokens)
    assert error_of(client.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    entries = run_command(app, "audit", "list", "--target", f"user:{person.sub}").output
    assert "tokens.revoked" in entries
    for address in ("nobody@people.test", "a\x00b@people.test", "x" * 9000):
        unknown = run_command(app, "tokens", "revoke", "--user", address)
        assert unknown.exit_code == 1
        assert "Nobody with this address" in unknown.output


def test_old_rows_are_cleared_in_batches_and_living_ones_stay(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from datetime import timedelta

    import sqlalchemy as sa

    from libs.database import utcnow
    from services.oidc import tasks
    from services.oidc.extensions import db
    from services.oidc.models import Grant, RefreshToken

    living, old = client.tokens(browser), client.tokens(browser)
    spent = client.tokens(browser)["refresh_token"]
    fresh = client.refresh(spent).json["refresh_token"]
    with app.app_context():
        with db.transaction() as session:
            from libs.guard.single_use import digest

            ended = sa.select(RefreshToken.grant_id).where(
                RefreshToken.digest == digest(old["refresh_token"])
            )
            long_ago = utcnow() - timedelta(days=31)
            session.execute(sa.update(Grant).where(Grant.id.in_(ended)).values(ended_at=long_ago))
            session.execute(
                sa.update(RefreshToken).where(RefreshToken.digest == digest(spent)).values(used_at=long_ago)
            )
        tasks.clear_expired()
        left = set(db.session.scalars(sa.select(RefreshToken.digest)))
    assert digest(old["refresh_token"]) not in left
    assert digest(spent) not in left
    assert {digest(living["refresh_token"]), digest(fresh)} <= left
    assert lives(client, living)
