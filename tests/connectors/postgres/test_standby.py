"""A hot standby as a source: it is read like any other server, except for what it does not have or must remove."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.postgres.reading import ranges
from pipeline.domain.errors import RefusedError, TransientError, UnreadableError
from pipeline.domain.movement import Status
from tests.connectors.postgres.loading import FLOW
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place
from tests.connectors.postgres.reading import read_all
from tests.contracts.source import read_stream
from tests.servers.fixtures import serving
from tests.servers.postgresql import PostgresqlServer, standby

PATIENCE_SECONDS = 30.0
RESERVED = 33
"""A primary sends its standbys the numbers of a sequence 32 ahead."""


@pytest.fixture(scope="module")
def follower(postgresql: PostgresqlServer) -> Iterator[PostgresqlServer]:
    """A standby with all its databases."""
    yield from serving(standby(postgresql))


def followed(place: Place, follower: PostgresqlServer) -> Place:
    """Return the database on the standby, once everything written to it has arrived there."""
    ((written,), (name,)) = place.rows("SELECT pg_current_wal_lsn()::text UNION ALL SELECT current_database()::text")
    wait_until(follower.uri("postgres"), "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written)
    return Place(follower.uri(str(name)))


def wait_until(uri: str, query: str, *parameters: object) -> None:
    """Run the query until it returns true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with psycopg.connect(uri, autocommit=True) as connection:
        while connection.execute(query.encode(), parameters or None).fetchone() != (True,):
            assert time.monotonic() < deadline, query
            time.sleep(0.01)


async def test_a_standby_is_read_in_one_snapshot_by_several_connections(
    make: Callable[[], Place], follower: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, destination = make(), make()
    source.run(
        "CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text UNIQUE)",
        "CREATE TABLE loose (a int)",
        "INSERT INTO item (v) SELECT n::text FROM generate_series(1, 20000) AS n",
        "INSERT INTO loose VALUES (1), (1)",
    )
    copy = followed(source, follower)
    monkeypatch.setattr(ranges, "RANGE_ROWS", 1000)
    movements = Movements(PostgresSource(copy.uri), PostgresDestination(destination.uri))
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    source.run("DELETE FROM item WHERE id > 19990", "INSERT INTO loose VALUES (2)")
    followed(source, follower)
    movement = await movements.move()
    assert (movement.status, movement.totals.upserts, movement.totals.deletes) == (Status.SUCCESS, 1, 10)
    for query in ("SELECT * FROM item ORDER BY id", "SELECT * FROM loose ORDER BY a"):
        assert destination.rows(query) == source.rows(query)
    ((number,),) = destination.rows("INSERT INTO item (v) VALUES ('new') RETURNING id")
    assert number in range(20_001, 20_001 + RESERVED)


async def test_tables_that_a_standby_does_not_have_are_named(
    make: Callable[[], Place], follower: PostgresqlServer
) -> None:
    place = make()
    place.run("CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY)", "INSERT INTO fleeting VALUES (1)")
    copy = followed(place, follower)
    with pytest.raises(UnreadableError, match=r"UNLOGGED, .*name the primary .*--exclude"):
        await read_all(PostgresSource(copy.uri))


async def test_a_standby_that_must_recover_ends_the_export_and_says_how_to_prevent_it(
    make: Callable[[], Place], follower: PostgresqlServer
) -> None:
    place = make()
    place.run("CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item SELECT generate_series(1, 1000)")
    copy = followed(place, follower)
    copy.run("ALTER SYSTEM SET max_standby_streaming_delay = 0", "SELECT pg_reload_conf()")
    async with PostgresSource(copy.uri).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        place.run("DELETE FROM item", "VACUUM item")
        conflicts = "SELECT confl_snapshot > 0 FROM pg_stat_database_conflicts WHERE datname = current_database()"
        wait_until(copy.uri, conflicts)
        with pytest.raises(TransientError, match=r"table item: .*hot_standby_feedback = on"):
            await read_stream(snapshot, schema)
    copy.run("ALTER SYSTEM RESET max_standby_streaming_delay", "SELECT pg_reload_conf()")
    assert (await read_all(PostgresSource(copy.uri)))["item"].rows == []


async def test_a_standby_cannot_be_a_destination(make: Callable[[], Place], follower: PostgresqlServer) -> None:
    copy = followed(make(), follower)
    with pytest.raises(RefusedError, match=r"it is read-only \(a standby.*name the primary server"):
        async with PostgresDestination(copy.uri).open(FLOW):
            pass
