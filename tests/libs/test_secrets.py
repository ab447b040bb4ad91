"""Secrets as settings: weak ones are refused, fresh ones are made, and two processes can compare theirs."""

import ast
import dataclasses
import importlib
import json
import re
import secrets
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from libs.guard.secrets import fingerprints, fresh, peers, strength
from libs.guard.secrets.status import MATTERS
from libs.service import parts_of
from libs.settings import ServiceSettings, Settings, SettingsError
from tests.conftest import SERVICES, run_command
from tests.libs.test_settings import GOOD

ROOT = Path(__file__).resolve().parents[2]
NOT_UNDER_DATA_KEYS = {"refresh_tokens.successor_sealed": "under a key that only the token before it holds"}
SEALED_ELSEWHERE = {
    "services/account/routes/enrolment.py": "in the browser's session, for ENROLMENT_LIFETIME",
    "libs/web/shown_once.py": "in Redis, for two minutes",
}
"""What seals under data_keys and writes no row."""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "prod-changeme-4f9a1c7be2d86035aa41"),
        ("SECRET_KEY", "your-secret-key-9f2b7c4d1e8a6053bc"),
        ("SECRET_KEY", "test-9f2b7c4d1e8a6053bcf17a2d4e90"),
        ("SECRET_KEY", "0a1b2c3d4e" * 4),
        ("SECRET_KEY", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
        ("SECRET_KEY", "0011001100220033001100440011002200550011"),
        ("SECRET_KEY_FALLBACKS", "changeme-changeme-changeme-changeme-1"),
        ("SECRET_KEY_FALLBACKS", GOOD["SECRET_KEY"]),
        ("DATA_ENCRYPTION_KEYS", "d1:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="),
        ("DATA_ENCRYPTION_KEYS", "d1:YSBzZW50ZW5jZSB0aGF0IGlzIDMyIHNpZ25zIGxvbmc="),
        ("DATA_ENCRYPTION_KEYS", f"{GOOD['DATA_ENCRYPTION_KEYS']},{GOOD['DATA_ENCRYPTION_KEYS']}"),
        ("DATA_ENCRYPTION_KEYS", f"{GOOD['DATA_ENCRYPTION_KEYS']},d2:{GOOD['DATA_ENCRYPTION_KEYS'][3:]}"),
        ("EVENT_ENCRYPTION_KEYS", GOOD["DATA_ENCRYPTION_KEYS"]),
    ],
)
def test_production_refuses_what_can_be_guessed_or_serves_twice(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} ") as refused:
        Settings.load({**GOOD, name: value})
    for part in value.split(","):
        assert part not in str(refused.value)
    assert str(refused.value).count(". ") == 0, "one sentence"


def test_one_secret_for_two_purposes_is_refused() -> None:
    key = GOOD["DATA_ENCRYPTION_KEYS"].partition(":")[2]
    with pytest.raises(SettingsError, match="must not be the same as SECRET_KEY"):
        Settings.load({**GOOD, "SECRET_KEY": key})


def test_development_starts_with_what_production_refuses() -> None:
    lax = {
        **GOOD,
        "ID_ENV": "development",
        "EVENT_ENCRYPTION_KEYS": GOOD["DATA_ENCRYPTION_KEYS"],
        "SECRET_KEY": "prod-changeme-4f9a1c7be2d86035aa41",
    }
    assert Settings.load(lax).is_development
    with pytest.raises(SettingsError, match="SECRET_KEY_FALLBACKS"):
        Settings.load({**lax, "SECRET_KEY_FALLBACKS": lax["SECRET_KEY"]})


def test_what_we_make_ourselves_is_good_enough_for_production() -> None:
    for _ in range(200):
        made = {name: fresh.MAKERS[name]() for name in fresh.NEEDED}
        assert made["SECRET_KEY"] == Settings.load({**GOOD, **made}).SECRET_KEY
        assert strength.is_guessable(fresh.MAKERS["PASSWORD"]()) is None


def test_the_command_makes_all_or_one(sample_app: Flask) -> None:
    lines = run_command(sample_app, "secrets", "generate").output.splitlines()
    assert [line.partition("=")[0] for line in lines] == list(fresh.NEEDED)
    assert Settings.load({**GOOD, **dict(line.split("=", 1) for line in lines)})
    one, other = (run_command(sample_app, "secrets", "generate", "--name", "SECRET_KEY").output for _ in "12")
    assert one != other
    assert len(one.strip()) == 64
    as_json = run_command(sample_app, "secrets", "generate", "--name", "MAIL_FEEDBACK_SECRETS", "--json")
    assert json.loads(as_json.output)["MAIL_FEEDBACK_SECRETS"].startswith("whsec_")


def test_fingerprints_are_the_same_for_the_same_and_tell_nothing() -> None:
    secret = fresh.shared_secret()
    assert fingerprints.of_secret_key(secret) == fingerprints.of_secret_key(secret)
    ring = fingerprints.of_ring(GOOD["DATA_ENCRYPTION_KEYS"], setting="DATA_ENCRYPTION_KEYS")
    for mark in (fingerprints.of_secret_key(secret), *ring.values()):
        assert re.fullmatch(r"[0-9a-f]{12}", mark)
    short = "hunter2"
    assert fingerprints.of_text(short, secret) == fingerprints.of_text(short, secret)
    assert fingerprints.of_text(short, secret) != fingerprints.of_text(short, fresh.shared_secret()), (
        "who has not SECRET_KEY cannot try passwords against it"
    )


