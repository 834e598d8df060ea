"""A large table is read by two processes, and whatever becomes of the second, every row arrives as it is."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread

import anyio
import apsw
import pytest
from structlog.testing import capture_logs

from pipeline.assembly import runtime
from pipeline.assembly.commands.move import move
from pipeline.connectors.sqlite import SqliteSource
from pipeline.connectors.sqlite.reading import parallel_scan as by_turns
from pipeline.connectors.sqlite.reading import rows
from pipeline.connectors.sqlite.reading import scan_worker as second_reader
from pipeline.connectors.sqlite.reading.scan_worker import ScanWorker, ScanWorkerGoneError
from pipeline.connectors.sqlite.reading.scan_worker_process import Changed, Differing, Stretch
from pipeline.domain.event_file import KeyRange
from pipeline.domain.movement import Movement, Status
from pipeline.engine.movements.context import Limits
from pipeline.ports.ranged_source import KnownRange, UnchangedRows
from pipeline.settings import Settings
from tests.connectors.sqlite.databases import dump, run, spoil

COUNT = 6000
RANGE_ROWS = 64
READY_SECONDS = 60.0
KEYED = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, amount)"


@dataclass
class Watched:
    """What the second reader told, and what was done to it before it was waited for."""

    told: Counter[str] = field(default_factory=Counter)
    started: list[ScanWorker] = field(default_factory=list)
    before_waiting: Callable[[], None] = lambda: None
    on_told: Callable[[], None] = lambda: None


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Small ranges and blocks, a second reader for every table, waited for as soon as it is started."""
    seen = Watched()
    start, told = ScanWorker.start, ScanWorker.told

    def start_and_wait(self: ScanWorker) -> None:
        start(self)
        seen.started.append(self)
        seen.before_waiting()
        assert self._line is not None
        assert self._line.poll(READY_SECONDS)

    async def tell(self: ScanWorker) -> AsyncGenerator[UnchangedRows | Differing | Changed, None]:
        async for one in told(self):
            seen.told[type(one).__name__] += 1
            yield one
            seen.on_told()

    monkeypatch.setattr(ScanWorker, "start", start_and_wait)
    monkeypatch.setattr(ScanWorker, "told", tell)
    monkeypatch.setattr(second_reader, "WORTHWHILE_BYTES", 0)
    monkeypatch.setattr(by_turns, "RANGES_TO_START", 12)
    monkeypatch.setattr(by_turns, "STRETCH_RANGES", 3)
    monkeypatch.setattr(by_turns, "LEAST_RANGES", 2)
    monkeypatch.setattr(by_turns, "MOST_RANGES", 6)
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


def test_of_an_unchanged_table_the_second_reader_tells_only_that(tmp_path: Path, watched: Watched) -> None:
    build(tmp_path, KEYED)
    assert watched.started == []  # nothing was known, so there was nothing to share
    movement = moved(tmp_path)
    assert movement.totals.upserts == movement.totals.deletes == 0
    assert set(watched.told) == {"UnchangedRows"}
    assert watched.told["UnchangedRows"] > COUNT // RANGE_ROWS // 4


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
    assert watched.told["Differing"] > 0
    assert watched.told["UnchangedRows"] > 0


def _each(numbers: list[int]) -> list[tuple[int]]:
    return [(number,) for number in numbers]


@pytest.mark.parametrize("seed", range(4))
def test_rows_come_go_and_shift_across_the_stretches(tmp_path: Path, watched: Watched, seed: int) -> None:
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
    assert sum(watched.told.values()) > 0


def rows_of(path: Path) -> dict[object, tuple[object, ...]]:
    """The rows of the table by their keys."""
    return {row[1]: row for row in dump(path)["t"]}


def test_a_table_that_changed_nearly_everywhere_is_read_by_one(tmp_path: Path, watched: Watched) -> None:
    build(tmp_path, KEYED)
    run(tmp_path / "app.db", "UPDATE t SET amount = amount + 1")
    assert moved(tmp_path).totals.upserts == COUNT
    assert set(watched.told) == {"Changed"}
    assert watched.told["Changed"] < COUNT // RANGE_ROWS // 4


def test_what_a_second_reader_that_is_killed_leaves_is_read_here(tmp_path: Path, watched: Watched) -> None:
    build(tmp_path, KEYED)
    run(tmp_path / "app.db", "UPDATE t SET name = 'changed' WHERE id % 1000 = 0")

    def kill() -> None:
        child = watched.started[0]._child
        assert child is not None
        child.kill()
        child.wait()

    watched.on_told = kill
    with capture_logs() as logs:
        assert moved(tmp_path).totals.upserts == COUNT // 100
    gone = [log for log in logs if log["event"] == "second_reader_gone"]
    assert [log["table"] for log in gone] == ["t"]


def test_rows_that_the_second_reader_did_not_send_are_read_here(
    tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, KEYED)
    run(tmp_path / "app.db", "UPDATE t SET name = 'changed' WHERE id % 1000 = 0")
    told = ScanWorker.told

    async def without_rows(self: ScanWorker) -> AsyncGenerator[UnchangedRows | Differing | Changed, None]:
        async for one in told(self):
            yield replace(one, rows={}) if isinstance(one, Differing) else one

    monkeypatch.setattr(ScanWorker, "told", without_rows)
    assert moved(tmp_path).totals.upserts == COUNT // 100
    assert watched.told["Differing"] > 0


