"""Every series that the running suite shows: of the web processes, the workers, beat and the gateway."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import prometheus_client.parser
import redis
from flask import Flask

from gateway import beat, front
from gateway.settings import GatewaySettings
from libs.observe.metrics import World, exposition
from libs.observe.worker_health import sources_of
from libs.service import parts_of


@dataclass(frozen=True)
class Series:
    """One line of /metrics."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float

    @property
    def label_names(self) -> set[str]:
        return {name for name, _ in self.labels}


def read(text: str) -> list[Series]:
    """The lines of an exposition; refuses one in which a series stands twice."""
    found = [
        Series(sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for family in prometheus_client.parser.text_string_to_metric_families(text)
        for sample in family.samples
    ]
    names = [(series.name, series.labels) for series in found]
    assert len(names) == len(set(names)), "a series stands twice in one exposition"
    return found


def total(series: Iterable[Series], name: str, **labels: str) -> float:
    """The sum of the series of this name that have these labels."""
    return sum(one.value for one in series if one.name == name and set(labels.items()) <= set(one.labels))


def of_web(app: Flask) -> list[Series]:
    """What a web process of the service shows on its own port."""
    answer = app.test_client().get("/metrics")
    assert answer.status_code == 200
    return read(answer.get_data(as_text=True))


def of_worker(app: Flask) -> list[Series]:
    """What the worker of the service shows on its port."""
    parts = parts_of(app)
    for task in parts.tasks.functions:
        parts.metrics.declare_task(task)  # as create_worker() does
    return read(exposition([parts.metrics.registry], World(sources_of(app))).decode())


def of_beat(client: redis.Redis) -> list[Series]:
    return read(exposition([], World(beat.sources(client))).decode())


def of_gateway(apps: Iterable[Flask]) -> list[Series]:
    """What the gateway's own app shows, which sees these services."""
    from gateway.health import in_process

    app = front.create_app(
        GatewaySettings.load(), sources=in_process({parts_of(app).name: app for app in apps})
    )
    app.test_client().get("/")  # one request, so that its time is there
    return of_web(app)


def everything(apps: list[Flask]) -> Iterator[Series]:
    """All of it, after each web process has answered one request."""
    for app in apps:
        app.test_client().get(f"/no-such-page-{time.time_ns()}")
        yield from of_web(app)
        yield from of_worker(app)
    yield from of_beat(parts_of(apps[0]).redis)
    yield from of_gateway(apps)