def settings_kind(service: str) -> type[ServiceSettings]:
    module = importlib.import_module(f"services.{service}.settings")
    return next(
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, ServiceSettings) and service == kind.SERVICE
    )


@pytest.mark.parametrize("service", SERVICES)
def test_status_knows_what_each_secret_is_for(service: str) -> None:
    assert set(settings_kind(service).secret_names()) <= set(MATTERS)


@pytest.mark.parametrize("service", SERVICES)
def test_status_shows_every_secret_and_none_of_them(make_app: Any, service: str) -> None:
    app = make_app(service)
    settings = parts_of(app).settings
    told = json.loads(run_command(app, "secrets", "status", "--json").output)
    shown = {row["setting"] for row in told["secrets"]}
    names = {settings.database_variable() if n == "DATABASE_URL" else n for n in settings.secret_names()}
    assert shown == names
    by_name = {row["setting"]: row for row in told["secrets"]}
    assert by_name["SECRET_KEY"]["fingerprint"] == fingerprints.of_secret_key(settings.SECRET_KEY)
    assert by_name["DATA_ENCRYPTION_KEYS"]["state"] == "seals"
    assert by_name["DATA_ENCRYPTION_KEYS"]["key"] == "data1"
    text = json.dumps(told) + run_command(app, "secrets", "status").output
    for held in settings.secrets():
        assert held.value.decode() not in text
    assert strength.password_of(settings.DATABASE_URL) not in (
        text if len(strength.password_of(settings.DATABASE_URL)) > 8 else ""
    )


# -- the list of sealed columns ----------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_every_sealed_column_is_on_its_services_list(make_app: Any, service: str) -> None:
    """A column that keys are rotated past is lost with the old key."""
    parts = parts_of(make_app(service))
    found = {
        f"{table.name}.{column.name}"
        for table in parts.db.metadata.tables.values()
        for column in table.columns
        if "sealed" in column.name
    }
    assert found - set(NOT_UNDER_DATA_KEYS) == {str(column) for column in parts.sealed}


def test_whatever_seals_under_data_keys_writes_a_column_on_the_list(make_app: Any) -> None:
    """Each module that seals is the one that a listed column names for its place, or is known to write no row."""
    listed = {
        str(Path(importlib.import_module(column.place.__module__).__file__ or "").relative_to(ROOT))
        for service in SERVICES
        for column in parts_of(make_app(service)).sealed
    }
    sealing = set()
    for folder in ("services", "libs"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr == "seal"
                    and "data_keys" in ast.unparse(node.func.value)
                ):
                    sealing.add(str(file.relative_to(ROOT)))
    assert sealing == listed | set(SEALED_ELSEWHERE)


@pytest.mark.parametrize("service", SERVICES)
def test_where_columns_are_sealed_a_task_reencrypts_them(make_app: Any, service: str) -> None:
    parts = parts_of(make_app(service))
    assert (f"{service}.reencrypt" in parts.tasks.functions) == bool(parts.sealed)


# -- two processes -----------------------------------------------------------------------------------------------


def test_a_worker_with_other_secrets_is_named(sample_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = parts_of(sample_app)
    mine = parts.settings
    client = parts.redis
    old = dataclasses.replace(
        mine, SECRET_KEY=fresh.shared_secret(), EVENT_ENCRYPTION_KEYS=fresh.encryption_key()
    )
    peers.leave_note(client, "oidc", mine)
    try:
        assert not list(peers.disagreements("account", mine, peers.read_notes(client)))
        peers.leave_note(client, "oidc", old)
        told = list(peers.disagreements("account", mine, peers.read_notes(client)))
        assert [sentence.split(",")[0] for sentence in told] == [
            "The worker of oidc has another SECRET_KEY",
            "The worker of oidc has another EVENT_ENCRYPTION_KEYS",
        ]
        both = dataclasses.replace(
            mine,
            SECRET_KEY=old.SECRET_KEY,
            SECRET_KEY_FALLBACKS=(mine.SECRET_KEY,),
            EVENT_ENCRYPTION_KEYS=f"{old.EVENT_ENCRYPTION_KEYS},{mine.EVENT_ENCRYPTION_KEYS}",
        )
        peers.leave_note(client, "oidc", both)
        known = dataclasses.replace(
            mine,
            SECRET_KEY_FALLBACKS=(old.SECRET_KEY,),
            EVENT_ENCRYPTION_KEYS=f"{mine.EVENT_ENCRYPTION_KEYS},{old.EVENT_ENCRYPTION_KEYS}",
        )
        told = list(peers.disagreements("account", known, peers.read_notes(client)))
        assert all("each opens what the other makes" in sentence for sentence in told)
        assert len(told) == 2
        note = client.get("secrets:oidc")
        assert old.SECRET_KEY not in note
        assert secrets.compare_digest(note, json.dumps(fingerprints.compared(both)))
    finally:
        client.delete("secrets:oidc")
