"""The doctor: what is wrong is named with what helps, where no app can be made too, and no word holds a secret."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import FlaskGroup

from gateway.servers import free_port
from libs.doctor import Finding, examine
from libs.doctor.rows import sealed_rows
from libs.doctor.stores import _clock
from libs.guard.secrets import fresh
from libs.service import parts_of
from libs.settings import ServiceSettings
from services.notification.doctor import look_at_smtp
from services.oidc.doctor import look_at_signing_keys
from tests.conftest import SERVICES
from tests.libs.test_secrets import settings_kind
from tests.running import ROOT
from tests.sink import Sink

LEAKY = "Xy7-this-must-never-be-shown-Qz"
BROKEN = {
    "ID_ENV": "production",
    "PUBLIC_URL": "http://id.example.org",
    "SECRET_KEY": f"changeme-{LEAKY}",
    "DATA_ENCRYPTION_KEYS": f"d1:{base64.b64encode(LEAKY.encode() * 2).decode()}",
    "ACCOUNT_DATABASE_URL": f"mysql://account:{LEAKY}@127.0.0.1/id_account",
    "REDIS_URL": f"redis://:{LEAKY}@127.0.0.1:{free_port()}/0",
    "GITHUB_CLIENT_SECRET": LEAKY,
    "ARGON2_TIME_COST": "0",
    "SESSION_IDLE_LIFETIME": "a fortnight",
    "TRUSTED_PROXY_HOPS": "0",
}
WRONG = {
    "PUBLIC_URL": "PUBLIC_URL must use https outside development on loopback.",
    "SECRET_KEY": "SECRET_KEY looks like a placeholder: generate a random one.",
    "DATA_ENCRYPTION_KEYS": "DATA_ENCRYPTION_KEYS must be kid:base64 of 32 bytes",
    "EVENT_ENCRYPTION_KEYS": "EVENT_ENCRYPTION_KEYS is not set.",
    "ACCOUNT_DATABASE_URL": "ACCOUNT_DATABASE_URL must be a postgresql:// URL.",
    "GITHUB_CLIENT_ID": "GITHUB_CLIENT_ID is not set, though its counterpart is.",
    "ARGON2_TIME_COST": "ARGON2_TIME_COST and ARGON2_PARALLELISM must be at least 1.",
    "SESSION_IDLE_LIFETIME": "SESSION_IDLE_LIFETIME must be a number of seconds",
    "Redis": "Redis did not answer",
}


def ask(environ: dict[str, str], *arguments: str, service: str = "account") -> Result:
    """Flask's own command line in this process, as `flask --app services.X …` runs it."""
    nothing = dict.fromkeys((*os.environ, "FLASK_RUN_FROM_CLI"))
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env: dict[str, str | None] = {**nothing, **kept, **environ}
    return CliRunner().invoke(FlaskGroup(), ["--app", f"services.{service}", *arguments], env=env)


