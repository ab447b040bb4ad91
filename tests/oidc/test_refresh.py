"""Refresh tokens: rotation that forgives a lost answer, and a family that dies with a thief."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.guard.single_use import digest
from libs.messaging.events import SignInThreatened
from libs.people.sessions import Session
from tests.conftest import recorded
from tests.oidc.relying_party import RelyingParty, error_of
from tests.pages import Browser

Make = Callable[..., RelyingParty]


def age(app: Flask, token: str, seconds: int) -> None:
    """Let a spent token have been spent this long ago."""
    change(app, token, used_at=utcnow() - timedelta(seconds=seconds))


def change(app: Flask, token: str, **values: Any) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import RefreshToken

    with app.app_context(), db.transaction() as session:
        changed = session.execute(
            sa.update(RefreshToken).where(RefreshToken.digest == digest(token)).values(**values)
        )
        assert changed.rowcount == 1


def threats(app: Flask, person: Session) -> int:
    return sum(event.sub == person.sub for event in recorded(app, SignInThreatened))  # type: ignore[attr-defined]


def test_a_lost_answer_is_given_again(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    first = client.tokens(browser)["refresh_token"]
    answer = client.refresh(first).json
    again = client.refresh(first)
    assert again.status_code == 200
    assert again.json["refresh_token"] == answer["refresh_token"], "the same successor"
    assert again.json["access_token"] != answer["access_token"], "and a fresh access token"
    assert threats(app, person) == 0
    assert client.refresh(answer["refresh_token"]).status_code == 200


@pytest.mark.parametrize("how", ["after its grace", "after its successor was used"])
def test_a_spent_token_that_comes_back_ends_the_family_and_the_person_is_told(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, how: str
) -> None:
    first = client.tokens(browser)["refresh_token"]
    newest = client.refresh(first).json
    if how == "after its grace":
        age(app, first, 31)
    else:
        newest = client.refresh(newest["refresh_token"]).json
    assert error_of(client.refresh(first)) == (400, "invalid_grant")
    assert error_of(client.refresh(newest["refresh_token"])) == (400, "invalid_grant")
    assert client.userinfo(newest["access_token"]).status_code == 401
    assert client.introspect(newest["access_token"]) == {"active": False}
    assert threats(app, person) == 1
    client.refresh(first)
    assert threats(app, person) == 1, "told once"


def test_a_grandparent_is_never_forgiven(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    first = client.tokens(browser)["refresh_token"]
    second = client.refresh(first).json["refresh_token"]
    client.refresh(second)
    assert error_of(client.refresh(first)) == (400, "invalid_grant")
    assert threats(app, person) == 1


def test_other_families_live_on(browser: Browser, person: Session, client: RelyingParty) -> None:
    one, other = client.tokens(browser)["refresh_token"], client.tokens(browser)["refresh_token"]
    second = client.refresh(one).json["refresh_token"]
    client.refresh(second)
    client.refresh(one)
    assert client.refresh(other).status_code == 200


def test_twenty_refreshes_side_by_side_give_one_successor(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    first = client.tokens(browser)["refresh_token"]
    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(lambda _: client.refresh(first), range(20)))
    assert [response.status_code for response in responses] == [200] * 20
    successors = {response.json["refresh_token"] for response in responses}
    assert len(successors) == 1
    assert threats(app, person) == 0
    assert client.refresh(successors.pop()).status_code == 200


def test_the_successor_is_kept_only_as_long_as_it_may_be_given_again(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import RefreshToken

    def kept() -> str | None:
        with app.app_context():
            return db.session.scalars(
                sa.select(RefreshToken.successor_sealed).where(RefreshToken.digest == digest(first))
            ).one()

    first = client.tokens(browser)["refresh_token"]
    second = client.refresh(first).json["refresh_token"]
    assert kept()
    assert second not in (kept() or "")
    client.refresh(second)
    assert kept() is None


def test_a_token_belongs_to_its_client(
    browser: Browser, person: Session, client: RelyingParty, make_client: Make
) -> None:
    first = client.tokens(browser)["refresh_token"]
    assert error_of(make_client().refresh(first)) == (400, "invalid_grant")
    second = client.refresh(first).json["refresh_token"]
    client.refresh(second)
    assert error_of(make_client().refresh(first)) == (400, "invalid_grant")
    assert client.refresh(second).status_code == 200, "a stranger's guess ends nothing"


def test_a_narrower_scope_may_be_asked_for_and_a_wider_one_not(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    first = client.tokens(browser, scope="openid email")["refresh_token"]
    assert error_of(client.refresh(first, scope="openid email profile")) == (400, "invalid_scope")
    narrow = client.refresh(first, scope="openid")
    assert narrow.status_code == 200, "the refusal has spent nothing"
    assert narrow.json["scope"] == "openid"
    assert "email" not in client.userinfo(narrow.json["access_token"]).json
    assert client.refresh(narrow.json["refresh_token"]).json["scope"] == "openid email"


def test_a_client_may_be_registered_without_rotation(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from services.oidc.flows.clients import update_client

    with app.app_context():
        update_client(client.client_id, rotate_refresh_tokens=False)
    first = client.tokens(browser)["refresh_token"]
    for _ in range(3):
        answer = client.refresh(first)
        assert answer.status_code == 200
        assert "refresh_token" not in answer.json


def test_idle_and_absolute_lifetimes_both_hold(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import Grant

    idle = client.tokens(browser)["refresh_token"]
    change(app, idle, expires_at=utcnow() - timedelta(seconds=1))
    assert error_of(client.refresh(idle)) == (400, "invalid_grant")
    old = client.tokens(browser)["refresh_token"]
    with app.app_context(), db.transaction() as session:
        session.execute(sa.update(Grant).where(Grant.sub == person.sub).values(expires_at=utcnow()))
    assert error_of(client.refresh(old)) == (400, "invalid_grant")


def test_without_offline_access_a_token_ends_with_the_session_at_the_latest(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import Grant, RefreshToken

    def end_of(token: str) -> tuple[float, float]:
        with app.app_context():
            row = db.session.execute(
                sa.select(Grant.expires_at, RefreshToken.expires_at)
                .join(RefreshToken, RefreshToken.grant_id == Grant.id)
                .where(RefreshToken.digest == digest(token))
            ).one()
            return row[0].timestamp(), row[1].timestamp()

    bound = end_of(client.tokens(browser)["refresh_token"])
    assert bound == (person.absolute_end, person.absolute_end)
    offline = end_of(client.tokens(browser, scope="openid offline_access")["refresh_token"])
    assert offline[0] > person.absolute_end
    assert offline[1] < offline[0]


@pytest.mark.parametrize("text", ["", "x", "\x00", "ü" * 50, "a" * 20_000])
def test_nonsense_is_refused(client: RelyingParty, text: str) -> None:
    assert error_of(client.refresh(text)) in ((400, "invalid_grant"), (400, "invalid_request"))


def test_a_disabled_client_or_person_refreshes_nothing(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from services.oidc.flows.clients import update_client
    from services.oidc.flows.subjects import remember_subject

    first = client.tokens(browser)["refresh_token"]
    with app.app_context():
        update_client(client.client_id, is_enabled=False)
    assert error_of(client.refresh(first)) == (401, "invalid_client")
    with app.app_context():
        update_client(client.client_id, is_enabled=True)
        remember_subject(sub=person.sub, version=7, status="disabled", roles=[], claims={})
    assert error_of(client.refresh(first)) == (400, "invalid_grant")


def test_a_failure_of_ours_spends_nothing(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.oidc.protocol import grants

    first = client.tokens(browser)["refresh_token"]

    def broken(*_: Any, **__: Any) -> str:
        raise sa.exc.OperationalError("COMMIT", {}, Exception("server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr(grants, "make_id_token", broken)
        assert error_of(client.refresh(first)) == (503, "temporarily_unavailable")
    with app.app_context():
        from services.oidc.extensions import db
        from services.oidc.models import RefreshToken

        used = sa.select(RefreshToken.used_at).where(RefreshToken.digest == digest(first))
        assert db.session.scalars(used).one() is None
    assert client.refresh(first).status_code == 200
