"""After a restore: no key of before is believed, and nobody hears of the new ones too early."""

import dataclasses
import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from joserfc.jwk import ECKey, OKPKey

from libs.messaging.events import KeysChanged
from libs.service import parts_of
from services.oidc.flows.restoring import VERSIONS_AHEAD
from tests.conftest import run_command
from tests.oidc.conftest import start_process
from tests.oidc.key_tools import beat, ensure, kids, look_again, pass_time, rows, states

pytestmark = pytest.mark.usefixtures("no_keys")


def starts_with(app: Flask, monkeypatch: pytest.MonkeyPatch, *pairs: dict[str, str]) -> None:
    """A process whose settings hold these keys."""
    settings = dataclasses.replace(
        parts_of(app).settings,
        OIDC_PRIVATE_KEY_PEM="",
        OIDC_PUBLIC_KEY_PEM="",
        OIDC_KEY_PAIRS=json.dumps(pairs) if pairs else "",
    )
    monkeypatch.setattr(parts_of(app), "settings", settings)
    start_process()
    look_again()
    assert kids(app)


def restored(app: Flask) -> dict[str, Any]:
    done = run_command(app, "restored", "--yes", "--json")
    assert done.exit_code == 0, done.output
    look_again()
    return dict(json.loads(done.stdout))


def test_whatever_an_emergency_spares_is_withdrawn_too_since_it_may_have_been_since_the_backup(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = {
        "kid": "of-somebody-else",
        "public_key_pem": OKPKey.generate_key("Ed25519").as_pem(private=False).decode(),
    }
    starts_with(app, monkeypatch, foreign)
    for _ in range(2):
        pass_time(app, timedelta(days=90))
        beat(app)
    before = {row.kid: row.state for row in rows(app)}
    assert before["of-somebody-else"] == "previous"
    assert "retired" in before.values(), "ID tokens that it signed are hints still"

    counts = restored(app)
    assert counts["keys withdrawn"] == len(before)
    assert counts["signing keys replaced"] == 2
    assert kids(app).isdisjoint(before)
    gone = [row for row in rows(app) if row.kid in before]
    assert all(row.withdrawn_at and not row.private_key_sealed for row in gone)
    starts_with(app, monkeypatch, foreign)
    assert states(app, "EdDSA") == {"of-somebody-else": "retired"}
    assert restored(app)["keys withdrawn"] == 4, "those of the first time, and none twice"


def test_a_key_of_the_settings_that_the_backup_does_not_know_does_not_come_from_there(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(app)
    mine = ECKey.generate_key("P-256").as_pem(private=True).decode()
    settings = dataclasses.replace(
        parts_of(app).settings,
        OIDC_KEY_PAIRS=json.dumps([{"kid": "brought-since", "private_key_pem": mine}]),
    )
    monkeypatch.setattr(parts_of(app), "settings", settings)
    restored(app)
    starts_with(app, monkeypatch, {"kid": "brought-since", "private_key_pem": mine})
    assert states(app, "ES256")["brought-since"] == "retired"
    assert "brought-since" not in kids(app)
    [row] = [row for row in rows(app) if row.kid == "brought-since"]
    assert row.withdrawn_at
    assert row.private_key_sealed is None


def test_the_new_keys_are_told_by_nobody_until_their_database_is_served(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore that fails afterwards would leave services behind that believe nobody."""
    ensure(app)
    relay: Any = parts_of(app).outbox._relay
    monkeypatch.setattr(relay, "_thread", None)
    restored(app)
    assert relay._thread is None, "a commit would have started it"
    told = sa.text(
        "SELECT version, count(DISTINCT event_id) AS events, count(*) FILTER (WHERE state = 'pending') AS pending"
        " FROM announced_keys, outbox_deliveries JOIN outbox_events ON outbox_events.id = event_id"
        " WHERE name = :name GROUP BY version"
    ).bindparams(name=KeysChanged.NAME)
    with app.app_context():
        [row] = parts_of(app).db.fetch_all(told)
    assert (row.events, row.pending) == (1, len(KeysChanged.SUBSCRIBERS)), "and of those of before by nobody"
    assert row.version > VERSIONS_AHEAD


@pytest.mark.parametrize("is_known", [True, False])
def test_services_that_heard_of_more_changes_than_the_database_knows_hear_of_the_new_keys(
    app: Flask, is_known: bool
) -> None:
    ensure(app)
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(
            sa.text("UPDATE announced_keys SET version = 3" if is_known else "DELETE FROM announced_keys")
        )
    restored(app)
    with app.app_context():
        versions = parts_of(app).db.fetch_all(sa.text("SELECT version FROM announced_keys"))
    assert [row.version for row in versions] == [VERSIONS_AHEAD + (4 if is_known else 1)]
