"""Keys of an operator's own: OIDC_PRIVATE_KEY_PEM and OIDC_KEY_PAIRS, made by openssl as the runbook has it."""

import base64
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import cache

import pytest
from flask import Flask

from libs.service import parts_of
from libs.settings import SettingsError
from tests.conftest import run_command
from tests.oidc.conftest import start_process
from tests.oidc.key_tools import (
    beat,
    ensure,
    header_of,
    kid_of,
    kids,
    listed,
    look_again,
    pass_time,
    rows,
    sign,
    states,
)
from tests.running import ROOT

pytestmark = pytest.mark.usefixtures("no_keys")


def openssl(*arguments: str, given: str = "") -> str:
    done = subprocess.run(
        ["openssl", *arguments], input=given, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@cache
def rsa(number: int = 1) -> str:
    """A key as the runbook makes it; another one for each number."""
    return openssl("genrsa", "2048")


def public_of(private: str) -> str:
    return openssl("pkey", "-pubout", given=private)


def one_line(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


KINDS = {
    "PKCS #8, RSA": (("genrsa", "2048"), "RS256"),
    "PKCS #1, RSA": (("genrsa", "-traditional", "2048"), "RS256"),
    "PKCS #8, P-256": (("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"), "ES256"),
    "SEC1, P-256": (("ecparam", "-name", "prime256v1", "-genkey", "-noout"), "ES256"),
    "SEC1, P-256, with its parameters": (("ecparam", "-name", "prime256v1", "-genkey"), "ES256"),
    "PKCS #8, Ed25519": (("genpkey", "-algorithm", "ed25519"), "EdDSA"),
}

Set = Callable[..., None]


@pytest.fixture
def environment_has(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Set:
    """Starts a process whose environment holds these settings."""

    def start(**values: str) -> None:
        unset = {"OIDC_PRIVATE_KEY_PEM": "", "OIDC_PUBLIC_KEY_PEM": "", "OIDC_KEY_PAIRS": ""}
        settings = dataclasses.replace(parts_of(app).settings, **{**unset, **values})
        settings.check()
        monkeypatch.setattr(parts_of(app), "settings", settings)
        start_process()
        look_again()
        assert kids(app)

    return start


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["PEM", "base64"])
def test_whatever_openssl_makes_is_read_and_signs(
    app: Flask, environment_has: Set, kind: str, form: str
) -> None:
    arguments, alg = KINDS[kind]
    private = openssl(*arguments)
    public = public_of(private)
    wrap = one_line if form == "base64" else str
    environment_has(OIDC_PRIVATE_KEY_PEM=wrap(private), OIDC_PUBLIC_KEY_PEM=wrap(public))
    [mine] = [row for row in listed(app, alg) if row["is_imported"]]
    assert mine["state"] == "current", "the table was empty"
    assert header_of(sign(app, alg))["kid"] == mine["kid"]
    assert sorted(states(app, alg).values()) == ["current", "next"]
    sealed = {row.kid: row.private_key_sealed for row in rows(app)}[mine["kid"]]
    assert sealed.startswith("data1:")
    assert not any(line in sealed for line in private.splitlines() if "-----" not in line)


def test_the_runbooks_procedure_brings_the_next_key_and_rotating_promotes_it_at_once(
    app: Flask, environment_has: Set
) -> None:
    environment_has()
    before = kids(app)
    old, generated = kid_of(app, "RS256", "current"), kid_of(app, "RS256", "next")
    environment_has(OIDC_PRIVATE_KEY_PEM=rsa(), OIDC_PUBLIC_KEY_PEM=public_of(rsa()))
    mine = kid_of(app, "RS256", "next")
    assert listed(app, "RS256")[1]["is_imported"] is True
    assert header_of(sign(app, "RS256"))["kid"] == old
    assert generated not in states(app, "RS256"), "the one that was made here and never used is gone"
    assert len(kids(app)) == len(before)
    beat(app)
    assert states(app, "RS256")[mine] == "next"

    done = run_command(app, "keys", "rotate", "--alg", "RS256")
    assert done.exit_code == 0, done.output
    assert f"RS256: {mine} signs from now on, instead of {old}." in done.output
    assert "fetch our keys again when they meet an unknown kid notice nothing" in done.output
    assert states(app, "RS256")[mine] == "current"
    assert states(app, "RS256")[old] == "previous"
    assert old in kids(app)
    assert header_of(sign(app, "RS256"))["kid"] == mine


def test_the_schedule_promotes_an_imported_key_when_its_turn_comes(app: Flask, environment_has: Set) -> None:
    environment_has()
    pass_time(app, timedelta(days=89, hours=23, minutes=50))
    environment_has(OIDC_PRIVATE_KEY_PEM=rsa())
    mine = kid_of(app, "RS256", "next")
    pass_time(app, timedelta(minutes=15))
    beat(app)
    assert states(app, "RS256")[mine] == "next", "it is published for as long as its absence can be cached"
    pass_time(app, timedelta(minutes=10))
    beat(app)
    assert states(app, "RS256")[mine] == "current"


def test_a_key_is_imported_once_whatever_became_of_it(app: Flask, environment_has: Set) -> None:
    environment_has(OIDC_PRIVATE_KEY_PEM=rsa())
    mine = kid_of(app, "RS256", "current")
    for _ in range(2):
        pass_time(app, timedelta(days=90))
        beat(app)
    assert states(app, "RS256")[mine] == "retired"
    before = states(app, "RS256")
    environment_has(OIDC_PRIVATE_KEY_PEM=rsa())
    pair = {"kid": "under another name", "private_key_pem": rsa()}
    environment_has(OIDC_KEY_PAIRS=json.dumps([pair]))
    assert states(app, "RS256") == before


def test_an_emergency_does_not_let_the_suspect_come_back_from_the_environment(
    app: Flask, environment_has: Set
) -> None:
    environment_has(OIDC_PRIVATE_KEY_PEM=rsa())
    mine = kid_of(app, "RS256", "current")
    assert run_command(app, "keys", "rotate", "--emergency").exit_code == 0
    environment_has(OIDC_PRIVATE_KEY_PEM=rsa())
    assert states(app, "RS256")[mine] == "retired"
    assert mine not in kids(app)


def test_a_key_that_is_gone_from_the_environment_stays(app: Flask, environment_has: Set) -> None:
    environment_has(OIDC_PRIVATE_KEY_PEM=rsa())
    before = states(app, "RS256")
    environment_has()
    assert states(app, "RS256") == before


def test_a_newer_key_of_the_settings_takes_the_place_of_one_that_waits(
    app: Flask, environment_has: Set
) -> None:
    environment_has()
    environment_has(OIDC_PRIVATE_KEY_PEM=rsa(1))
    first = kid_of(app, "RS256", "next")
    environment_has(OIDC_PRIVATE_KEY_PEM=rsa(2))
    assert first not in states(app, "RS256")
    second = kid_of(app, "RS256", "next")
    both = [{"private_key_pem": rsa(2)}, {"private_key_pem": rsa(1)}]
    environment_has(OIDC_KEY_PAIRS=json.dumps(both))
    assert kid_of(app, "RS256", "next") == second, "of two in the settings the one that waits stays first"


def test_pairs_bring_names_of_their_own_and_keys_that_only_verify(app: Flask, environment_has: Set) -> None:
    foreign = openssl("genpkey", "-algorithm", "ed25519")
    pairs = [
        {"kid": "mine-2026", "private_key_pem": rsa(1), "public_key_pem": public_of(rsa(1))},
        {"kid": "mine-2027", "private_key_pem": one_line(rsa(2))},
        {"kid": "of-before", "public_key_pem": public_of(foreign)},
    ]
    environment_has(OIDC_KEY_PAIRS=json.dumps(pairs))
    assert states(app, "RS256") == {"mine-2026": "current", "mine-2027": "next"}
    assert states(app, "EdDSA") == {"of-before": "previous"}
    assert header_of(sign(app, "RS256"))["kid"] == "mine-2026"
    pass_time(app, timedelta(days=400))
    beat(app)
    assert "of-before" in kids(app), "nobody here knows when its owner signs last"
    done = run_command(app, "keys", "rotate", "--emergency")
    assert "of-before" not in done.output, "its private half was never here"
    assert "of-before" in kids(app)
    assert run_command(app, "keys", "retire", "of-before").exit_code == 0
    assert "of-before" not in kids(app)


def test_a_name_that_another_key_has_is_not_given_twice(
    app: Flask, environment_has: Set, log_text: Callable[[], str]
) -> None:
    environment_has(OIDC_KEY_PAIRS=json.dumps([{"kid": "mine", "private_key_pem": rsa(1)}]))
    environment_has(OIDC_KEY_PAIRS=json.dumps([{"kid": "mine", "private_key_pem": rsa(2)}]))
    assert list(states(app, "RS256").values()).count("current") == 1
    assert "another key has this id" in log_text()


def test_a_rotation_by_command_takes_a_key_that_no_process_has_started_with(
    app: Flask, environment_has: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment_has()
    settings = dataclasses.replace(parts_of(app).settings, OIDC_PRIVATE_KEY_PEM=rsa())
    monkeypatch.setattr(parts_of(app), "settings", settings)
    assert run_command(app, "keys", "rotate", "--alg", "RS256").exit_code == 0
    [signing] = [row for row in listed(app, "RS256") if row["state"] == "current"]
    assert signing["is_imported"] is True


START = """
import sys
from libs.service import parts_of
from services.oidc import create_app
from services.oidc.protocol.keys import keys
app = create_app()
print("ready", flush=True)
sys.stdin.readline()
with app.app_context():
    keys.load()
print("started", flush=True)
"""


def test_two_processes_that_start_at_once_import_once(app: Flask, environment: dict[str, str]) -> None:
    environ = {**os.environ, "OIDC_PRIVATE_KEY_PEM": rsa(), "PYTHONPATH": str(ROOT)}
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", START],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in starting:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in starting:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in starting:
        said, _ = process.communicate(timeout=60)
        assert said.endswith("started\n"), said
        assert process.returncode == 0
    assert sorted(states(app, "RS256").values()) == ["current", "next"]
    assert [row["is_imported"] for row in listed(app, "RS256")] == [True, False]
    assert sorted(states(app, "ES256").values()) == ["current", "next"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"OIDC_PRIVATE_KEY_PEM": "nonsense"}, "OIDC_PRIVATE_KEY_PEM must be a private key in PEM"),
        ({"OIDC_PRIVATE_KEY_PEM": "public"}, "OIDC_PRIVATE_KEY_PEM must be a private key in PEM"),
        ({"OIDC_PRIVATE_KEY_PEM": "encrypted"}, "OIDC_PRIVATE_KEY_PEM is encrypted"),
        ({"OIDC_PRIVATE_KEY_PEM": "short"}, "must be an RSA key of 2048 to 4096 bits, of P-256 or Ed25519"),
        ({"OIDC_PRIVATE_KEY_PEM": "P-384"}, "must be an RSA key of 2048 to 4096 bits, of P-256 or Ed25519"),
        (
            {"OIDC_PRIVATE_KEY_PEM": "private", "OIDC_PUBLIC_KEY_PEM": "of another"},
            "OIDC_PUBLIC_KEY_PEM does not belong to OIDC_PRIVATE_KEY_PEM.",
        ),
        (
            {"OIDC_PRIVATE_KEY_PEM": "private", "OIDC_PUBLIC_KEY_PEM": "private"},
            "OIDC_PUBLIC_KEY_PEM must be a public key in PEM",
        ),
        ({"OIDC_PUBLIC_KEY_PEM": "public"}, "OIDC_PUBLIC_KEY_PEM is set without OIDC_PRIVATE_KEY_PEM"),
        ({"OIDC_KEY_PAIRS": "{"}, "OIDC_KEY_PAIRS must be a JSON list"),
        ({"OIDC_KEY_PAIRS": "[1]"}, "OIDC_KEY_PAIRS must be a JSON list"),
        ({"OIDC_KEY_PAIRS": '[{"kid": "a"}]'}, "OIDC_KEY_PAIRS (entry 1) has no key."),
        ({"OIDC_KEY_PAIRS": '[{"private_pem": "x"}]'}, "a member that means nothing: 'private_pem'"),
        ({"OIDC_KEY_PAIRS": '[{"kid": 1, "public_key_pem": "x"}]'}, "a member that is no text"),
        ({"OIDC_KEY_PAIRS": '[{"public_key_pem": "x"}]'}, "(entry 1), public_key_pem must be a public key"),
    ],
)
def test_a_setting_that_cannot_be_used_stops_the_start_with_a_sentence(
    app: Flask, values: dict[str, str], words: str
) -> None:
    texts = {
        "private": rsa(1),
        "public": public_of(rsa(1)),
        "of another": public_of(rsa(2)),
        "encrypted": openssl("genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:secret"),
        "short": openssl("genrsa", "1024"),
        "P-384": openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout"),
    }
    settings = dataclasses.replace(
        parts_of(app).settings, **{name: texts.get(value, value) for name, value in values.items()}
    )
    with pytest.raises(SettingsError) as refused:
        settings.check()
    assert words in str(refused.value)
    assert "PRIVATE" not in str(refused.value).replace("OIDC_PRIVATE_KEY_PEM", "")


def test_the_sentence_reaches_whoever_starts_it(environment: dict[str, str]) -> None:
    from services.oidc.settings import OIDCSettings

    with pytest.raises(SettingsError, match="OIDC_PRIVATE_KEY_PEM must be a private key in PEM"):
        OIDCSettings.load({**os.environ, "OIDC_PRIVATE_KEY_PEM": "nonsense"})
    shown = repr(OIDCSettings.load({**os.environ, "OIDC_PRIVATE_KEY_PEM": rsa()}))
    assert "BEGIN" not in shown


def test_starting_again_changes_nothing(app: Flask, environment_has: Set) -> None:
    environment_has(OIDC_PRIVATE_KEY_PEM=rsa())
    assert ensure(app) == 0
