"""Clients that cache our keys for as long as they may, while the keys take turns: no verification ever fails."""

import dataclasses
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask
from joserfc import jwt
from joserfc.jwk import KeySet

from libs.database import first_uuid7
from libs.people.bearer.tokens import REGISTRIES
from libs.service import parts_of
from tests.oidc.conftest import start_process
from tests.oidc.key_tools import beat, header_of, look_again, sign
from tests.oidc.relying_party import http
from tests.pages import ORIGIN

pytestmark = pytest.mark.usefixtures("no_keys")


@dataclasses.dataclass
class CachingClient:
    """A relying party that asks for the JWKS only when what it has may not be used any more (RFC 9111)."""

    app: Flask
    keys: Any = None
    good_until: float = float("-inf")

    def verify(self, token: str, now: float) -> None:
        if now >= self.good_until:
            look_again()
            answer = http(self.app).get("/.well-known/jwks.json", base_url=ORIGIN)
            self.keys = KeySet.import_key_set(answer.json)
            self.good_until = now + int(answer.headers["Cache-Control"].rpartition("=")[2])
        jwt.decode(token, self.keys, registry=REGISTRIES["ES256"])


@pytest.fixture
def another_time(app: Flask) -> Iterator[float]:
    """A moment long ago, to travel from; what is told to the other services then is never told."""
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    versions = "SELECT max(version) AS version FROM announced_keys"
    with app.app_context():
        before = parts_of(app).db.fetch_one(sa.text(versions)).version or 0
    yield moment.timestamp()
    with app.app_context(), parts_of(app).db.transaction() as session:
        until = {"until": first_uuid7(moment + timedelta(days=100))}
        session.execute(sa.text("DELETE FROM outbox_events WHERE id < :until"), until)
        session.execute(sa.text("UPDATE announced_keys SET version = :version"), {"version": before})


@pytest.mark.parametrize("seed", range(2))
def test_no_verification_ever_fails_while_clients_cache_our_keys_for_their_full_time(
    app: Flask, monkeypatch: pytest.MonkeyPatch, another_time: float, seed: int
) -> None:
    """Hours of rotations by clock and by hand, of beats that come or fail, of clients that ask whenever they may."""
    from services.oidc.flows.keys import rotate, turns, upkeep

    chance = random.Random(seed)
    for module in (upkeep, turns):  # RSA keys take long to make, and many are made here
        monkeypatch.setattr(module, "ALWAYS", ("ES256",))
    settings = dataclasses.replace(parts_of(app).settings, KEY_ROTATION_INTERVAL=timedelta(minutes=70))
    monkeypatch.setattr(parts_of(app), "settings", settings)
    clients = [CachingClient(app) for _ in range(12)]
    alive: list[tuple[float, str]] = []
    used: set[str] = set()
    with time_machine.travel(another_time, tick=False) as clock:
        start_process()
        now = another_time
        while now < another_time + 6 * 3600:
            now += chance.uniform(20, 400)
            clock.move_to(now)
            if chance.random() < 0.6:  # the worker is away at times
                beat(app)
            if chance.random() < 0.1:
                with app.app_context():
                    rotate()
            token = sign(app, "ES256", exp=int(now + 3600))
            used.add(header_of(token)["kid"])
            alive = [item for item in alive if item[0] > now]
            alive.append((now + 3600, token))
            chance.shuffle(alive)
            for client in chance.sample(clients, 3):
                for known in (token, *(other for _, other in alive[:5])):
                    client.verify(known, now)
    assert len(used) > 5, "there were rotations"
    start_process()


def test_the_jwks_may_not_be_cached_for_longer_than_a_key_is_published_before_it_signs(app: Flask) -> None:
    from services.oidc.flows.keys import LOOK_INTERVAL, timing

    max_age = int(
        http(app)
        .get("/.well-known/jwks.json", base_url=ORIGIN)
        .headers["Cache-Control"]
        .removeprefix("public, max-age=")
    )
    with app.app_context():
        assert timedelta(seconds=max_age) + LOOK_INTERVAL < timing().ahead