def test_a_real_process_with_a_broken_environment_names_all_of_it_and_repeats_no_secret(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "services.account", "doctor", "--json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), **BROKEN},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is False
    found = {each["about"]: each for each in told["findings"] if each["state"] == "wrong"}
    assert set(found) == set(WRONG)
    for about, words in WRONG.items():
        assert words in found[about]["says"]
        assert found[about]["fix"], f"{about}: what helps?"
    assert "secrets generate --name SECRET_KEY" in found["SECRET_KEY"]["fix"]
    assert "Secret id-service-secrets" in found["ACCOUNT_DATABASE_URL"]["fix"]
    assert "ConfigMap id-settings" in found["ARGON2_TIME_COST"]["fix"]
    assert [each["about"] for each in told["findings"] if each["state"] == "weak"] == ["TRUSTED_PROXY_HOPS"]
    for text in (done.stdout, done.stderr):
        assert LEAKY not in text
        assert BROKEN["DATA_ENCRYPTION_KEYS"][5:25] not in text


@pytest.mark.parametrize("service", SERVICES)
def test_without_any_environment_every_service_still_answers(service: str, tmp_path: Path) -> None:
    nothing = {"DATA_DIR": str(tmp_path)}
    told = ask(nothing, "doctor", service=service)
    assert told.exit_code == 1
    for name in ("PUBLIC_URL", "SECRET_KEY", "DATA_ENCRYPTION_KEYS", "EVENT_ENCRYPTION_KEYS", "REDIS_URL"):
        assert f"wrong   {name}: {name} " in told.output
    assert f"{service.upper()}_DATABASE_URL must be" in told.output


def test_whatever_else_is_asked_of_a_broken_environment_ends_in_the_sentence(tmp_path: Path) -> None:
    broken = {"DATA_DIR": str(tmp_path), **BROKEN}
    sentence = "PUBLIC_URL must use https outside development on loopback."
    broken.pop("SESSION_IDLE_LIFETIME")
    for arguments in (
        ("users", "list"),
        ("secrets", "status"),
        ("db", "current"),
        ("routes",),
        ("nonsense",),
    ):
        told = ask(broken, *arguments)
        assert told.exit_code == 2, arguments
        assert told.stderr.splitlines() == [sentence], arguments
    listed = ask(broken, "--help")
    assert "doctor" in listed.stdout
    assert sentence in listed.stderr
    made = ask(broken, "secrets", "generate", "--name", "SECRET_KEY")
    assert made.exit_code == 0
    assert len(made.stdout.strip()) == 64


def test_a_suite_that_was_stopped_is_named(tmp_path: Path) -> None:
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    (tmp_path / "environment").write_text(f"LAUNCHER_PID={ended.pid}\nID_ENV=development\n")
    told = ask({"DATA_DIR": str(tmp_path)}, "doctor")
    assert told.exit_code == 1
    assert f"The suite in {tmp_path} is not running" in told.output


# -- what the settings name --------------------------------------------------------------------------------------


def look(service: str, environ: dict[str, str], *looks: Any) -> list[Finding]:
    kind: type[ServiceSettings] = settings_kind(service)
    return examine(kind, looks, migrations=ROOT / "services" / service / "migrations", environ=environ)


def states(found: list[Finding]) -> set[str]:
    return {each.state for each in found}


def only(found: list[Finding], state: str) -> Finding:
    [each] = [each for each in found if each.state == state]
    return each


@pytest.mark.parametrize("service", SERVICES)
def test_where_all_is_well_nothing_is_wrong(make_app: Any, environment: dict[str, str], service: str) -> None:
    make_app(service)
    looks = [look_at_smtp] if service == "notification" else []
    found = look(service, environment, *looks)
    assert not [each for each in found if each.state == "wrong"]
    told = {each.about for each in found if each.state == "fine"}
    assert {"database", "migrations", "clock", "Redis", "PUBLIC_URL", "settings"} <= told


def test_a_database_that_is_away_and_one_that_refuses_the_password(environment: dict[str, str]) -> None:
    refusing = sa.make_url(environment["ACCOUNT_DATABASE_URL"]).set(password=LEAKY)
    away = f"postgresql://account:{LEAKY}@127.0.0.1:{free_port()}/id_account"
    for address in (away, refusing.render_as_string(hide_password=False)):
        found = look("account", {**environment, "ACCOUNT_DATABASE_URL": address})
        wrong = only(found, "wrong")
        assert wrong.about == "database"
        assert "did not take us in" in wrong.says
        assert "ACCOUNT_DATABASE_URL" in wrong.fix
        assert LEAKY not in f"{wrong}"


def test_a_database_that_is_behind_or_ahead(account_app: Flask, environment: dict[str, str]) -> None:
    def set_to(revision: str) -> str:
        with account_app.app_context(), parts_of(account_app).db.engine.begin() as connection:
            before = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
            connection.execute(sa.text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
        return str(before)

    head = set_to("0001")
    try:
        wrong = only(look("account", environment), "wrong")
        assert wrong.says == f"The database is at 0001, and this release needs {head}."
        assert "db upgrade" in wrong.fix
        set_to("9999")
        found = look("account", environment)
        assert "wrong" not in states(found)
        assert any("which a newer release made" in each.says for each in found)
    finally:
        set_to(head)


def test_a_redis_that_throws_keys_away(account_app: Flask, environment: dict[str, str]) -> None:
    client = parts_of(account_app).redis
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        wrong = only(look("account", environment), "wrong")
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert "maxmemory-policy is allkeys-lru" in wrong.says
    assert wrong.fix == "Set maxmemory-policy noeviction."


def test_a_ring_that_lost_a_key(oidc_app: Flask, environment: dict[str, str]) -> None:
    from services.oidc.flows.keys import ensure_keys

    with oidc_app.app_context():
        ensure_keys()
    lost = {**environment, "DATA_ENCRYPTION_KEYS": fresh.encryption_key()}
    found = look("oidc", lost, sealed_rows(parts_of(oidc_app).sealed), look_at_signing_keys)
    said = [each.says for each in found if each.state == "wrong"]
    assert any("row(s) are sealed under data1, which DATA_ENCRYPTION_KEYS lacks" in text for text in said)
    assert any("DATA_ENCRYPTION_KEYS does not open the current key" in text for text in said)
    well = look("oidc", environment, look_at_signing_keys)
    assert any("keys are published in the JWKS" in each.says for each in well)


def test_a_mail_server_that_is_away_or_refuses_us(environment: dict[str, str]) -> None:
    with Sink() as sink:
        found = look("notification", {**environment, "SMTP_URL": sink.url}, look_at_smtp)
        assert any(each.about == "SMTP" and each.state == "fine" for each in found)
    away = f"smtp://127.0.0.1:{free_port()}"
    wrong = only(look("notification", {**environment, "SMTP_URL": away}, look_at_smtp), "wrong")
    assert "The mail server did not take us" in wrong.says
    assert "SMTP_URL" in wrong.fix
    with Sink() as sink:
        url = sink.url.replace("smtp://", f"smtp://us:{LEAKY}@")
        wrong = only(look("notification", {**environment, "SMTP_URL": url}, look_at_smtp), "wrong")
        assert "did not take us (SMTPNotSupportedError)" in wrong.says


def test_clocks_that_differ() -> None:
    assert _clock("the database", 0.3).state == "fine"
    assert _clock("the database", -4.0).state == "weak"
    told = _clock("Redis", 30.0)
    assert (told.state, told.says) == ("wrong", "The clock of Redis is 30.0 s ahead of ours.")
    assert "NTP" in told.fix


def test_what_starts_and_should_not_be_so_in_production(environment: dict[str, str]) -> None:
    kind = settings_kind("account")
    password = LEAKY[:8]
    production = {
        **environment,
        "ID_ENV": "production",
        "PUBLIC_URL": "https://10.0.0.7",
        "LOG_LEVEL": "DEBUG",
        "ACCOUNT_DATABASE_URL": f"postgresql://account:{password}@127.0.0.1:{free_port()}/id_account",
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    found = examine(kind, migrations=ROOT / "services/account/migrations", environ=production)
    weak = {each.about: each.says for each in found if each.state == "weak"}
    assert set(weak) == {"PUBLIC_URL", "LOG_LEVEL", "TRUSTED_PROXY_HOPS", "ACCOUNT_DATABASE_URL", "REDIS_URL"}
    assert "is short" in weak["ACCOUNT_DATABASE_URL"]
    assert "has no password" in weak["REDIS_URL"]
    assert password not in str(found)
