"""The janitor: what serves nobody goes, what may still matter stays, a batch at a time."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import first_uuid7, utcnow, uuid7
from libs.guard import single_use
from libs.people.sessions import Session
from libs.service import parts_of
from tests.oidc.relying_party import RelyingParty
from tests.pages import Browser


@pytest.fixture
def db(app: Flask) -> Any:
    from services.oidc.extensions import db

    with app.app_context():
        yield db


def count(db: Any, table: Any, *conditions: Any) -> int:
    return int(db.fetch_one(sa.select(sa.func.count()).select_from(table).where(*conditions))[0])


def moment_id(days: float) -> Any:
    """A UUIDv7 of that many days ago."""
    return first_uuid7(utcnow() - timedelta(days=days))


def run_task(app: Flask) -> None:
    from services.oidc import tasks

    with app.app_context():
        tasks.clear_expired()


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        ({"code_used_at": None, "code_expires_at": timedelta(hours=-23)}, True),
        ({"code_used_at": None, "code_expires_at": timedelta(hours=-25)}, False),
        ({"ended_at": timedelta(days=-29)}, True),
        ({"ended_at": timedelta(days=-31)}, False),
        ({"expires_at": timedelta(days=-29)}, True),
        ({"expires_at": timedelta(days=-31)}, False),
        ({}, True),
    ],
    ids=str,
)
def test_grants(
    app: Flask,
    db: Any,
    browser: Browser,
    person: Session,
    client: RelyingParty,
    change: dict[str, Any],
    stays: bool,
) -> None:
    from services.oidc.models import Grant, RefreshToken

    client.tokens(browser, scope="openid offline_access")
    values = {name: utcnow() + span if span is not None else None for name, span in change.items()}
    if values:
        with db.transaction() as session:
            session.execute(sa.update(Grant).where(Grant.sub == person.sub).values(**values))
    run_task(app)
    assert count(db, Grant, Grant.sub == person.sub) == stays
    of_person = RefreshToken.grant_id.in_(sa.select(Grant.id).where(Grant.sub == person.sub))
    assert count(db, RefreshToken, of_person) == stays, "with its tokens"


def test_spent_refresh_tokens(
    app: Flask, db: Any, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from services.oidc.models import RefreshToken

    first = client.tokens(browser)["refresh_token"]
    second = client.refresh(first).json["refresh_token"]
    with db.transaction() as session:
        session.execute(
            sa.update(RefreshToken)
            .where(RefreshToken.digest == single_use.digest(first))
            .values(used_at=utcnow() - timedelta(days=31))
        )
    run_task(app)
    left = [single_use.digest(first), single_use.digest(second)]
    found = [
        row.digest
        for row in db.fetch_all(sa.select(RefreshToken.digest).where(RefreshToken.digest.in_(left)))
    ]
    assert found == [single_use.digest(second)]


def test_access_tokens_refusals_deliveries_and_registration_tokens(
    app: Flask, db: Any, client: RelyingParty
) -> None:
    from services.oidc.models import AccessToken, InitialAccessToken, LogoutDelivery, Refusal

    now = utcnow()
    old, young = {}, {}
    with db.transaction() as session:
        for kept, hours in ((old, 25), (young, 23)):
            kept["token"] = uuid7()
            session.add(
                AccessToken(
                    id=kept["token"],
                    client_id=client.client_id,
                    scope="x",
                    audience=["y"],
                    expires_at=now - timedelta(hours=hours),
                )
            )
        for kept, days in ((old, 15.0), (young, 13.0)):
            kept["refusal"] = moment_id(days)
            session.add(Refusal(id=kept["refusal"], request_id="r", endpoint="token", error="x"))
        for kept, days in ((old, 31.0), (young, 29.0)):
            kept["delivery"], kept["registration"] = moment_id(days), uuid7()
            session.add(
                LogoutDelivery(
                    id=kept["delivery"],
                    client_id=client.client_id,
                    sub="s",
                    cause="sign_out",
                    state="delivered",
                )
            )
            session.add(
                InitialAccessToken(
                    id=kept["registration"],
                    digest=str(kept["registration"]),
                    note="n",
                    created_by="test",
                    expires_at=now - timedelta(days=days),
                )
            )
        waiting = moment_id(40.0)
        session.add(
            LogoutDelivery(id=waiting, client_id=client.client_id, sub="s", cause="sign_out", state="queued")
        )
    run_task(app)
    for table, word in (
        (AccessToken, "token"),
        (Refusal, "refusal"),
        (LogoutDelivery, "delivery"),
        (InitialAccessToken, "registration"),
    ):
        assert count(db, table, table.id == old[word]) == 0, word
        assert count(db, table, table.id == young[word]) == 1, word
    assert count(db, LogoutDelivery, LogoutDelivery.id == waiting) == 1, "what was not delivered stays"
    with db.transaction() as session:
        session.execute(sa.delete(LogoutDelivery).where(LogoutDelivery.id == waiting))


def test_batches_are_bounded_and_many_are_cleared(
    app: Flask, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.oidc.flows import clearing
    from services.oidc.models import Refusal

    monkeypatch.setattr(clearing, "ROWS_PER_BATCH", 7)
    with db.transaction() as session:
        for number in range(20):
            first = first_uuid7(utcnow() - timedelta(days=20, seconds=number))
            session.add(Refusal(id=first, request_id="many", endpoint="token", error="x"))
    seen: list[int] = []
    delete_some = clearing._delete_some

    def watch(table: Any, condition: Any) -> int:
        deleted = delete_some(table, condition)
        seen.append(deleted)
        return deleted

    monkeypatch.setattr(clearing, "_delete_some", watch)
    assert clearing.clear_old_rows()["refusals"] == 20
    assert max(seen) <= 7


def test_each_condition_is_found_by_an_index(app: Flask, db: Any) -> None:
    """With sequential scans forbidden no plan needs one."""
    from services.oidc.flows import clearing

    with db.transaction() as session:
        session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        for table, condition in clearing._old():
            if table.__tablename__ == "initial_access_tokens":
                continue  # a handful of rows
            statement = sa.select(table.id).where(condition).limit(500)
            text = statement.compile(db.engine, compile_kwargs={"literal_binds": True})
            plan = "\n".join(
                row[0] for row in session.execute(sa.text(f"EXPLAIN {text}".replace(":", "\\:")))
            )
            assert "Seq Scan" not in plan, plan


def test_table_sizes_are_gauges(app: Flask, db: Any) -> None:
    run_task(app)
    samples = {(name, labels.get("table")): value for name, _, labels, value in parts_of(app).gauges()}
    assert samples["id_table_bytes", "grants"] > 0
    assert ("id_table_rows", "refresh_tokens") in samples
    assert float(parts_of(app).redis.get("cleanup:oidc.clear_expired")) > 0


def test_what_somebody_holds_is_left_for_the_next_time(
    app: Flask, db: Any, make_client: Callable[..., Any]
) -> None:
    from services.oidc.flows.clearing import clear_old_rows
    from services.oidc.models import Refusal

    held = moment_id(20.0)
    with db.transaction() as session:
        session.add(Refusal(id=held, request_id="held", endpoint="token", error="x"))
    with db.engine.connect() as other, other.begin():
        other.execute(sa.select(Refusal.id).where(Refusal.id == held).with_for_update())
        clear_old_rows()
        assert count(db, Refusal, Refusal.id == held) == 1
    clear_old_rows()
    assert count(db, Refusal, Refusal.id == held) == 0
