"""The checks of a run detect errors: a row that differs, a file imported twice, a worker that failed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from subprocess import Popen

import orjson
import pytest

from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.ids import EventFileId, Label, ObjectKey
from pipeline.ports.destination import Mark
from tests.fleet.fleet import Fleet
from tests.torture.checks import KNOWN_KEYS, BrokenError, all_equal, unlike
from tests.torture.databases import Database, SqliteEngine
from tests.torture.place import Place, difference
from tests.torture.run_log import RunLog
from tests.torture.trees import Tree
from tests.torture.workers import Worker, Workers


def database(path: Path) -> Database:
    return Database(SqliteEngine(path), str(path))


def test_databases_built_and_changed_by_one_seed_are_equal_and_others_are_not(tmp_path: Path) -> None:
    one, other, third = (database(tmp_path / name) for name in ("one", "other", "third"))
    for place, seed in ((one, 1), (other, 1), (third, 2)):
        random = Random(seed)
        place.build(random, 40)
        place.change(random, 10)
    assert difference(one.state(), other.state()) == ""
    assert "rows missing or different" in difference(one.state(), third.state())


@pytest.mark.parametrize(
    "statement", ["UPDATE t1 SET amount = 2 WHERE id = 5", "DELETE FROM pairs WHERE b = 0", "CREATE TABLE left_over(a)"]
)
def test_one_row_or_table_that_differs_breaks_a_run(tmp_path: Path, statement: str) -> None:
    place = database(tmp_path / "app.db")
    place.build(Random(1), 40)
    states = [place.state()]
    all_equal(states, place)
    place.engine.write([statement], [])
    with pytest.raises(BrokenError, match="equals none of 1 states"):
        all_equal(states, place)
    all_equal([*states, place.state()], place)


def test_content_permissions_and_time_of_a_file_count(tmp_path: Path) -> None:
    place: Place = Tree(tmp_path / "tree")
    place.build(Random(1), 40)
    path = next(path for path in sorted((tmp_path / "tree").rglob("file *")) if path.stat().st_size)
    for change in (lambda: path.write_bytes(b"other"), lambda: path.chmod(0o700), path.touch, path.unlink):
        before = place.state()
        change()
        assert difference(before, place.state())


def test_keys_are_those_that_are_documented() -> None:
    assert KNOWN_KEYS.fullmatch("flows/crm/events/1/t0/full/0.jsonl.zst")
    assert KNOWN_KEYS.fullmatch("flows/crm/movements/1/groups/t0/files.1.jsonl")
    assert KNOWN_KEYS.fullmatch("flows/crm/movements/1/groups/t0/files.1.32.jsonl")
    assert not KNOWN_KEYS.fullmatch("flows/crm/events/1/t0/full/0.jsonl.zst.tmp")


def entry(file: str, *replaces: str) -> FileEntry:
    replaced = tuple(map(EventFileId.parse, replaces))
    return FileEntry(EventFileId.parse(file), Label("t0"), ObjectKey(file), Encoding.ZSTD, 9, "", 2, 1, replaced)


def marks(*files: str) -> dict[EventFileId, Mark]:
    return {EventFileId.parse(file): Mark(2, 1) for file in files}


OLD, LAST, COMPACTED, NEW = "1/t0/full/0", "2/t0/incremental/0", "3/t0/full/0", "4/t0/incremental/0"


def test_a_file_is_both_listed_and_marked_with_its_counts() -> None:
    assert not [*unlike([entry(OLD), entry(LAST)], marks(OLD, LAST))]
    assert [*unlike([entry(OLD), entry(LAST)], marks(OLD))] == [f"{LAST} is listed but not marked"]
    assert [*unlike([entry(OLD)], marks(OLD, LAST))] == [f"{LAST} is marked but not listed"]
    assert [*unlike([entry(OLD)], {EventFileId.parse(OLD): Mark(2, 0)})]


def test_marks_of_files_that_a_compaction_has_replaced_stay() -> None:
    listed = [entry(COMPACTED, LAST), entry(NEW)]
    assert not [*unlike(listed, marks(OLD, LAST, NEW))]
    assert not [*unlike(listed, marks(OLD, COMPACTED, NEW))]
    assert [*unlike(listed, marks(OLD, NEW))] == [f"{COMPACTED} is listed but not marked"]
    later = "4/t0/incremental/1"
    assert [*unlike(listed, marks(OLD, LAST, NEW, later))] == [f"{later} is marked but not listed"]


@contextmanager
def workers_with(directory: Path, program: str, *said: object) -> Iterator[Workers]:
    """Run one worker that has logged this."""
    workers = Workers(Fleet(directory, {}), RunLog())
    log = directory / "worker.log"
    log.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in said) + b'{"event": "cut in the mid')
    with Popen([sys.executable, "-c", program]) as process:
        workers.members.append(Worker("importer 0", "import", process, log))
        yield workers
        process.kill()


def test_what_a_worker_logs_is_counted_once(tmp_path: Path) -> None:
    done = {"event": "import_done", "level": "debug", "flow": "crm", "file": "1/t0/full/0"}
    with workers_with(
        tmp_path, "import time; time.sleep(60)", done, done, {"event": "sweep_failed", "level": "error"}
    ) as workers:
        workers.poll()
        workers.poll()
        assert (workers.progress, workers.imports) == (2, {("crm", "1/t0/full/0"): 2})
        assert ["sweep_failed" in problem for problem in workers.problems] == [True]
