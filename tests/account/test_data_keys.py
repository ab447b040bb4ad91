"""Data keys take turns in account: the old one opens, the new one seals, and nothing is lost on the way."""

import base64
import dataclasses
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.guard.keyring import KeyRing
from libs.guard.secrets import fresh, peers, rotation
from libs.guard.secrets.sealed import count_rows
from libs.service import parts_of
from services.account.flows import forgotten
from services.account.flows.data_download.collecting import place
from services.account.models import TOTPCredential
from tests.account.conftest import Person, execute, rows
from tests.account.second_factors import full_sign_in, person_with_app, unspend
from tests.conftest import run_command
from tests.data_keys import rotating, rows_by_kid
from tests.pages import Browser
from tests.running import ROOT


@pytest.fixture
def rings(app: Flask) -> Iterator[dict[str, KeyRing]]:
    # Rows that other tests have written without sealing anything.
    for column in parts_of(app).sealed:
        execute(
            app, f"DELETE FROM {column.table.name} WHERE {column.plain.name} NOT LIKE 'data1:____________%'"
        )
    with rotating(app) as rings:
        yield rings


def test_codes_of_an_app_work_before_between_and_after(
    app: Flask, browser: Browser, person: Person, rings: dict[str, KeyRing], stranger: Browser
) -> None:
    phone = person_with_app(app, browser, person)
    parts = parts_of(app)
    with app.app_context():
        forgotten.ask_for_reset(email=person.email, locale="en")
    parts.data_keys = rings["both"]
    full_sign_in(stranger, person, phone)
    assert rows_by_kid(app)["data1"] >= 2
    told = json.loads(run_command(app, "secrets", "reencrypt", "--json").stdout)
    assert (told["key"], told["left"], told["may_go"]) == ("new", 0, ["data1"])
    assert told["resealed"] >= 2
    assert set(rows_by_kid(app)) == {"new"}
    again = run_command(app, "secrets", "reencrypt")
    assert again.exit_code == 0
    assert "Sealed 0 row(s) anew under new." in again.output
    assert "it may leave DATA_ENCRYPTION_KEYS" in again.output
    parts.data_keys = rings["new"]
    unspend(app, person)
    full_sign_in(Browser(app), person, phone)
    with app.app_context():
        assert forgotten.answer_requests() >= 1
    [entry] = rows(
        app, "SELECT after FROM audit_entries WHERE action = 'secrets.reencrypted' ORDER BY id DESC LIMIT 1"
    )
    assert entry.after["key"] == "new"


def test_status_says_which_key_seals_how_many_and_what_is_missing(
    app: Flask, browser: Browser, person: Person, rings: dict[str, KeyRing], monkeypatch: pytest.MonkeyPatch
) -> None:
    person_with_app(app, browser, person)
    parts = parts_of(app)
    parts.data_keys = rings["new"]
    told = run_command(app, "secrets", "status", "--json")
    assert told.exit_code == 1
    [sentence] = json.loads(told.output)["disagreements"]
    assert "row(s) are sealed under data1, which DATA_ENCRYPTION_KEYS lacks" in sentence
    parts.data_keys = KeyRing({"data1": os.urandom(32)})
    told = run_command(app, "secrets", "status")
    assert "Rows under data1 do not open: DATA_ENCRYPTION_KEYS has another key of that name." in told.output
    parts.data_keys = rings["old"]
    well = run_command(app, "secrets", "status", "--json")
    assert well.exit_code == 0
    [events] = [
        row for row in json.loads(well.stdout)["secrets"] if row["setting"] == "EVENT_ENCRYPTION_KEYS"
    ]
    assert events["rows"] >= 1, "mail that was asked for is on its way"


def test_other_keys_may_leave_once_nothing_needs_them_and_this_process_seals_by_the_new_one(
    app: Flask, browser: Browser, person: Person, rings: dict[str, KeyRing], monkeypatch: pytest.MonkeyPatch
) -> None:
    person_with_app(app, browser, person)
    parts = parts_of(app)

    def settled(setting: str, key: str) -> tuple[int, str]:
        told = run_command(app, "secrets", "settled", setting, key)
        return told.exit_code, told.output.strip()

    data_key, event_key = KeyRing.parse(parts.settings.DATA_ENCRYPTION_KEYS, setting="").first, "event1"
    assert settled("DATA_ENCRYPTION_KEYS", data_key) == (
        0,
        f"account needs no key of DATA_ENCRYPTION_KEYS but {data_key}.",
    )
    code, words = settled("DATA_ENCRYPTION_KEYS", "new")
    assert (code, f"account uses {data_key} of DATA_ENCRYPTION_KEYS, not new" in words) == (1, True), words
    assert f"account needs {data_key} for " in words
    code, words = settled("SECRET_KEY", "")
    assert (code, "not (none was named)" in words) == (1, True), words
    parts.data_keys = rings["both"]
    with app.app_context():
        rotation.run()
    code, words = settled("DATA_ENCRYPTION_KEYS", data_key)
    assert (code, "account needs new for " in words, "secrets reencrypt" in words) == (1, True, True), words

    assert settled("EVENT_ENCRYPTION_KEYS", event_key)[0] == 0
    ring = f"{fresh.encryption_key()},{parts.settings.EVENT_ENCRYPTION_KEYS}"
    monkeypatch.setattr(parts, "settings", dataclasses.replace(parts.settings, EVENT_ENCRYPTION_KEYS=ring))
    code, words = settled("EVENT_ENCRYPTION_KEYS", ring.partition(":")[0])
    assert (code, f"account needs {event_key} for " in words) == (1, True), (
        "mail that was asked for is on its way"
    )
    peers.leave_note(
        parts.redis, "oidc", dataclasses.replace(parts.settings, EVENT_ENCRYPTION_KEYS=fresh.encryption_key())
    )
    try:
        assert (
            "The worker of oidc has another EVENT_ENCRYPTION_KEYS" in settled("EVENT_ENCRYPTION_KEYS", "")[1]
        )
        assert "The worker of oidc" not in settled("DATA_ENCRYPTION_KEYS", data_key)[1]
    finally:
        parts.redis.delete("secrets:oidc")