def test_what_was_taken_for_known_is_read_here_when_it_is_not(
    tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, KEYED)
    block = by_turns.ParallelScan._block

    def doubting(self: by_turns.ParallelScan, told: UnchangedRows | Differing | Changed, last: object) -> object:
        found = block(self, told, last)  # type: ignore[arg-type]
        return None if isinstance(found, UnchangedRows) else found

    monkeypatch.setattr(by_turns.ParallelScan, "_block", doubting)
    assert moved(tmp_path).totals.upserts == 0
    assert watched.told["UnchangedRows"] > 0


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_second_reader_that_may_see_another_state_is_not_asked(tmp_path: Path, watched: Watched, mode: str) -> None:
    """In the older journal mode nobody can commit while the first one reads, so both always see the same."""
    run(tmp_path / "app.db", f"PRAGMA journal_mode={mode}")
    build(tmp_path, KEYED)

    def commit() -> None:
        late = "import sys, sqlite3; db = sqlite3.connect(sys.argv[1], timeout=0.1, isolation_level=None);"
        late += "db.execute('UPDATE t SET amount = -1')"
        done = subprocess.run([sys.executable, "-c", late, tmp_path / "app.db"], check=False, capture_output=True)
        watched.told["refused"] = done.returncode

    watched.before_waiting = commit

    movement = move_once(tmp_path)
    assert movement.totals.upserts == 0
    assert bool(watched.told["refused"]) == (mode == "DELETE")
    assert bool(watched.told["UnchangedRows"]) == (mode == "DELETE")
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
    assert not watched.told


@pytest.mark.parametrize(
    "create",
    [
        "CREATE TABLE t (id TEXT COLLATE NOCASE NOT NULL PRIMARY KEY, name, amount)",
        "PRAGMA encoding='UTF-16le'; CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, amount)",
    ],
    ids=["sorted_for_each_stretch", "utf16"],
)
def test_a_table_of_which_no_part_is_found_quickly_is_read_by_one(
    tmp_path: Path, watched: Watched, create: str
) -> None:
    build(tmp_path, create)
    run(tmp_path / "app.db", "UPDATE t SET amount = 0 WHERE name = 'name 50'")
    assert moved(tmp_path).totals.upserts == 1
    assert not watched.told


def test_text_that_is_not_valid_is_read_by_both(tmp_path: Path, watched: Watched) -> None:
    build(tmp_path, KEYED)
    run(tmp_path / "app.db", "UPDATE t SET name = CAST(x'ff' AS TEXT) WHERE id % 2000 = 0")
    assert moved(tmp_path).totals.upserts == COUNT // 200
    assert moved(tmp_path).totals.upserts == 0
    assert watched.told["UnchangedRows"] > 0


async def test_it_takes_what_is_asked_however_much_it_has_to_tell(tmp_path: Path) -> None:
    """Of large rows a stretch has more blocks than are kept, and what is asked next is more than a socket holds."""
    path = tmp_path / "app.db"
    run(path, KEYED, "INSERT INTO t VALUES (?, ?, ?)", values=[(number, "n", 0) for number in range(5000)])
    async with SqliteSource(path).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
    reader = ScanWorker(path, 1.0)
    reader.start()
    assert reader._line is not None
    assert reader._line.poll(READY_SECONDS)
    assert reader.is_ready()
    row_by_row = tuple(KnownRange((number,), bytes(8)) for number in range(2500))
    reader.ask(Stretch(schema, KeyRange(None, (2499,)), row_by_row))
    next_one = Stretch(schema, KeyRange((2499,), None), (KnownRange((4999,), bytes(8 << 20)),))
    asking = Thread(target=reader.ask, args=(next_one,), daemon=True)
    asking.start()
    asking.join(READY_SECONDS / 2)
    assert not asking.is_alive()
    first, second = [[told.last_key async for told in reader.told()] for _ in range(2)]
    assert first == [(number,) for number in range(2500)]
    assert second[-1] == (4999,)
    await reader.aclose()


def test_without_a_look_at_the_database_there_is_no_second_reader(tmp_path: Path, watched: Watched) -> None:
    assert second_reader.scan_worker_of(tmp_path / "missing.db", 0.01) is None
    run(tmp_path / "app.db", KEYED)
    writer = apsw.Connection(str(tmp_path / "app.db"))
    writer.execute("BEGIN EXCLUSIVE")
    assert second_reader.scan_worker_of(tmp_path / "app.db", 0.01) is None
    writer.close()
    found = second_reader.scan_worker_of(tmp_path / "app.db", 0.01)
    assert found is not None
    found.close()


def test_one_table_at_a_time_has_the_second_reader(tmp_path: Path, watched: Watched) -> None:
    run(tmp_path / "app.db", KEYED)
    reader = ScanWorker(tmp_path / "app.db", 1.0)
    with reader.lent() as one, reader.lent() as other:
        assert one is reader
        assert other is None
    with pytest.raises(KeyError), reader.lent():
        raise KeyError
    assert reader.is_gone
    with reader.lent() as one:
        assert one is None
    reader.close()


async def test_one_that_gives_up_says_why_and_no_process_is_left(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    run(path, KEYED, "INSERT INTO t VALUES (?, ?, ?)", values=[(number, "n" * 99, 0) for number in range(2000)])
    spoil(path, 60_000, 90_000)
    reader = ScanWorker(path, 1.0)
    reader.start()
    assert reader._line is not None
    assert reader._line.poll(READY_SECONDS)
    assert reader.is_ready()
    async with SqliteSource(path).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
    reader.ask(Stretch(schema, KeyRange(), ()))
    with pytest.raises(ScanWorkerGoneError, match=r"app\.db, table t: the database is damaged"):
        _ = [told async for told in reader.told()]
    child = reader._child
    await reader.aclose()
    assert child is not None
    assert child.returncode is not None
