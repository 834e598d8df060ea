"""Fixtures of the PostgreSQL connector's tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tests.connectors.postgres.owners import owned_place
from tests.connectors.postgres.places import Place
from tests.connectors.postgres.schema_changes import Moved, move_twice
from tests.servers.postgresql import PostgresqlServer


@pytest.fixture
def place(make: Callable[[], Place]) -> Place:
    """An empty database."""
    return make()


@pytest.fixture
def places(postgresql: PostgresqlServer) -> Iterator[tuple[Place, Place]]:
    """An empty database as its superuser sees it, and as its owner does."""
    with owned_place(postgresql) as both:
        yield both


@pytest.fixture(scope="module")
def moved(postgresql: PostgresqlServer, request: pytest.FixtureRequest) -> Moved:
    """The databases of the module's `CASES` after two Movements."""
    return asyncio.run(move_twice(postgresql, request.module.CASES))
