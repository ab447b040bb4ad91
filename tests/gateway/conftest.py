"""The two front doors, before echoes of the services."""

from collections.abc import Iterator

import pytest

from tests.gateway.doors import DOORS, Door, door_before_echoes


@pytest.fixture(scope="session", params=DOORS)
def door(
    request: pytest.FixtureRequest, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Door]:
    """Each front door in turn, in development, before echoes of all owners."""
    with door_before_echoes(request.param, environment, tmp_path_factory.mktemp(request.param)) as running:
        yield running
