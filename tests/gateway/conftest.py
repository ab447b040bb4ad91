"""The two front doors, before echoes of the services; and nginx as in production, before one that writes down."""

from collections.abc import Iterator

import pytest

from tests.gateway.doors import DOORS, Door, door_before_echoes
from tests.gateway.edge import Edge, edge_of


@pytest.fixture(scope="session", params=DOORS)
def door(
    request: pytest.FixtureRequest, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Door]:
    """Each front door in turn, in development, before echoes of all owners."""
    with door_before_echoes(request.param, environment, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(scope="session")
def running_edge(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with edge_of(environment, tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture
def edge(running_edge: Edge) -> Edge:
    """nginx with TLS, and a service that has been asked nothing yet."""
    running_edge.service.asked.clear()
    running_edge.service.is_rid_of_it.clear()
    return running_edge
