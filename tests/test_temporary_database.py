"""What is kept in the temporary directory and has no room there is one message with the way out."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing

import anyio
import pytest

from pipeline.domain.errors import RefusedError
from pipeline.domain.ids import BinaryId, FlowName, StreamName
from pipeline.engine.storage.key_set import KeySet
from pipeline.kit.ledger.index import Entry, Index
from pipeline.kit.reading.contents.versions import ContentVersions
from pipeline.temporary_database import TemporaryDatabase
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.connectors.files.test_adversity import largest_file

LARGEST = 1_000_000
WAY_OUT = r"^Rows cannot be kept on disk while they are read: .*\. Make room in the temporary directory, or .* TMPDIR"


def _text(number: int, length: int = 1000) -> str:
    return f"{number}{secrets.token_hex(length // 2)}"


def fill_index(number: int) -> None:
    with closing(Index()) as index:
        for at in range(number):
            index.add([Entry("things", _text(at * 1000 + one), 1, "", b"") for one in range(1000)])


def index_places(number: int) -> None:
    with closing(Index()) as index:
        index.add([Entry("things", str(at), 1, _text(at), b"") for at in range(6000)])
        index.find("things", "")


def fill_key_set(number: int) -> None:
    with KeySet() as keys:
        for _ in range(number):
            keys.update(secrets.token_bytes(1000) for _ in range(5000))


def fill_versions(number: int) -> None:
    async def fill() -> None:
        versions = ContentVersions(MemoryObjectStore(), FlowName("f"), StreamName("s"), 1)
        for at in range(number * 1000):
            versions.note((_text(at),), "photo", "1", BinaryId("0" * 64))
        with closing(versions):
            await versions.commit()

    anyio.run(fill)


@pytest.mark.parametrize("fill", [fill_index, index_places, fill_key_set, fill_versions])
def test_a_full_temporary_directory_is_named_with_the_way_out(fill: Callable[[int], None]) -> None:
    with largest_file(LARGEST), pytest.raises(RefusedError, match=WAY_OUT):
        fill(12)


def test_later_errors_of_a_database_without_room_name_the_first_one() -> None:
    with closing(TemporaryDatabase("CREATE TABLE t (a)", 100)) as database:
        with largest_file(LARGEST), pytest.raises(RefusedError) as first:
            database.run_all("INSERT INTO t VALUES (?)", ((_text(at),) for at in range(5000)))
        with pytest.raises(RefusedError) as second:
            database.run_all("INSERT INTO t VALUES (?)", [(1,)])
    assert str(second.value) == str(first.value)


def test_an_error_that_is_not_about_room_is_raised_as_it_is_and_ends_nothing() -> None:
    with closing(TemporaryDatabase("CREATE TABLE t (a)", 100)) as database:
        with pytest.raises(sqlite3.OperationalError, match="no such table: other"):
            database.run("INSERT INTO other VALUES (1)")
        database.run("INSERT INTO t VALUES (1)")
        assert database.rows("SELECT a FROM t") == [(1,)]
