"""A server that cannot write: its error is reported, nothing is half-applied, and the same command carries on.

Space runs out for real: a table's file is replaced by /dev/full, on which every write fails as on a full disk; a backend's files
may not grow; the room for temporary files is limited.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.domain.errors import RefusedError
from pipeline.domain.movement import Status
from pipeline.ports.destination import Loaded
from tests.connectors.postgres.loading import FLOW, file, schema, upsert
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place
from tests.connectors.postgres.reading import read_all

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full and no prlimit")
MEBIBYTE = 1 << 20
LARGEST_FILE = 16 * MEBIBYTE
"""At least a segment of the write-ahead log: the same process writes it, and an error there ends the server."""

CROWDED = ("temp_file_limit = '1MB'", "work_mem = '64kB'", "maintenance_work_mem = '1MB'")
"""Enough room to read the catalog, and too little to sort 30,000 rows."""


@contextmanager
def no_space_left(place: Place, table: str) -> Iterator[None]:
    """Replace an empty table's file by one that cannot be written, for connections that are opened meanwhile."""
    place.run("CHECKPOINT")  # so that the server itself writes nothing there
    ((directory, path),) = place.rows(f"SELECT current_setting('data_directory'), pg_relation_filepath('{table}')")
    data = Path(str(directory), str(path))
    saved = data.with_name(f"{data.name}.saved")
    data.rename(saved)
    data.symlink_to("/dev/full")
    try:
        yield
    finally:
        saved.replace(data)


@contextmanager
def crowded(place: Place) -> Iterator[None]:
    """Limit temporary files to next to nothing, for sessions that start meanwhile."""
    ((name,),) = place.rows("SELECT current_database()")
    place.run(*[f'ALTER DATABASE "{name}" SET {setting}' for setting in CROWDED])
    try:
        yield
    finally:
        place.run(f'ALTER DATABASE "{name}" RESET ALL')


def limit_file_size(process_id: int, size: int) -> None:
    """Let no file that the process writes grow beyond `size`. Runs as the user of the process if that is another one."""
    owner = psutil.Process(process_id).uids().real
    if owner == os.getuid():
        resource.prlimit(process_id, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    else:
        limit = "unlimited" if size == resource.RLIM_INFINITY else str(size)
        subprocess.run(["prlimit", f"--pid={process_id}", f"--fsize={limit}:"], user=owner, check=True, timeout=30)


async def test_a_full_disk_at_the_destination_stops_one_table_and_the_next_movement_goes_on(
    make: Callable[[], Place],
) -> None:
    source, destination = make(), make()
    source.run(
        "CREATE TABLE item (id int PRIMARY KEY, v text)",
        "CREATE TABLE other (id int PRIMARY KEY)",
        "INSERT INTO item SELECT n, 'x' FROM generate_series(1, 3000) AS n",
        "INSERT INTO other SELECT generate_series(1, 3000)",
    )
    destination.run("CREATE TABLE item (id int PRIMARY KEY, v text)")
    movements = Movements(PostgresSource(source.uri), PostgresDestination(destination.uri))
    with no_space_left(destination, "item"):
        movement = await movements.move()
    assert movement.status is Status.INCOMPLETE
    (problem,) = movement.problems
    assert f"{movements.destination.location}, stream item: the server's disk is full; free some space there" in problem
    assert "No space left on device" in problem
    counts = "SELECT (SELECT count(*) FROM item), (SELECT count(*) FROM other), (SELECT count(*) FROM _pipeline.marks)"
    assert destination.rows(counts) == [(0, 3000, 1)]
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert destination.rows(counts) == [(3000, 3000, 2)]


async def test_a_file_that_may_not_grow_is_not_reported_as_a_defect(make: Callable[[], Place]) -> None:
    place, stream = make(), schema({"id": "integer", "v": "text"})
    lines = [upsert(id=n, v="x" * 1000) for n in range(20_000)]
    async with PostgresDestination(place.uri).open(FLOW) as session:
        ((backend,),) = place.rows(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert isinstance(backend, int)
        limit_file_size(backend, LARGEST_FILE)
        with pytest.raises(
            RefusedError, match=r"stream item: .* check its disk, quotas, limits and log.*File too large"
        ):
            await session.load(file(stream, lines, full=True), after=[])
        assert await session.marks() == {}
        assert place.rows("SELECT count(*) FROM item") == [(0,)]
        limit_file_size(backend, resource.RLIM_INFINITY)
        assert isinstance(await session.load(file(stream, lines, full=True), after=[]), Loaded)
    assert place.rows("SELECT count(*) FROM item") == [(20_000,)]


async def test_a_movement_without_room_for_its_indexes_is_resumed(make: Callable[[], Place]) -> None:
    source, destination = make(), make()
    source.run(
        "CREATE TABLE item (id int PRIMARY KEY, v text)",
        "INSERT INTO item SELECT n, repeat(md5(n::text), 2) FROM generate_series(1, 30000) AS n",
        "CREATE INDEX item_v ON item (v)",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(destination.uri))
    with crowded(destination), pytest.raises(RefusedError, match=r"a limit .* is reached; raise it .*temp_file_limit"):
        await movements.move()
    assert destination.rows("SELECT count(*) FROM item") == [(30_000,)]
    movement = await movements.move()
    assert (movement.number, movement.status, movement.problems) == (1, Status.SUCCESS, ())
    assert destination.rows("SELECT count(*) FROM pg_indexes WHERE indexname = 'item_v'") == [(1,)]


async def test_a_source_without_room_to_sort_is_named_and_the_movement_resumed(make: Callable[[], Place]) -> None:
    source, destination = make(), make()
    source.run(
        "CREATE TABLE loose (v text)",
        "INSERT INTO loose SELECT md5(n::text) FROM generate_series(1, 30000) AS n",
        "CREATE TABLE sorted (id int PRIMARY KEY)",
        "INSERT INTO sorted VALUES (1)",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(destination.uri))
    with crowded(source), pytest.raises(RefusedError, match=r"table loose: a limit .* is reached; raise it") as caught:
        await movements.move()
    assert str(caught.value).startswith(movements.source.location)
    movement = await movements.move()
    assert (movement.number, movement.status, movement.problems) == (1, Status.SUCCESS, ())
    assert destination.rows("SELECT count(*) FROM loose") == [(30_000,)]
    assert len((await read_all(PostgresSource(destination.uri)))["loose"].rows) == 30_000
