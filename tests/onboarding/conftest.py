"""What the tests of onboarding share: programs at its API, and no waiting for subscribers that are not there."""

import pytest
from flask import Flask

from tests.onboarding.programs import Programs


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody confirms events here, so commands need not wait for it as long as they would."""
    monkeypatch.setattr("libs.commands.EVENTS_WAIT_S", 0.0)


@pytest.fixture
def programs(onboarding_app: Flask, oidc_app: Flask) -> Programs:
    return Programs(onboarding_app, oidc_app)
