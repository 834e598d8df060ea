"""A large table is scanned by two processes; whatever happens to the worker, every row arrives as it is."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import apsw
import pytest
from structlog.testing import capture_logs

from pipeline.assembly import runtime
from pipeline.assembly.commands.move import move
from pipeline.connectors.sqlite import SqliteSource
from pipeline.connectors.sqlite.reading import parallel_scan, rows, source
from pipeline.connectors.sqlite.reading.parallel_scan import ParallelScan
from pipeline.connectors.sqlite.reading.scan_worker import (
    DifferingRows,
    ScannedBlock,
    ScanWorker,
    TableScanner,
)
from pipeline.connectors.sqlite.reading.source import scan_worker_of
from pipeline.domain.event_file import KeyRange
from pipeline.domain.movement import Movement, Status
from pipeline.engine.movements.context import Limits
from pipeline.processes.channel import Reply, Subprocess
from pipeline.settings import Settings
from tests.connectors.sqlite.databases import dump, run, spoil

pytestmark = pytest.mark.slow

COUNT = 6000
RANGE_ROWS = 64
READY_SECONDS = 60.0
KEYED = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, amount)"


@dataclass
class Watched:
    """The kinds of blocks that the worker sent, and what is done to it before it is ready and after each block."""

    sent: Counter[str] = field(default_factory=Counter)
    started: list[ScanWorker] = field(default_factory=list)
    before_waiting: Callable[[], None] = lambda: None
    on_sent: Callable[[], None] = lambda: None


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Small ranges and blocks, and a worker for every table, waited for as soon as it is started."""
    seen = Watched()
    start, read = ScanWorker.start, ScanWorker.read

    def start_and_wait(self: ScanWorker) -> None:
        start(self)
        seen.started.append(self)
        seen.before_waiting()
        wait_until_ready(self)

    async def read_and_count(self: ScanWorker, reply: Reply[ScannedBlock]) -> AsyncGenerator[ScannedBlock, None]:
        async for one in read(self, reply):
            seen.sent[type(one).__name__] += 1
            yield one
            seen.on_sent()

    monkeypatch.setattr(ScanWorker, "start", start_and_wait)
    monkeypatch.setattr(ScanWorker, "read", read_and_count)
    monkeypatch.setattr(source, "LEAST_BYTES", 0)
    monkeypatch.setattr(parallel_scan, "RANGES_TO_START", 12)
    monkeypatch.setattr(parallel_scan, "BATCH_RANGES", 3)
    monkeypatch.setattr(parallel_scan, "LEAST_RANGES", 2)
    monkeypatch.setattr(parallel_scan, "MOST_RANGES", 6)
    monkeypatch.setattr(rows, "BLOCK_ROWS", RANGE_ROWS)
    monkeypatch.setattr(rows, "BATCH_ROWS", RANGE_ROWS)
    limits = runtime.limits

    def small_limits(settings: Settings, *, shard_files: int | None = None) -> Limits:
        return replace(limits(settings, shard_files=shard_files), range_rows=RANGE_ROWS)

    monkeypatch.setattr(runtime, "limits", small_limits)
    return seen


def move_once(root: Path) -> Movement:
    settings = Settings(home=root / "home", import_in_subprocess=False)
    return anyio.run(lambda: move(str(root / "app.db"), str(root / "copy.db"), settings=settings))


def moved(root: Path) -> Movement:
    """Move `app.db` to `copy.db`; both are equal afterwards."""
    movement = move_once(root)
    assert movement.status is Status.SUCCESS, movement.problems
    assert dump(root / "app.db") == {name: found for name, found in dump(root / "copy.db").items() if name[0] != "_"}
    return movement


def build(root: Path, *statements: str, insert: str = "INSERT INTO t VALUES (?, ?, ?)") -> None:
    """Make `app.db` with a table of `COUNT` rows, and move it once."""
    values = [(number, f"name {number}", number / 7) for number in range(0, 10 * COUNT, 10)]
    run(root / "app.db", *statements, insert, values=values)
    moved(root)


def test_of_unchanged_ranges_the_worker_sends_the_digests_only(tmp_path: Path, watched: Watched) -> None:
    build(tmp_path, KEYED)
    assert watched.started == []  # nothing was known, so there was nothing to share
    movement = moved(tmp_path)
    assert movement.totals.upserts == movement.totals.deletes == 0
    assert set(watched.sent) == {"UnchangedRows"}
    assert watched.sent["UnchangedRows"] > COUNT // RANGE_ROWS // 4


