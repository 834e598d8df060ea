"""PostgreSQL fulfils the contract of a source, with several kinds of tables."""

from __future__ import annotations

import pytest

from pipeline.connectors.postgres import PostgresSource
from pipeline.connectors.postgres.reading import ranges
from tests.connectors.postgres.places import Place, place_factory
from tests.contracts.source import SourceContract, SourceWorld
from tests.servers.postgresql import PostgresqlServer

WORLDS = {
    "a number as the key": "CREATE TABLE a (id int PRIMARY KEY, n int, v text)",
    "a key of two columns, of which one needs sorting": (
        "CREATE TABLE a (id bigint, d timestamptz DEFAULT '2024-01-01', n int, v text, PRIMARY KEY (d, id))"
    ),
    "partitions": (
        "CREATE TABLE a (id bigint PRIMARY KEY, n int, v text) PARTITION BY HASH (id);"
        "CREATE TABLE a1 PARTITION OF a FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE a2 PARTITION OF a FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
    ),
}
ROWS = "INSERT INTO a (id, n, v) SELECT n, n, 'value ' || n FROM generate_series(1, 1000) AS n"


@pytest.fixture(scope="module", params=list(WORLDS))
def place(postgresql: PostgresqlServer, request: pytest.FixtureRequest) -> Place:
    """A database whose first table is one of `WORLDS`; shared, because no test needs its original state."""
    place = place_factory(postgresql)()
    place.run(*WORLDS[request.param].split(";"), ROWS, "CREATE TABLE b (id uuid PRIMARY KEY)", "ANALYZE")
    return place


class TestPostgresSource(SourceContract):
    @pytest.fixture
    def world(self, place: Place, postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch) -> SourceWorld:
        monkeypatch.setattr(ranges, "RANGE_ROWS", 200)
        return SourceWorld(
            source=PostgresSource(place.uri),
            again=PostgresSource(place.uri),
            missing=PostgresSource(postgresql.uri("missing")),
            change_one_row=lambda: place.run("UPDATE a SET v = v || '!' WHERE n = 500"),
            is_isolated=True,
        )
