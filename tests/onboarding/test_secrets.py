"""No secret of a link is readable anywhere but in the mail or terminal it is for."""

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from tests.conftest import run_command
from tests.onboarding import steps
from tests.onboarding.steps import press
from tests.pages import Browser


def everything_stored(app: Flask) -> str:
    """All rows of all tables as text."""
    with app.app_context():
        db = parts_of(app).db
        texts = [
            db.session.execute(sa.text(f'SELECT string_agg(t::text, chr(10)) FROM "{name}" t')).scalar() or ""
            for name in db.metadata.tables
        ]
        db.session.rollback()
    return "\n".join(texts)


def test_tokens_are_in_no_table_queue_or_log(
    onboarding_app: Flask, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.commands.EVENTS_WAIT_S", 0)
    email = steps.approved(onboarding_app)
    mailed = [steps.link(onboarding_app, email, name) for name in ("confirm_address", "activation_link")]
    press(onboarding_app, mailed[1])
    printed = run_command(onboarding_app, "applications", "activation-link", email).stdout
    steps.open_account(onboarding_app, email)
    Browser(onboarding_app).get(mailed[1])
    stored = everything_stored(onboarding_app)
    redis = parts_of(onboarding_app).redis
    queued = "\n".join(redis.lrange("notification", 0, -1)) + "\n".join(redis.scan_iter(count=1000))
    logged = "".join(capfd.readouterr())
    assert "link_printed" in stored
    for path in (*mailed, printed.strip()):
        token = path.partition("token=")[2]
        assert len(token) == 43
        assert token not in stored
        assert token not in queued
        assert token not in logged


def test_a_hostile_name_stays_in_one_log_record(
    onboarding_app: Flask, capfd: pytest.CaptureFixture[str]
) -> None:
    browser = Browser(onboarding_app)
    browser.fill("/apply", email="a\r\n{}@people.test", name='x\n{"event": "forged"}', why="x")
    assert browser.status == 422
    assert "forged" not in "".join(capfd.readouterr())
