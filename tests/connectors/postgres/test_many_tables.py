"""What a table more costs: how many statements it takes in the first Movement, and when nothing has changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import psycopg
import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place

FEW, MANY = 3, 13


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what is sent to the server."""
    counted: Counter[str] = Counter()
    execute, connect = Connection.execute, Connection.connect.__func__  # type: ignore[attr-defined]

    def counting(self: Connection, query: str | bytes, *arguments: object, **options: object) -> object:
        counted["statements"] += 1
        return execute(self, query, *arguments, **options)  # type: ignore[arg-type]

    def connecting(cls: type[Connection], /, *arguments: object, **options: object) -> object:
        counted["connections"] += 1
        return connect(cls, *arguments, **options)

    monkeypatch.setattr(Connection, "execute", counting)
    monkeypatch.setattr(Connection, "connect", classmethod(connecting))
    return counted


async def move_twice(make: Callable[[], Place], asked: Counter[str], tables: int) -> list[Counter[str]]:
    """Move this number of tables; return what was asked in the first Movement, and when nothing had changed."""
    source, copy = make(), make()
    for number in range(tables):
        source.run(
            f"CREATE TABLE t{number} (id int PRIMARY KEY, v text NOT NULL, up int REFERENCES t{max(0, number - 1)})",
            f"CREATE INDEX i{number} ON t{number} (up)",
            f"INSERT INTO t{number} VALUES (1, 'a', 1)",
        )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    found = []
    for _ in range(2):
        asked.clear()
        assert (await movements.move()).status is Status.SUCCESS
        found.append(Counter(asked))
    described = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    assert copy.rows(described) == source.rows(described)
    keys = "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype IN ('f', 'n') ORDER BY 1, 2"
    with psycopg.connect(copy.uri) as connection:
        assert [row for row in connection.execute(keys) if row[0].startswith("t")] == [
            row for row in source.rows(keys) if str(row[0]).startswith("t")
        ]
    return found


async def test_a_table_more_takes_few_statements_and_no_connection(
    make: Callable[[], Place], asked: Counter[str]
) -> None:
    (few, few_again), (many, many_again) = (
        await move_twice(make, asked, FEW),
        await move_twice(make, asked, MANY),
    )
    assert (many["statements"] - few["statements"]) / (MANY - FEW) <= 30
    assert many_again["statements"] - few_again["statements"] == 0
    assert many_again["connections"] == few_again["connections"] <= 4