@pytest.mark.parametrize(
    ("create", "insert", "column"),
    [
        (KEYED, "INSERT INTO t VALUES (?, ?, ?)", "name"),
        ("CREATE TABLE t (id, name, amount)", "INSERT INTO t VALUES (?, ?, ?)", "name"),
        (
            "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, name, amount) WITHOUT ROWID",
            "INSERT INTO t VALUES (?, ?, ?)",
            "name",
        ),
        (
            "CREATE TABLE t (id INTEGER, name TEXT, amount, PRIMARY KEY (name, id)) WITHOUT ROWID",
            "INSERT INTO t VALUES (?1, 'n' || (?1 / 700), ?3)",
            "amount",
        ),
        (
            "CREATE TABLE t (id BLOB NOT NULL, name TEXT, amount REAL NOT NULL, PRIMARY KEY (amount, id))",
            "INSERT INTO t VALUES (CAST(?1 AS BLOB), ?2, ?3)",
            "name",
        ),
    ],
    ids=["number", "row_number", "text", "two_columns", "real_and_bytes"],
)
def test_exactly_what_changed_is_moved(tmp_path: Path, watched: Watched, create: str, insert: str, column: str) -> None:
    build(tmp_path, create, insert=insert)
    dice = random.Random(create)
    for _ in range(3):
        changed = dice.sample(range(0, 10 * COUNT, 10), 30)
        run(
            tmp_path / "app.db",
            f"UPDATE t SET {column} = {column} || '!' WHERE CAST(id AS INTEGER) = ?",
            values=_each(changed),
        )
        movement = moved(tmp_path)
        assert (movement.totals.upserts, movement.totals.deletes) == (len(changed), 0)
    assert watched.sent["DifferingRows"] > 0
    assert watched.sent["UnchangedRows"] > 0


def _each(numbers: list[int]) -> list[tuple[int]]:
    return [(number,) for number in numbers]


@pytest.mark.parametrize("seed", range(4))
def test_rows_come_go_and_shift_across_the_batches(tmp_path: Path, watched: Watched, seed: int) -> None:
    build(tmp_path, KEYED)
    dice = random.Random(seed)
    for _ in range(3):
        at = dice.randrange(10 * COUNT)
        edits = dice.sample(
            [
                f"DELETE FROM t WHERE id BETWEEN {at} AND {at + dice.choice((30, 900, 9000))}",
                f"DELETE FROM t WHERE id % 70 = {dice.randrange(7) * 10}",
                f"UPDATE t SET amount = -1 WHERE id BETWEEN {at} AND {at + dice.choice((30, 900, 9000))}",
                f"INSERT INTO t SELECT id + 3, 'new', 0 FROM t WHERE id % 10 = 0 AND id BETWEEN {at} AND {at + 5000} "
                "AND NOT EXISTS (SELECT 1 FROM t AS other WHERE other.id = t.id + 3)",
                "INSERT INTO t SELECT min(t.id) - value - 1, 'front', 0 FROM t, json_each('[1, 2, 3]') GROUP BY value",
            ],
            dice.choice((1, 2, 3)),
        )
        before = rows_of(tmp_path / "app.db")
        run(tmp_path / "app.db", *edits)
        after = rows_of(tmp_path / "app.db")
        movement = moved(tmp_path)
        upserts = sum(before.get(key) != row for key, row in after.items())
        assert (movement.totals.upserts, movement.totals.deletes) == (upserts, len(before.keys() - after.keys()))
    assert sum(watched.sent.values()) > 0


def rows_of(path: Path) -> dict[object, tuple[object, ...]]:
    """The rows of the table by their keys."""
    return {row[1]: row for row in dump(path)["t"]}


def test_a_table_that_changed_nearly_everywhere_is_scanned_by_one_process(tmp_path: Path, watched: Watched) -> None:
    build(tmp_path, KEYED)
    run(tmp_path / "app.db", "UPDATE t SET amount = amount + 1")
    assert moved(tmp_path).totals.upserts == COUNT
    assert set(watched.sent) == {"DifferingRows"}
    assert watched.sent["DifferingRows"] < COUNT // RANGE_ROWS // 4


def test_the_batch_of_a_worker_that_is_killed_is_scanned_here(tmp_path: Path, watched: Watched) -> None:
    build(tmp_path, KEYED)
    run(tmp_path / "app.db", "UPDATE t SET name = 'changed' WHERE id % 1000 = 0")

    def kill() -> None:
        process = subprocess_of(watched.started[0]).process
        process.kill()
        process.wait()

    watched.on_sent = kill
    with capture_logs() as logs:
        assert moved(tmp_path).totals.upserts == COUNT // 100
    failed = [log for log in logs if log["event"] == "scan_worker_failed"]
    assert [log["source"] for log in failed] == [SqliteSource(tmp_path / "app.db").location]


def test_rows_that_the_worker_did_not_send_are_read_here(
    tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, KEYED)
    run(tmp_path / "app.db", "UPDATE t SET name = 'changed' WHERE id % 1000 = 0")
    read = ScanWorker.read

    async def without_rows(self: ScanWorker, reply: Reply[ScannedBlock]) -> AsyncGenerator[ScannedBlock, None]:
        async for one in read(self, reply):
            yield replace(one, rows={}) if isinstance(one, DifferingRows) else one

    monkeypatch.setattr(ScanWorker, "read", without_rows)
    assert moved(tmp_path).totals.upserts == COUNT // 100
    assert watched.sent["DifferingRows"] > 0


