"""Altered Event Files and File Lists, imported by the engine into an SQLite database."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.connectors.sqlite import SqliteDestination
from tests.fuzz import samples
from tests.fuzz.holding import fuzz
from tests.fuzz.hostile import PACKINGS, altered_bytes, altered_json, altered_lines, dump, packed
from tests.fuzz.importing import Outcome, Stored, import_altered

SENTINEL = "CREATE TABLE sentinel (id INTEGER PRIMARY KEY); INSERT INTO sentinel VALUES (1), (2)"


def tables_of(path: Path) -> dict[str, int]:
    """Return the number of rows of each table that is not the pipeline's own."""
    connection = sqlite3.connect(path)
    connection.text_factory = bytes
    names = [name.decode() for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {}
    for name in names:
        if not name.startswith(("_pipeline_", "sqlite_")):
            quoted = name.replace('"', '""')
            found[name] = connection.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0]
    assert connection.execute("PRAGMA integrity_check").fetchone() == (b"ok",)
    connection.close()
    return found


def import_into_sqlite(files: list[Stored], file_list: bytes | None = None) -> tuple[Outcome, dict[str, int]]:
    """Import into a database that is not empty; return the outcome and the number of rows of each table."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        path = Path(directory) / "app.db"
        connection = sqlite3.connect(path)
        connection.executescript(SENTINEL)
        connection.close()
        outcome = import_altered(lambda: SqliteDestination(path), files, file_list=file_list)
        tables = tables_of(path)
    assert tables.pop("sentinel") == 2, "rows of another table were touched"
    return outcome, tables


def check_one(outcome: Outcome, tables: dict[str, int]) -> None:
    """Check that marks and rows agree: a file without a mark left no rows, a marked one all that its mark counts."""
    if not outcome.marks:
        assert outcome.error is not None or outcome.failed
        assert not any(tables.values()), f"rows without a mark: {tables}"
        return
    (mark,) = outcome.marks.values()
    assert sum(tables.values()) <= mark.upserts


@fuzz(1)
@given(packed(altered_lines(samples.EVENT_FILE)))
def test_an_altered_event_file_is_loaded_as_a_whole_or_not_at_all(stored: tuple[str, bytes]) -> None:
    check_one(*import_into_sqlite([Stored.honest(samples.FILE, *stored)]))


@fuzz()
@given(altered_json(samples.EVENT_FILE[0]), st.sampled_from(sorted(PACKINGS)))
def test_a_false_header_is_refused_or_creates_its_table(header: Any, encoding: str) -> None:
    lines = b"".join(dump(line) + b"\n" for line in [header, *samples.RECORDS])
    check_one(*import_into_sqlite([Stored.honest(samples.FILE, encoding, PACKINGS[encoding](lines))]))


@fuzz()
@given(
    st.lists(st.sampled_from(samples.RECORDS).flatmap(altered_json) | st.sampled_from(samples.RECORDS), max_size=6),
)
def test_altered_records_are_loaded_or_rejected_and_all_are_counted(records: list[Any]) -> None:
    header = samples.EVENT_FILE[0] | {"rowCount": len(records)}
    lines = b"".join(dump(line) + b"\n" for line in [header, *records])
    outcome, tables = import_into_sqlite([Stored.honest(samples.FILE, "plain", lines)])
    check_one(outcome, tables)
    if outcome.marks:
        (mark,) = outcome.marks.values()
        assert mark.upserts + mark.deletes + mark.rejected <= len(records)


VALID = b"".join(dump(line) + b"\n" for line in samples.EVENT_FILE)


@fuzz(0.5)
@given(st.sampled_from(sorted(PACKINGS)), st.data())
def test_bytes_altered_without_the_file_list_are_never_imported(encoding: str, data: st.DataObject) -> None:
    honest = Stored.honest(samples.FILE, encoding, PACKINGS[encoding](VALID))
    altered = data.draw(altered_bytes(honest.data))
    outcome, tables = import_into_sqlite([Stored(honest.entry, altered)])
    assert bool(outcome.marks) == (altered == honest.data)
    check_one(outcome, tables)
    assert all(honest.entry.key in reason for reason in outcome.failed.values())


@fuzz()
@given(altered_lines(samples.FILE_LIST))
def test_an_altered_file_list_imports_what_it_names_or_nothing(file_list: bytes) -> None:
    honest = Stored.honest(samples.FILE, "plain", VALID)
    outcome, tables = import_into_sqlite([honest], file_list)
    if not outcome.marks:
        assert not any(tables.values())


def imported(*lines: bytes) -> Outcome:
    """Import an Event File of these records."""
    header = dump(samples.EVENT_FILE[0] | {"rowCount": len(lines)}) + b"\n"
    return import_into_sqlite([Stored.honest(samples.FILE, "plain", header + b"".join(lines))])[0]


def test_a_record_nested_too_deeply_to_be_written_again_is_rejected() -> None:
    deep = b"[" * 400 + b"]" * 400
    outcome = imported(b'{"upsert":{"id":%b}}\n' % deep, b"%b\n" % deep, b'{"upsert":{"id":1,"name":"x"}}\n')
    (mark,) = outcome.marks.values()
    assert (mark.upserts, mark.rejected) == (1, 2)


def test_an_integer_of_more_than_64_bits_is_refused_and_not_rounded() -> None:
    outcome = imported(
        b'{"upsert":{"id":1,"name":"x","data":18446744073709551616}}\n',
        b'{"upsert":{"id":2,"name":"x","data":{"$float":"nan"}}}\n',
    )
    assert "integer of more than 64 bits" in outcome.failed[samples.FILE]
    assert not outcome.marks


def test_a_carriage_return_does_not_end_a_line() -> None:
    outcome = imported(b'{"upsert":{"id":1,"name":"x","data":1}}\r{"upsert":{"id":2,"name":"x","data":1}}\n')
    assert "line 2 is not JSON" in outcome.failed[samples.FILE]
