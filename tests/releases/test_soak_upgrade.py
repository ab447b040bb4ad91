"""An upgrade with real processes of both releases, the way back, and what would break either.

`RELEASE=v1.2.0 make soak ARGS=tests/releases` starts from that release; else it is the newest before this code.
"""

import itertools
import signal

import pytest

from tests.conftest import SERVICES
from tests.releases.conftest import Pair
from tests.releases.pods import Balancer, Breaks, Pods
from tests.running import wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

WORKERS = tuple(f"{service}-worker" for service in SERVICES)
ONE_HALF, OTHER_HALF = ("account-worker", "onboarding-worker"), ("oidc-worker", "notification-worker")
READY_S = 120


def test_an_upgrade_and_the_way_back_are_noticed_by_nobody(pair: Pair) -> None:
    pair.old.run(*SERVICES, *WORKERS)
    waiting = pair.services_with_new_migrations()
    before_the_migrations(pair, waiting)
    pair.new.migrate()
    # They serve by themselves now.
    pair.new.wait_until_ready(*SERVICES, *WORKERS)
    side_by_side(pair)
    back_again(pair, waiting)


def before_the_migrations(pair: Pair, waiting: list[str]) -> None:
    """New pods of a service that has new migrations are sent nobody and take no task; the old ones serve on."""
    pair.new.start(*SERVICES, *WORKERS)
    pair.new.wait_until_ready(*(service for service in SERVICES if service not in waiting))
    for service in waiting:
        wait_until(lambda service=service: pair.new.ask(service, "/readyz") == 503, READY_S)  # type: ignore[misc]
        wait_until(lambda service=service: says_that_it_waits(pair.new, service), READY_S)  # type: ignore[misc]
    served = pair.travel(pair.old, pair.new).served
    assert served.isdisjoint({(service, pair.after.name) for service in waiting})
    # Whoever waits goes when it is told to.
    workers = [f"{service}-worker" for service in waiting]
    pair.new.stop(*workers)
    pair.new.start(*workers)


def says_that_it_waits(pods: Pods, service: str) -> bool:
    return '"waiting_for_database"' in pods.log(f"{service}-worker").read_text()


def side_by_side(pair: Pair) -> None:
    """Each request goes to the other release than the one before, and what workers of one send, the other's take."""
    pair.old.stop(*ONE_HALF)
    pair.new.stop(*OTHER_HALF)
    assert_that_both_served(pair, pair.travel(pair.old, pair.new))
    pair.old.run(*ONE_HALF)
    pair.new.run(*OTHER_HALF)
    pair.new.stop(*ONE_HALF)
    pair.old.stop(*OTHER_HALF)
    assert_that_both_served(pair, pair.travel(pair.old, pair.new))


def assert_that_both_served(pair: Pair, balancer: Balancer) -> None:
    for service, tree in itertools.product(SERVICES, (pair.before, pair.after)):
        assert (service, tree.name) in balancer.served


def back_again(pair: Pair, waiting: list[str]) -> None:
    """The release before alone on the newer schema, with all that its clock runs; its Job refuses."""
    pair.old.run(*WORKERS)
    pair.new.stop_all()
    pair.travel(pair.old)
    pair.run_what_the_clock_runs(pair.old)
    assert pair.complaints() == []
    for service in waiting:
        with pytest.raises(AssertionError, match="Can't locate revision"):
            pair.old.migrate(service)


def test_a_migration_that_is_killed_leaves_nothing_and_is_started_again(pair: Pair) -> None:
    before = pair.after.head("account")
    pair.new.migrate("account")
    pair.after.add_migration(
        "account",
        [
            'op.add_column("blocks", sa.Column("half_done", sa.Text(), nullable=True))',
            'op.execute("SELECT pg_sleep(3)")',
        ],
        doc="It takes its time. Safe while the previous release still runs: it does not know the column.",
    )
    job = pair.new.start_command("account", "db", "upgrade")
    under_way = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(3)' AND state = 'active'"
    wait_until(lambda: pair.ask("account", under_way))
    job.send_signal(signal.SIGKILL)
    job.communicate(timeout=30)
    assert pair.migration_of("account") == before
    # Two at once: one waits for the other, and for what the killed one left on the server.
    pair.new.migrate("account", "account")
    assert pair.migration_of("account") == pair.after.head("account")
    assert pair.ask("account", "SELECT half_done FROM blocks LIMIT 0") == []


def test_a_release_that_takes_away_what_the_one_before_uses_is_found_out(pair: Pair) -> None:
    """The last one here: nothing runs on these stores afterwards."""
    pair.old.run(*SERVICES, *WORKERS)
    pair.new.stop_all()
    pair.after.add_migration("account", ['op.drop_column("users", "profile")'], doc="No profile any more.")
    pair.new.migrate("account")
    with pytest.raises(Breaks, match="was answered 500 by account"):
        pair.travel(pair.old)
