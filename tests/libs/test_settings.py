"""A bad setting stops the start with a sentence that names it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from libs.settings import Settings, SettingsError, with_launcher_environment

GOOD = {
    "ID_ENV": "production",
    "PUBLIC_URL": "https://id.example.org",
    "SECRET_KEY": "q7Fh2LkP9sVx4TzB8nWm3RcY6dGjA1eU",
    "DATA_ENCRYPTION_KEYS": "d1:Yk0r0gHk0yJ7bq3cVw6C1uQm9s2Xf8ZtP5nLdE4aRjI=",
    "EVENT_ENCRYPTION_KEYS": "e1:t3Vn8Qx1LsG7hZp0WcJ5mRk2aYd9fUe4BoT6iNvC8Xo=",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
}


def test_good_settings_are_read_with_their_types() -> None:
    settings = Settings.load({**GOOD, "SECRET_KEY_FALLBACKS": "", "TRUSTED_PROXY_HOPS": "2"})
    assert settings.TRUSTED_PROXY_HOPS == 2
    assert settings.SECRET_KEY_FALLBACKS == ()
    assert settings.is_secure
    assert GOOD["SECRET_KEY"] not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ID_ENV", "prod"),
        ("PUBLIC_URL", ""),
        ("PUBLIC_URL", "http://id.example.org"),
        ("PUBLIC_URL", "https://id.example.org/sub"),
        ("PUBLIC_URL", "https://ID.example.org"),
        ("PUBLIC_URL", "https://id.example.org:443"),
        ("PUBLIC_URL", "https://id.example.org:http"),
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "short"),
        ("SECRET_KEY", "q7Fh2LkP9sVx4TzB8,nWm3RcY6dGjA1eU"),
        ("SECRET_KEY", "change-me-change-me-change-me-change-me"),
        ("SECRET_KEY", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("DATA_ENCRYPTION_KEYS", ""),
        ("DATA_ENCRYPTION_KEYS", "d1:c2hvcnQgYnV0IGxvbmcgZW5vdWdoIGlzIG5vdA=="),
        ("EVENT_ENCRYPTION_KEYS", "no-colon-but-quite-long-enough-to-pass"),
        ("REDIS_URL", "http://localhost"),
        ("TRUSTED_PROXY_HOPS", "many"),
        ("LOG_LEVEL", "LOUD"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:password@collector.example"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example/?token=x"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer a,b"),
        ("ACCESS_TOKEN_LIFETIME", "ten minutes"),
        ("ACCESS_TOKEN_LIFETIME", "0"),
        ("ACCESS_TOKEN_LIFETIME", "-600"),
        ("ACCESS_TOKEN_LIFETIME", "99999999999999"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.load({**GOOD, name: value})


def test_http_is_for_development_on_loopback_alone() -> None:
    assert not Settings.load(
        {**GOOD, "ID_ENV": "development", "PUBLIC_URL": "http://localhost:8000"}
    ).is_secure
    with pytest.raises(SettingsError, match="PUBLIC_URL"):
        Settings.load({**GOOD, "ID_ENV": "development", "PUBLIC_URL": "http://id.example.org"})


def test_a_process_with_a_bad_setting_ends_with_2_and_one_sentence(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), **GOOD, "SECRET_KEY": ""}
    program = "from libs.settings import Settings; Settings.load_or_exit()"
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == "SECRET_KEY is not set.\n"


def test_the_launchers_environment_is_read_while_it_lives(tmp_path: Path) -> None:
    file = tmp_path / "environment"
    file.write_text(f"LAUNCHER_PID={os.getpid()}\nID_ENV=development\nREDIS_URL=redis://a\n")
    found = with_launcher_environment({"DATA_DIR": str(tmp_path), "REDIS_URL": "redis://b"})
    assert found["ID_ENV"] == "development"
    assert found["REDIS_URL"] == "redis://b", "the real environment wins, value by value"


def test_a_stale_environment_file_says_how_to_start(tmp_path: Path) -> None:
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    (tmp_path / "environment").write_text(f"LAUNCHER_PID={ended.pid}\nID_ENV=development\n")
    with pytest.raises(SettingsError, match="is not running: start it with make run"):
        with_launcher_environment({"DATA_DIR": str(tmp_path)})


def test_without_any_environment_we_are_in_production(tmp_path: Path) -> None:
    without = {name: value for name, value in GOOD.items() if name != "ID_ENV"}
    assert Settings.load({**without, "DATA_DIR": str(tmp_path)}).ID_ENV == "production"
