"""What a source makes of odd tables, and of files that cannot be read."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import apsw
import orjson
import pytest

from pipeline.connectors.sqlite import SqliteSource
from pipeline.connectors.sqlite.reading import blocks as blocks_module
from pipeline.connectors.sqlite.reading import rows as rows_module
from pipeline.connectors.sqlite.reading.blocks import RowForm, SqliteRowBlock
from pipeline.domain.errors import ConfigurationError, DamagedError, TransientError, UnreadableError
from pipeline.domain.keys import Key
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.ranged_source import KnownRange
from pipeline.ports.source import UpsertSink
from tests.connectors.sqlite.databases import copy, dump, rows, run, spoil
from tests.contracts.source import StreamContent, read_first, read_stream


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "source.db"


async def streams(path: Path) -> list[StreamSchema]:
    async with SqliteSource(path).open_snapshot() as snapshot:
        return list(await snapshot.streams())


async def test_the_tables_of_an_app_and_the_shadow_tables_of_virtual_ones_are_streams(path: Path) -> None:
    run(
        path,
        "CREATE TABLE b (a INTEGER PRIMARY KEY AUTOINCREMENT)",
        "CREATE TABLE Ä (a)",
        'CREATE TABLE "select ""all""; --" (a)',
        "CREATE TABLE _pipeline_marks (flow TEXT, event_file TEXT)",
        "CREATE TABLE _pipeline_streams (an_app, has_it)",
        "CREATE TABLE _Pipeline_x (a)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE VIRTUAL TABLE f USING fts5(a)",
        "CREATE VIRTUAL TABLE r USING rtree(id, x, y)",
    )
    shadows = ["f_config", "f_content", "f_data", "f_docsize", "f_idx", "r_node", "r_parent", "r_rowid"]
    found = [schema.stream for schema in await streams(path)]
    assert found == ["@schema", "_Pipeline_x", "_pipeline_streams", "b", *shadows, 'select "all"; --', "Ä"]


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ("a INTEGER PRIMARY KEY, b", ("a",)),
        ("a, b, PRIMARY KEY (b, a)) WITHOUT ROWID --", ("b", "a")),
        ("a NOT NULL, b NOT NULL, PRIMARY KEY (b DESC, a)", ("b", "a")),
        ("a ANY, b ANY, PRIMARY KEY (b, a)) STRICT --", ("b", "a")),
        ("a, b, PRIMARY KEY (b, a)", ("rowid",)),
        ("a TEXT PRIMARY KEY", ("rowid",)),
        ("a INTEGER PRIMARY KEY DESC", ("rowid",)),
        ("a, b", ("rowid",)),
        ("rowid, b", ("_rowid_",)),
        ("ROWID, _RowId_", ("oid",)),
    ],
)
async def test_the_primary_key_identifies_a_row_unless_it_may_be_null(
    path: Path, columns: str, key: tuple[str, ...]
) -> None:
    run(path, f"CREATE TABLE t ({columns}\n)" if "--" not in columns else f"CREATE TABLE t ({columns}")
    (schema,) = await streams(path)
    assert schema.primary_keys == key


async def test_a_table_whose_columns_hide_every_row_number_is_listed_and_cannot_be_read(path: Path) -> None:
    run(path, "CREATE TABLE t (rowid, _rowid_, oid)", "CREATE TABLE u (a)")
    async with SqliteSource(path).open_snapshot() as snapshot:
        t, u = await snapshot.streams()
        with pytest.raises(UnreadableError, match=r"hide rowid.*--exclude"):
            async with snapshot.open_rows(t):
                pass
        assert (await read_stream(snapshot, u)).keys == []


async def test_columns_are_described_as_they_are_declared(path: Path) -> None:
    run(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n VARCHAR(10) NOT NULL DEFAULT 'x''y', r DOUBLE, b BLOB, d DATETIME "
        "DEFAULT CURRENT_TIMESTAMP, a, g AS (n || r))",
    )
    (schema,) = await streams(path)
    assert schema.columns == (
        Column("id", "integer", True, "INTEGER"),
        Column("n", "text", False, "VARCHAR(10)", "'x''y'"),
        Column("r", "real", True, "DOUBLE"),
        Column("b", "bytes", True, "BLOB"),
        Column("d", "any", True, "DATETIME", "CURRENT_TIMESTAMP"),
        Column("a", "any", True, ""),
    )


async def test_a_large_table_is_read_in_the_order_of_its_key_without_sorting(path: Path) -> None:
    run(path, "CREATE TABLE t (a TEXT NOT NULL, b INT NOT NULL, PRIMARY KEY (a DESC, b DESC)) WITHOUT ROWID")
    run(path, "INSERT INTO t VALUES (?, ?)", values=[(f"{n % 97}", n) for n in range(10_000)])
    content = await read_first(SqliteSource(path))
    assert content.keys == sorted(content.keys, key=lambda key: (str(key[0]), key[1]))
    plan = rows(path, "EXPLAIN QUERY PLAN SELECT * FROM t ORDER BY t.a, t.b")
    assert "TEMP B-TREE" not in str(plan) or "LAST" in str(plan)


async def lines_of(path: Path, wanted: Callable[[int, int], Sequence[int]]) -> list[bytes]:
    """Return the lines of the positions `wanted` of each block, given its number and its size."""
    found: list[bytes] = []
    store = StreamContent().store
    async with SqliteSource(path).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        async with snapshot.open_rows(schema) as blocks:
            number = 0
            async for block in blocks:
                found += (await block.upserts(wanted(number, len(block)), UpsertSink(store))).split(b"\n")[:-1]
                number += 1
    return found


@pytest.mark.parametrize("spoilt", [False, True])
async def test_lines_made_while_rows_are_read_equal_those_made_later(
    path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: bool
) -> None:
    """Once most rows of a block were wanted, the lines of the next are made while it is read."""
    made: list[int] = []
    lines = RowForm.lines

    def counted(self: RowForm, of: Sequence[tuple[object, ...]], *, arrays: bool) -> bytes:
        made.append(len(of))
        return lines(self, of, arrays=arrays)  # type: ignore[arg-type]

    monkeypatch.setattr(rows_module, "BLOCK_ROWS", 100)
    monkeypatch.setattr(RowForm, "lines", counted)
    others = [None, 1.5, b"\r\n", math.inf, -(2**63)]
    values = [(n, f"text\r\n\u2028\x85 {n}", others[n % 5]) for n in range(2000)]
    run(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)", "INSERT INTO t VALUES (?, ?, ?)", values=values)
    if spoilt:
        run(path, "UPDATE t SET a = CAST(x'ff0d0a' AS TEXT) WHERE id IN (777, 1500)")

    def third(_: int, size: int) -> Sequence[int]:
        return range(0, size, 3)

    def most_then_all(number: int, size: int) -> Sequence[int]:
        return range(size) if number % 2 else [at for at in range(size) if at % 3 == 0 or at % 3 == 1]

    thirds = await lines_of(path, third)
    assert max(made) < 50
    assert sum(made) == len(thirds)
    made.clear()
    found = await lines_of(path, most_then_all)
    assert sum(made) > len(found)  # some were made in advance and not asked for
    expected = await lines_of(path, lambda _, size: range(size))
    assert len(expected) == 2000
    assert set(thirds) < set(expected)
    assert set(found) < set(expected)
    numbers = [orjson.loads(line)["upsert"]["id"] for line in found]
    assert found == [expected[number] for number in numbers]
    assert numbers == sorted(set(numbers))


async def test_a_writer_continues_while_a_database_in_wal_mode_is_read(path: Path) -> None:
    run(path, "PRAGMA journal_mode=WAL", "CREATE TABLE t (a INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    async with SqliteSource(path).open_snapshot() as snapshot:
        schema = (await snapshot.streams())[0]
        run(path, "INSERT INTO t VALUES (2)", "CREATE TABLE u (a)")
        assert (await read_stream(snapshot, schema)).keys == [(1,)]
        assert len(await snapshot.streams()) == 1
    assert (await read_first(SqliteSource(path))).keys == [(1,), (2,)]


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
async def test_a_snapshot_lasts_while_others_are_opened_and_closed(path: Path, mode: str) -> None:
    """A process that closes a descriptor of a file loses all its locks on it, whichever connection they were for."""
    run(path, f"PRAGMA journal_mode={mode}", "CREATE TABLE t (a INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    write = "import sys, sqlite3; db = sqlite3.connect(sys.argv[1], 0.1); db.execute('INSERT INTO t VALUES (2)'); db.commit()"
    async with SqliteSource(path).open_snapshot() as snapshot:
        schema = (await snapshot.streams())[0]
        assert (await read_first(SqliteSource(path))).keys == [(1,)]
        done = await anyio.run_process([sys.executable, "-c", write, str(path)], check=False)
        assert (done.returncode == 0) == (mode == "WAL")
        assert (await read_stream(snapshot, schema)).keys == [(1,)]
    assert (await read_first(SqliteSource(path))).keys == ([(1,), (2,)] if mode == "WAL" else [(1,)])


async def test_a_locked_database_is_a_passing_condition(path: Path) -> None:
    run(path, "CREATE TABLE t (a)")
    writer = apsw.Connection(str(path))
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TransientError, match=r"source\.db"):
        async with SqliteSource(path, busy_timeout_seconds=0.05).open_snapshot():
            pass
    writer.close()


@pytest.mark.parametrize("content", [b"just a text, long enough to be no header" * 100, b"SQLite"])
def test_a_file_of_another_kind_is_named(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"source\.db is not an SQLite database"):
        anyio.run(streams, path)


async def test_a_directory_is_not_a_database(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a file"):
        await streams(tmp_path)


def test_an_empty_file_is_an_empty_database(path: Path) -> None:
    path.touch()
    assert anyio.run(streams, path) == []


async def test_a_damaged_page_concerns_its_table(path: Path) -> None:
    run(path, "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    run(path, "INSERT INTO t VALUES (?, ?)", values=[(n, "x" * 500) for n in range(500)])
    spoil(path, 8192, -4096)
    with pytest.raises(UnreadableError, match=r"it is damaged; restore"):
        await read_first(SqliteSource(path))


async def test_a_damaged_schema_is_reported_with_the_file(path: Path) -> None:
    run(path, "CREATE TABLE t (a)")
    spoil(path, 100)
    with pytest.raises(DamagedError, match=r"source\.db: the database is damaged"):
        await streams(path)


@pytest.mark.parametrize("name", ["a b.db", "100%25.db", "q?mode=memory.db", "h#x.db", "日本.db", "ü&cache=shared.db"])
async def test_any_file_name_is_opened_as_it_is(tmp_path: Path, name: str) -> None:
    source, destination = tmp_path / name, tmp_path / "copies" / name
    destination.parent.mkdir()
    run(source, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    await copy(source, destination)
    assert dump(destination) == dump(source)
    assert [entry.name for entry in destination.parent.iterdir()] == [name]


async def test_a_name_that_is_not_utf8_is_opened_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "plain.db").touch()
    run(tmp_path / "plain.db", "CREATE TABLE t (a)")
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.db"))
    (tmp_path / "plain.db").rename(path)
    assert [schema.stream for schema in await streams(path)] == ["t"]


UNPRIVILEGED = """
import anyio, os, sys
from pathlib import Path
from pipeline.connectors.sqlite import SqliteSource
from tests.contracts.source import read_stream
async def main():
    os.setgid(65534), os.setuid(65534)
    async with SqliteSource(Path(sys.argv[1])).open_snapshot() as snapshot:
        for schema in await snapshot.streams():
            print((await read_stream(snapshot, schema)).keys)
            if len(sys.argv) > 2:
                print("touch", flush=True)
                sys.stdin.readline()
                await read_stream(snapshot, schema)
