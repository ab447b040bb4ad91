"""Authorization codes: once, in time, by their own client, with their own address and verifier."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.guard.single_use import digest
from libs.people.sessions import Session
from libs.service import parts_of
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty, error_of
from tests.pages import Browser

Make = Callable[..., RelyingParty]


def change_grant(app: Flask, code: str, **values: Any) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import Grant

    with app.app_context(), db.transaction() as session:
        changed = session.execute(sa.update(Grant).where(Grant.code_digest == digest(code)).values(**values))
        assert changed.rowcount == 1


def is_dead(client: RelyingParty, tokens: dict[str, Any]) -> bool:
    """Whether nothing of a token response works any more."""
    return (
        client.userinfo(tokens["access_token"]).status_code == 401
        and client.introspect(tokens["access_token"]) == {"active": False}
        and error_of(client.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    )


def test_a_code_used_again_is_refused_and_ends_what_it_produced(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    code = client.code(browser)
    tokens = client.redeem(code).json
    assert client.userinfo(tokens["access_token"]).status_code == 200
    assert error_of(client.redeem(code)) == (400, "invalid_grant")
    assert is_dead(client, tokens)


def test_the_same_holds_after_half_a_minute_and_after_its_life(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    for age in (30, 90):
        code = client.code(browser)
        tokens = client.redeem(code).json
        now = utcnow() - timedelta(seconds=age)
        change_grant(app, code, code_used_at=now, created_at=now, code_expires_at=now + timedelta(seconds=60))
        assert error_of(client.redeem(code)) == (400, "invalid_grant")
        assert is_dead(client, tokens)


def test_fifty_redemptions_side_by_side_give_one_answer_which_the_losers_end(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    code = client.code(browser)
    with ThreadPoolExecutor(50) as pool:
        responses = list(pool.map(lambda _: client.redeem(code), range(50)))
    won = [response for response in responses if response.status_code == 200]
    assert len(won) == 1
    assert {error_of(response) for response in responses if response not in won} == {(400, "invalid_grant")}
    assert is_dead(client, won[0].json)


def test_a_code_is_no_good_after_its_life(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    code = client.code(browser)
    change_grant(app, code, code_expires_at=utcnow() - timedelta(seconds=1))
    assert error_of(client.redeem(code)) == (400, "invalid_grant")


def test_a_code_lives_a_minute(app: Flask, browser: Browser, person: Session, client: RelyingParty) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import Grant

    code = client.code(browser)
    with app.app_context():
        grant = db.session.scalars(sa.select(Grant).where(Grant.code_digest == digest(code))).one()
        assert grant.code_expires_at - grant.created_at == timedelta(seconds=60)


def test_a_code_belongs_to_its_client(
    browser: Browser, person: Session, client: RelyingParty, make_client: Make
) -> None:
    code, thief = client.code(browser), make_client()
    thief.verifier = client.verifier
    assert error_of(thief.redeem(code)) == (400, "invalid_grant")
    assert client.redeem(code).status_code == 200, "the attempt changed nothing"


@pytest.mark.parametrize(
    "wrong", [None, "https://rp.test/callback/", "https://evil.test/", "https://rp.test/second"]
)
def test_a_code_belongs_to_its_redirect_uri(
    browser: Browser, person: Session, make_client: Make, wrong: str | None
) -> None:
    client = make_client(redirect_uris=[REDIRECT_URI, "https://rp.test/second"])
    code = client.code(browser)
    assert error_of(client.redeem(code, redirect_uri=wrong)) == (400, "invalid_grant")


@pytest.mark.parametrize(
    "verifier", [None, "", "short", "a" * 42, "a" * 43, "a" * 129, "ü" * 50, "a" * 43 + "\n"]
)
def test_a_code_with_a_challenge_needs_its_verifier(
    browser: Browser, person: Session, client: RelyingParty, verifier: str | None
) -> None:
    code = client.code(browser)
    assert error_of(client.redeem(code, code_verifier=verifier)) == (400, "invalid_grant")


def test_a_code_without_a_challenge_takes_no_verifier(
    browser: Browser, person: Session, make_client: Make
) -> None:
    client = make_client(require_pkce=False)
    code = client.code(browser, code_challenge=None, code_challenge_method=None)
    assert error_of(client.redeem(code)) == (400, "invalid_grant")
    assert client.redeem(code, code_verifier=None).status_code == 200


def test_pkce_holds_for_a_client_that_may_go_without(
    browser: Browser, person: Session, make_client: Make
) -> None:
    client = make_client(require_pkce=False)
    code = client.code(browser)
    assert error_of(client.redeem(code, code_verifier=None)) == (400, "invalid_grant")
    assert client.redeem(code).status_code == 200


@pytest.mark.parametrize("code", ["", "nonsense", "\x00", "a" * 5000, "’"])
def test_nonsense_for_a_code_is_an_answer_not_a_failure(client: RelyingParty, code: str) -> None:
    status, error = error_of(client.redeem(code))
    assert (status, error) in ((400, "invalid_grant"), (400, "invalid_request"))


def test_a_person_disabled_between_code_and_token_gets_none(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from services.oidc.flows.subjects import remember_subject

    code = client.code(browser)
    with app.app_context():
        remember_subject(sub=person.sub, version=9, status="disabled", roles=[], claims={})
    assert error_of(client.redeem(code)) == (400, "invalid_grant")


def test_a_denial_reaches_a_code_before_the_event_does(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from libs.people.denials import deny

    code = client.code(browser)
    deny(parts_of(app).redis, parts_of(app).settings, sids=[person.sid])
    assert error_of(client.redeem(code)) == (400, "invalid_grant")


def test_an_older_snapshot_in_the_session_changes_nothing(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from services.oidc.flows.subjects import remember_subject

    with app.app_context():
        newer = {"name": "New Name", "email": "new@people.test", "email_verified": True}
        remember_subject(sub=person.sub, version=5, status="active", roles=[], claims=newer)
    tokens = client.tokens(browser)
    assert client.userinfo(tokens["access_token"]).json["name"] == "New Name"


def test_codes_and_tokens_are_stored_as_hashes_only(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from services.oidc.extensions import db

    code = client.code(browser)
    tokens = client.redeem(code).json
    client.refresh(tokens["refresh_token"])
    with app.app_context():
        everything = ""
        for table in db.metadata.sorted_tables:
            rows = sa.select(sa.text("t::text")).select_from(sa.text(f"{table} t"))
            everything += "\n".join(db.session.scalars(rows))
    assert digest(code) in everything
    for secret in (code, tokens["refresh_token"], tokens["access_token"], client.secret):
        assert secret not in everything