def test_a_row_that_somebody_changes_meanwhile_keeps_the_change(
    app: Flask, browser: Browser, person: Person, rings: dict[str, KeyRing]
) -> None:
    person_with_app(app, browser, person)
    parts = parts_of(app)
    parts.data_keys = rings["both"]
    [row] = rows(
        app,
        "SELECT t.id, seed_sealed FROM totp_credentials t JOIN users u ON u.id = user_id WHERE sub = :sub",
        sub=person.sub,
    )
    place = f"totp_credentials.seed:{row.id}"
    changed = rings["old"].seal(b"JBSWY3DPEHPK3PXP", place)
    with app.app_context(), parts.db.engine.begin() as other:
        other.execute(
            sa.update(TOTPCredential).where(TOTPCredential.id == row.id).values(seed_sealed=changed)
        )
        result = rotation.run()
        assert result.left == 1, "it waits for nobody, and says so"
    with app.app_context():
        assert rotation.run().left == 0
    [now] = rows(app, "SELECT seed_sealed FROM totp_credentials WHERE id = :id", id=row.id)
    assert rings["new"].open(now.seed_sealed, place) == b"JBSWY3DPEHPK3PXP"


def test_rows_with_keys_of_two_columns_are_found_batch_by_batch(
    app: Flask, person: Person, rings: dict[str, KeyRing]
) -> None:
    request_id = uuid.uuid4()
    execute(
        app,
        "INSERT INTO data_requests (id, user_id, created_at, expires_at)"
        " SELECT :id, id, now(), now() + interval '1 day' FROM users WHERE sub = :sub",
        id=request_id,
        sub=person.sub,
    )
    for service in ("account", "oidc", "onboarding"):
        execute(
            app,
            "INSERT INTO data_parts (request_id, service, sealed_content) VALUES (:id, :service, :sealed)",
            id=request_id,
            service=service,
            sealed=rings["old"].seal(service.encode(), place(request_id, service)),
        )
    parts_of(app).data_keys = rings["both"]
    with app.app_context():
        assert rotation.run(batch=1).left == 0
    found = rows(app, "SELECT service, sealed_content FROM data_parts WHERE request_id = :id", id=request_id)
    opened = {
        row.service: rings["new"].open(row.sealed_content, place(request_id, row.service)) for row in found
    }
    assert opened == {name: name.encode() for name in ("account", "oidc", "onboarding")}


@contextmanager
def reencrypting(rings: dict[str, KeyRing], environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    text = ",".join(f"{kid}:{base64.b64encode(key).decode()}" for kid, key in rings["both"].keys.items())
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "services.account", "secrets", "reencrypt", "--batch", "1"],
        cwd=ROOT,
        env={**os.environ, **environment, "DATA_ENCRYPTION_KEYS": text},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    with process:
        yield process


def test_killed_in_the_middle_it_goes_on_where_it_was(
    app: Flask, rings: dict[str, KeyRing], environment: dict[str, str]
) -> None:
    with app.app_context():
        for number in range(60):
            forgotten.ask_for_reset(email=f"nobody-{number}@people.test", locale="en")
    with reencrypting(rings, environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("password_requests.sealed_email: "):
                break
        process.send_signal(signal.SIGKILL)
    kids = rows_by_kid(app)
    assert kids.get("new", 0) >= 1
    assert kids.get("data1", 0) >= 1, "it was killed before its end"
    parts_of(app).data_keys = rings["both"]
    with app.app_context():
        parts_of(app).tasks.functions["account.reencrypt"]()
    assert set(rows_by_kid(app)) == {"new"}
    samples = {name: value for name, _, _, value in rotation.gauges(parts_of(app))}
    assert samples == {"id_sealed_rows_left": 0, "id_sealed_rows_unopened": 0}
    execute(app, "DELETE FROM password_requests")


def test_counting_tells_each_column_apart(app: Flask) -> None:
    with app.app_context(), parts_of(app).db.single_statements() as session:
        assert set(count_rows(session, parts_of(app).sealed)) == {
            "totp_credentials.seed_sealed",
            "provider_visits.secrets_sealed",
            "password_requests.sealed_email",
            "data_parts.sealed_content",
        }
