"""What the tests of onboarding stand on: the usual policy, programs at the API, no waiting for who is not there."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from services.onboarding.flows import policies
from tests.onboarding.programs import Programs

POLICY: dict[str, Any] = {
    "mode": "review",
    "trusted_domains": [],
    "refused_domains": [],
    "most_per_address": 5,
    "most_per_network": 50,
}


@pytest.fixture
def policy(onboarding_app: Flask) -> Iterator[Callable[..., None]]:
    """Set the policy for this test."""

    def put(**changes: Any) -> None:
        with onboarding_app.app_context():
            policies.change(**changes)

    yield put
    put(**POLICY)


@pytest.fixture
def nobody_reviews(onboarding_app: Flask) -> Iterator[None]:
    """Everybody who could review is disabled meanwhile."""

    def put(before: str, after: str) -> None:
        db = parts_of(onboarding_app).db
        with onboarding_app.app_context(), db.engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE people SET status = :after WHERE status = :before"),
                {"before": before, "after": after},
            )

    put("active", "disabled")
    yield
    put("disabled", "active")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody confirms events here, so commands need not wait for it as long as they would."""
    monkeypatch.setattr("libs.commands.EVENTS_WAIT_S", 0.0)


@pytest.fixture
def programs(onboarding_app: Flask, oidc_app: Flask) -> Programs:
    return Programs(onboarding_app, oidc_app)