try:
    anyio.run(main)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user who may not write")
def test_a_database_in_wal_mode_is_read_from_a_directory_that_is_not_writable(readable_by_all: Path) -> None:
    path = _database(readable_by_all)
    assert _as_unprivileged(path) == "[(1,)]\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user who may not write")
def test_a_log_that_cannot_be_read_is_an_error(readable_by_all: Path) -> None:
    path = _database(readable_by_all)
    path.with_name("source.db-wal").write_bytes(b"something")
    assert _as_unprivileged(path).startswith(("ConfigurationError", "RefusedError"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user who may not write")
def test_a_write_during_a_read_without_locks_is_noticed(readable_by_all: Path) -> None:
    path = _database(readable_by_all)
    reader = subprocess.Popen(
        [sys.executable, "-c", UNPRIVILEGED, str(path), "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "[(1,)]\n"
        assert reader.stdout.readline() == "touch\n"
        run(path, "INSERT INTO t VALUES (2)")
        answer, _ = reader.communicate("go\n", timeout=20)
    assert answer.startswith("TransientError")


def _database(directory: Path) -> Path:
    path = directory / "source.db"
    run(path, "PRAGMA journal_mode=WAL", "CREATE TABLE t (a INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    return path


def _as_unprivileged(path: Path) -> str:
    command = [sys.executable, "-c", UNPRIVILEGED, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


async def test_a_row_whose_line_would_be_too_long_is_rejected(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "LARGE_BLOCK_BYTES", 4000)
    monkeypatch.setattr(blocks_module, "MAX_LINE_BYTES", 8000)
    run(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, small TEXT, large BLOB)")
    run(path, "INSERT INTO t VALUES (?, 'x', ?)", values=[(1, b"1"), (2, b"2" * 6001), (3, b"3" * 3000)])
    sink = UpsertSink(StreamContent().store)
    async with SqliteSource(path).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        async with snapshot.open_rows(schema) as blocks:
            lines = [await block.upserts(range(len(block)), sink) async for block in blocks]
    assert [orjson.loads(line)["upsert"]["id"] for line in b"".join(lines).splitlines()] == [1, 3]
    ((position, rejection),) = sink.rejected.items()
    assert (position, rejection.column) == (1, "large")
    assert "8,002 bytes in an Event File" in rejection.reason


async def test_a_block_of_large_rows_after_many_small_ones_is_bounded(path: Path) -> None:
    large = rows_module.LARGE_VALUE_BYTES + 1
    run(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, b)")
    values: list[tuple[int, object]] = [(n, b"x" * large if n % 3 else "text") for n in range(300, 330)]
    run(path, "INSERT INTO t VALUES (?, ?)", values=[*((n, "small") for n in range(300)), *values])
    async with SqliteSource(path).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        sizes: list[int] = []
        keys: list[Key] = []
        async with snapshot.open_rows(schema) as blocks:
            async for block in blocks:
                keys += block.keys()
                sizes.append(len(await block.upserts(range(len(block)), UpsertSink(StreamContent().store))))
    assert keys == [(n,) for n in range(330)]
    assert max(sizes) < 2 * (rows_module.BLOCK_BYTES + large)


async def test_a_table_of_one_block_is_read_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = rows_module.TableReading.read

    def counted(self: rows_module.TableReading, known: KnownRange | None) -> SqliteRowBlock | None:
        block = read(self, known)
        reads.append(0 if block is None else len(block.keys()))
        return block

    monkeypatch.setattr(rows_module.TableReading, "read", counted)
    run(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    await read_first(SqliteSource(path))
    assert reads == [2]