def test_a_range_that_is_not_the_current_one_any_more_is_scanned_here(
    tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, KEYED)
    monkeypatch.setattr(ParallelScan, "_is_current", lambda self, rows: False)
    assert moved(tmp_path).totals.upserts == 0
    assert watched.sent["UnchangedRows"] > 0


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_worker_that_may_see_another_state_is_not_used(tmp_path: Path, watched: Watched, mode: str) -> None:
    """In the older journal mode nobody can commit while the first one reads, so both always see the same."""
    run(tmp_path / "app.db", f"PRAGMA journal_mode={mode}")
    build(tmp_path, KEYED)

    def commit() -> None:
        late = "import sys, sqlite3; db = sqlite3.connect(sys.argv[1], timeout=0.1, isolation_level=None);"
        late += "db.execute('UPDATE t SET amount = -1')"
        done = subprocess.run([sys.executable, "-c", late, tmp_path / "app.db"], check=False, capture_output=True)
        watched.sent["refused"] = done.returncode

    watched.before_waiting = commit

    movement = move_once(tmp_path)
    assert movement.totals.upserts == 0
    assert bool(watched.sent["refused"]) == (mode == "DELETE")
    assert bool(watched.sent["UnchangedRows"]) == (mode == "DELETE")
    watched.before_waiting = lambda: None
    assert moved(tmp_path).totals.upserts == (COUNT if mode == "WAL" else 0)


def test_a_file_put_in_the_place_of_the_database_is_not_read(tmp_path: Path, watched: Watched) -> None:
    build(tmp_path, KEYED)

    def replace_file() -> None:
        run(tmp_path / "other.db", KEYED, "INSERT INTO t VALUES (1, 'other', 0)")
        (tmp_path / "other.db").rename(tmp_path / "app.db")

    watched.before_waiting = replace_file

    movement = move_once(tmp_path)
    assert (movement.totals.upserts, movement.totals.deletes) == (0, 0)
    assert not watched.sent


@pytest.mark.parametrize(
    "create",
    [
        "CREATE TABLE t (id TEXT COLLATE NOCASE NOT NULL PRIMARY KEY, name, amount)",
        "PRAGMA encoding='UTF-16le'; CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, amount)",
    ],
    ids=["sorted_for_each_batch", "utf16"],
)
def test_a_table_of_which_no_part_is_found_quickly_is_scanned_by_one_process(
    tmp_path: Path, watched: Watched, create: str
) -> None:
    build(tmp_path, create)
    run(tmp_path / "app.db", "UPDATE t SET amount = 0 WHERE name = 'name 50'")
    assert moved(tmp_path).totals.upserts == 1
    assert not watched.sent


def test_text_that_is_not_valid_is_read_by_both_processes(tmp_path: Path, watched: Watched) -> None:
    build(tmp_path, KEYED)
    run(tmp_path / "app.db", "UPDATE t SET name = CAST(x'ff' AS TEXT) WHERE id % 2000 = 0")
    assert moved(tmp_path).totals.upserts == COUNT // 200
    assert moved(tmp_path).totals.upserts == 0
    assert watched.sent["UnchangedRows"] > 0


def test_there_is_no_worker_for_a_database_that_cannot_be_opened(tmp_path: Path, watched: Watched) -> None:
    assert scan_worker_of(tmp_path / "missing.db", 0.01) is None
    run(tmp_path / "app.db", KEYED)
    writer = apsw.Connection(str(tmp_path / "app.db"))
    writer.execute("BEGIN EXCLUSIVE")
    assert scan_worker_of(tmp_path / "app.db", 0.01) is None
    writer.close()
    found = scan_worker_of(tmp_path / "app.db", 0.01)
    assert found is not None
    found.close()


def test_one_table_at_a_time_has_the_worker(tmp_path: Path, watched: Watched) -> None:
    run(tmp_path / "app.db", KEYED)
    worker = ScanWorker(tmp_path / "app.db", 1.0)
    with worker.lent() as one, worker.lent() as other:
        assert one is worker
        assert other is None
    with pytest.raises(KeyError), worker.lent():
        raise KeyError
    with worker.lent() as one:
        assert one is worker
    worker.close()
    with worker.lent() as one:
        assert one is None


async def test_a_worker_that_fails_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    run(path, KEYED, "INSERT INTO t VALUES (?, ?, ?)", values=[(number, "n" * 99, 0) for number in range(2000)])
    spoil(path, 60_000, 90_000)
    worker = ScanWorker(path, 1.0)
    worker.start()
    wait_until_ready(worker)
    assert worker.is_ready()
    async with SqliteSource(path).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
    with capture_logs() as logs:
        _ = [block async for block in worker.read(worker.scan(schema, KeyRange(), ()))]
    assert not worker.is_usable
    assert [log["event"] for log in logs] == ["scan_worker_failed"]
    assert "app.db" in logs[0]["source"]
    assert "it is damaged" in logs[0]["reason"]
    process = subprocess_of(worker).process
    await worker.aclose()
    assert process.returncode is not None


def subprocess_of(worker: ScanWorker) -> Subprocess[TableScanner]:
    """The subprocess of a worker that was started."""
    assert worker._subprocess is not None
    return worker._subprocess


def wait_until_ready(worker: ScanWorker) -> None:
    """Wait until the subprocess has opened the database, or has failed to."""
    assert subprocess_of(worker).connection.poll(READY_SECONDS)
