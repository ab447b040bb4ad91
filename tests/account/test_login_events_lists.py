"""Long lists of attempts to sign in: every one is read by an index, and cleared in batches."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from libs.database import utcnow
from libs.service import parts_of
from tests.account.conftest import rows
from tests.account.plans import assert_flat, plans_of, seeded


@pytest.fixture(scope="module")
def long_lists(account_app: Flask) -> Iterator[Flask]:
    with seeded(account_app, users=2_000, events=20_000):
        yield account_app


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "pk_login_events"),
        ({"sub": "a person"}, "ix_login_events_user_id_id"),
        ({"email": "a person"}, "ix_login_events_user_id_id"),
        ({"email": "nobody@seed.test"}, "ix_login_events_typed_hash_id"),
        ({"network": "198.18.7.9/32"}, "ix_login_events_ip_id"),
        ({"network": "198.18.7.0/24"}, "pk_login_events"),
        ({"reason": "provider_error"}, "ix_login_events_failures"),
        ({"success": False}, "pk_login_events"),
        ({"method": "passkey"}, "pk_login_events"),
        ({"since": "a week ago"}, "pk_login_events"),
        ({"network": "198.18.7.9/32", "reason": "throttled", "until": "a week ago"}, "ix_login_events_ip_id"),
    ],
    ids=str,
)
def test_every_list_is_read_by_an_index(long_lists: Flask, wanted: dict[str, Any], index: str) -> None:
    from services.account.flows.login_events import Wanted, list_login_events

    [somebody] = rows(long_lists, "SELECT sub::text, email FROM users WHERE email LIKE 'p77.%'")
    words = {"a person": somebody.email if "email" in wanted else somebody.sub}
    meant = {name: words.get(value, value) for name, value in wanted.items()}
    for name in ("since", "until"):
        if name in meant:
            meant[name] = utcnow() - timedelta(days=7)

    def read() -> None:
        first = list_login_events(Wanted(**meant), limit=50)
        if first.before is not None:
            list_login_events(Wanted(**meant), before=first.before, limit=50)

    assert_flat(plans_of(long_lists, "login_events", read), index=index)


def test_failures_are_counted_by_an_index(long_lists: Flask) -> None:
    from services.account.flows.login_events import count_failures

    nodes = plans_of(long_lists, "login_events", lambda: count_failures(since=utcnow() - timedelta(hours=1)))
    # Counting reads what it counts: the failures of the hour, which are those of this run's other tests.
    assert_flat(nodes, index="ix_login_events_failures", most=3_000)


def test_old_events_are_cleared_in_batches(long_lists: Flask) -> None:
    from services.account.flows.clearing import clear_old_rows

    before = rows(
        long_lists, "SELECT count(*) AS count FROM login_events WHERE created_at < now() - interval '80 days'"
    )
    with long_lists.app_context():
        settings = parts_of(long_lists).settings
        kept = settings.LOGIN_EVENTS_KEPT
        try:
            object.__setattr__(settings, "LOGIN_EVENTS_KEPT", timedelta(days=80))
            clear_old_rows()
        finally:
            object.__setattr__(settings, "LOGIN_EVENTS_KEPT", kept)
    assert before[0].count > 1000
    assert not rows(long_lists, "SELECT 1 FROM login_events WHERE created_at < now() - interval '81 days'")
