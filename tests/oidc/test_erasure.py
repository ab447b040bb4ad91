"""Somebody is gone: the issuer forgets them, tells them before what it held, and lets nothing late bring them back."""

import uuid
from collections.abc import Callable
from typing import Any

from flask import Flask

from libs.messaging.events import AccessRevoked, DataRequested, OIDCDataCollected, UserChanged, UserErased
from libs.people.sessions import Session
from tests.conftest import receive, recorded
from tests.oidc.relying_party import RelyingParty, error_of
from tests.oidc.test_apps import OFFLINE, rows
from tests.pages import Browser


def erase(app: Flask, sub: str) -> None:
    assert receive(app, UserErased(sub=sub, emails=[]), "account") == "handled"


def snapshot(sub: str, version: int = 9) -> UserChanged:
    claims = {"name": "Ada", "email": "ada@people.test"}
    return UserChanged(sub=sub, version=version, status="active", roles=["admin"], claims=claims, locale="en")


def test_nothing_of_an_erased_person_is_left_but_the_sub(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    tokens = client.tokens(browser, scope=OFFLINE)
    erase(app, person.sub)
    assert error_of(client.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert client.userinfo(tokens["access_token"]).status_code == 401
    assert client.introspect(tokens["access_token"]) == {"active": False}
    for table in ("consents", "grants"):
        assert rows(app, f"SELECT 1 FROM {table} WHERE sub = :sub", sub=person.sub) == []
    assert rows(app, "SELECT status, roles, claims FROM subjects WHERE sub = :sub", sub=person.sub) == [
        ("erased", [], {})
    ]


def test_a_session_that_was_overlooked_signs_nobody_in_any_more(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.tokens(browser)
    erase(app, person.sub)
    page = client.ask(browser)
    if 'id="allow"' in page.text:
        browser.fill(button="allow")
    assert "code=" not in browser.location
    assert rows(app, "SELECT 1 FROM grants WHERE sub = :sub", sub=person.sub) == []


def test_late_events_bring_nobody_back(app: Flask) -> None:
    sub = str(uuid.uuid4())
    receive(app, snapshot(sub, 1), "account")
    erase(app, sub)
    assert receive(app, snapshot(sub), "account") == "handled"
    revoked = AccessRevoked(sub=sub, sids=None, cause="erased", not_before=1790000000)
    assert receive(app, revoked, "account") == "handled"
    erase(app, sub)
    assert rows(app, "SELECT status, claims FROM subjects WHERE sub = :sub", sub=sub) == [("erased", {})]


def test_an_erasure_that_overtakes_everything_else_holds(app: Flask) -> None:
    sub = str(uuid.uuid4())
    erase(app, sub)
    receive(app, snapshot(sub), "account")
    assert rows(app, "SELECT status, claims FROM subjects WHERE sub = :sub", sub=sub) == [("erased", {})]


def collected(app: Flask, sub: str) -> dict[str, Any]:
    request_id = str(uuid.uuid4())
    assert receive(app, DataRequested(request_id=request_id, sub=sub, emails=[]), "account") == "handled"
    [answer] = [event for event in recorded(app, OIDCDataCollected) if event.request_id == request_id]
    return answer.content


def test_a_person_is_told_of_consents_and_grants_but_no_token(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    tokens = client.tokens(browser, scope=OFFLINE)
    content = collected(app, person.sub)
    assert content["subject"]["claims"]["email"] == person.claims["email"]
    [consent], [grant] = content["consents"], content["grants"]
    assert (consent["app"], consent["client_id"]) == ("Test app", client.client_id)
    assert (grant["scope"], grant["refresh_tokens_kept"], grant["ended_at"]) == (OFFLINE, 1, None)
    assert (grant["kind"], grant["access_tokens_kept"]) == ("authorization_code", 0)
    digests = [
        row[0]
        for row in rows(
            app,
            "SELECT digest FROM refresh_tokens JOIN grants ON grants.id = grant_id WHERE sub = :sub"
            " UNION SELECT code_digest FROM grants WHERE sub = :sub",
            sub=person.sub,
        )
    ]
    secrets = [*digests, *(tokens[kind] for kind in ("access_token", "refresh_token", "id_token"))]
    assert not [secret for secret in secrets if secret in str(content)]


def test_opaque_access_tokens_are_told_of_and_go_with_the_person(
    app: Flask, browser: Browser, person: Session, make_client: Callable[..., RelyingParty]
) -> None:
    client = make_client(access_token_format="opaque")
    token = client.tokens(browser)["access_token"]
    content = collected(app, person.sub)
    assert [grant["access_tokens_kept"] for grant in content["grants"]] == [1]
    kept = "SELECT digest FROM access_tokens WHERE client_id = :id"
    [row] = rows(app, kept, id=client.client_id)
    assert token not in str(content) and row.digest not in str(content)
    erase(app, person.sub)
    assert rows(app, kept, id=client.client_id) == []


def test_of_somebody_who_used_no_app_there_is_nothing_to_tell(app: Flask) -> None:
    assert collected(app, str(uuid.uuid4())) == {"subject": None, "consents": [], "grants": []}
