"""Fixtures of the connectors' tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.connectors.postgres.places import Place, place_factory
from tests.servers.postgresql import PostgresqlServer


@pytest.fixture
def make(postgresql: PostgresqlServer) -> Callable[[], Place]:
    """A function that creates an empty PostgreSQL database."""
    return place_factory(postgresql)
