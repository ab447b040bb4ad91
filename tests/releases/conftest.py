"""Two releases on one PostgreSQL and one Redis."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from celery import Celery

from gateway.servers import Postgres, Redis
from tests.conftest import SERVICES
from tests.releases.history import Tree, previous_release
from tests.releases.journey import CLIENT, Journey
from tests.releases.pods import Balancer, Pods, settings_of_both
from tests.running import wait_until


class Pair:
    """A release and the one before it, each with pods of its own, on the same stores."""

    def __init__(self, before: Tree, after: Tree, folder: Path):
        self.before, self.after, self.folder = before, after, folder
        self.client: dict[str, str] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Pair":
        with contextlib.ExitStack() as stack:
            postgres = Postgres(self.folder / "postgres", durable=False).start(embedded=False)
            stack.callback(postgres.stop)
            broker = Redis(self.folder / "redis", durable=False).start(embedded=False)
            stack.callback(broker.stop)
            postgres.create_databases(SERVICES)
            self.urls = {service: postgres.url(service) for service in SERVICES}
            self.environ = settings_of_both(self.folder, broker.url(), self.urls)
            self.redis = redis.Redis.from_url(broker.url(), decode_responses=True)
            stack.callback(self.redis.close)
            self.old = self._pods(stack, self.before, "old")
            self.new = self._pods(stack, self.after, "new")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _pods(self, stack: contextlib.ExitStack, tree: Tree, name: str) -> Pods:
        pods = Pods(tree, self.environ, self.folder / name)
        stack.callback(pods.stop_all)
        return pods

    def begin(self) -> "Pair":
        """The release before runs on its own schema: anybody may join, and an app is registered."""
        self.old.migrate()
        self.old.start(*SERVICES, "beat")
        self.old.command("onboarding", "policies", "set", "--mode", "open")
        self.client = json.loads(self.old.command("oidc", "clients", "create", *CLIENT))
        return self

    def services_with_new_migrations(self) -> list[str]:
        return [service for service in SERVICES if self.after.head(service) > self.before.head(service)]

    def migration_of(self, service: str) -> str:
        """The newest migration that its database has had."""
        [[found]] = self.ask(service, "SELECT version_num FROM alembic_version")
        return str(found)

    def travel(self, *releases: Pods) -> Balancer:
        """Somebody joins, signs in, and takes the access back, served by these; nothing fails and no event is left."""
        # The journeys come from one address, which may not do as much as all of them do.
        for key in self.redis.scan_iter(match="*rl:*"):
            self.redis.delete(key)
        balancer = Balancer(*releases)
        Journey(balancer, self.environ["PUBLIC_URL"], self.client).go()
        with contextlib.suppress(AssertionError):  # what is left says more
            wait_until(lambda: not self.unsettled())
        assert self.unsettled() == []
        assert self.complaints() == []
        return balancer

    def complaints(self) -> list[Any]:
        return [*self.old.complaints(), *self.new.complaints()]

    def unsettled(self) -> list[Any]:
        """Events that did not arrive, or were not understood."""
        found: list[Any] = []
        for service in SERVICES:
            lost = "SELECT d.*, e.name FROM outbox_deliveries d JOIN outbox_events e ON e.id = d.event_id"
            found += self.ask(service, f"{lost} WHERE state <> 'confirmed'")
            found += self.ask(service, "SELECT * FROM inbox_events WHERE state <> 'handled'")
        return found

    def ask(self, service: str, statement: str) -> list[Any]:
        """The rows of one statement in a service's database."""
        url = self.urls[service].replace("postgresql:", "postgresql+psycopg2:", 1)
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            return list(connection.execute(sa.text(statement)))

    def run_what_the_clock_runs(self, pods: Pods) -> None:
        """Have every task of a release's schedule run once by workers that must all be its own."""
        code = "import json; from gateway.schedule import SCHEDULE; "
        code += "print(json.dumps([[entry.task, entry.queue] for entry in SCHEDULE]))"
        said = subprocess.run(
            [pods.tree.python, "-c", code],
            cwd=pods.tree.folder,
            env=pods.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        with Celery(broker=self.environ["REDIS_URL"], set_as_current=False) as clock:
            for task, queue in json.loads(said.stdout.splitlines()[-1]):
                clock.send_task(task, queue=queue)
        wait_until(lambda: not self._tasks_under_way(), 120)

    def _tasks_under_way(self) -> int:
        client: Any = self.redis
        return int(client.hlen("unacked")) + sum(client.llen(service) for service in SERVICES)


def expand(tree: Tree) -> None:
    """What a migration may do: the release before does not know it, and does not need it."""
    tree.add_migration(
        "account",
        [
            'op.add_column("users", sa.Column("badge", sa.Text(), server_default="", nullable=False))',
            'op.create_index("ix_users_badge", "users", ["badge"])',
        ],
        doc="A badge. Safe while the previous release still runs: it leaves the column to its default.",
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The release before this code and this code; where nothing was released yet, this code and it with a migration."""
    folder = tmp_path_factory.mktemp("releases")
    ref = previous_release()
    after = Tree.of_here("new", folder / "new-code")
    if ref:
        before = Tree.of(ref, folder / "old-code")
    else:
        before = Tree.of_here("old", folder / "old-code")
        expand(after)
    print(
        f"\nUpgrading from {ref or 'a copy of this code'} to this code{'' if ref else ' with one more migration'}."
    )
    with Pair(before, after, folder) as running:
        yield running.begin()
