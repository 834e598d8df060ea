"""Altered records of a tree, imported into a directory: nothing outside of it is touched, whatever they name."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.event_files.header import encode_header
from pipeline.connectors.files import FilesDestination
from pipeline.connectors.files.schema import DEFAULT_STREAM, files_schema
from pipeline.domain.event_file import Header
from pipeline.domain.ids import EventFileId, Label, Phase
from tests.fuzz.holding import fuzz
from tests.fuzz.hostile import HOSTILE_VALUES, altered_json, altered_lines, dump
from tests.fuzz.importing import Outcome, Stored, import_altered
from tests.fuzz.samples import FLOW

FILE = EventFileId(1, DEFAULT_STREAM, Phase.FULL, 0)
CONTENT = b"a content"
DIGEST = blake3(CONTENT).hexdigest()
PATHS = [
    *("a", "b", "a/x", "a/x/y", "link", "link/x", "link/x/y", "up/x", "deep/" + "d/" * 100 + "x"),
    *("..", "../outside", "a/../../outside", "/etc/passwd", "//x", "a//x", "./a", "a/.", "", "/", "a/", "a\0b"),
    *(".pipeline-import", ".pipeline-import/state.db", ".pipeline-import/incoming/x", ".PIPELINE-IMPORT/x"),
    *("a/.pipeline-import/x", "x" * 255, "x" * 256, "x/" * 3000 + "x", "\n", "-rf", "\N{RIGHT-TO-LEFT OVERRIDE}"),
]
TARGETS = ["/etc/passwd", "..", "../..", "a", ".", "../outside", "", "x" * 5000, "/proc/self/root", "\0"]
TIMES = [0, 1, -1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 1.5, None, "now"]


def _raw(text: bytes) -> Any:
    return {"$text": b64encode(text).decode()}


PATH_VALUES = st.sampled_from(PATHS) | st.sampled_from(
    [_raw(b"\xff"), _raw(b"../outside"), _raw(b"a/\xff"), _raw(b"/x")]
)
UPSERTS = st.fixed_dictionaries(
    {
        "path": PATH_VALUES,
        "kind": st.sampled_from(["file", "file", "directory", "symlink", "fifo", None]),
        "size": st.sampled_from([len(CONTENT), 0, -1, 2**64 - 1, None]),
        "mode": st.sampled_from([0o644, 0o000, 0o7777, -1, 2**40]),
        "mtime_ns": st.sampled_from(TIMES),
        "digest": st.sampled_from([DIGEST, DIGEST, DIGEST.upper(), "0" * 64, "../" * 21 + "x", None]),
        "target": st.sampled_from(TARGETS),
    }
)
RECORDS = st.one_of(
    UPSERTS.map(lambda row: {"upsert": row}),
    UPSERTS.map(lambda row: {"upsert": row | {"mtime_ns": 1, "mode": 0o700, "size": len(CONTENT)}}),
    PATH_VALUES.map(lambda path: {"delete": {"path": path}}),
    UPSERTS.flatmap(lambda row: altered_json({"upsert": row})),
    HOSTILE_VALUES.map(lambda value: {"upsert": {"path": value}}),
)


def header_line(rows: int) -> bytes:
    """Return the header of an Event File of a tree with this many records."""
    schema = files_schema(DEFAULT_STREAM)
    return encode_header(Header(FLOW, FILE, schema, rows, datetime(2026, 1, 1, tzinfo=UTC)))


def surroundings(jail: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return everything in the jail outside of the destination, found without code of the connector."""
    found = {}
    for directory, names, files in os.walk(jail):
        if Path(directory) == jail:
            names.remove("destination")
        for name in (*names, *files):
            path = Path(directory) / name
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found


def import_tree(stored: Stored) -> Outcome:
    """Import into a directory with others beside it, one of them linked, and check that nothing of them changes."""
    jail = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        (jail / "outside").mkdir()
        (jail / "outside" / "x").write_bytes(b"precious")
        destination = jail / "destination"
        destination.mkdir()
        (destination / "link").symlink_to(jail / "outside")
        (destination / "up").symlink_to("..")
        before = surroundings(jail)
        outcome = import_altered(lambda: FilesDestination(destination), [stored], binaries=[CONTENT])
        assert surroundings(jail) == before, "something outside of the destination was touched"
        marks = sqlite3.connect(destination / ".pipeline-import" / "state.db")
        assert marks.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        marks.close()
        assert not list((destination / ".pipeline-import" / "incoming").glob("[!k]*")), "a staged file was left"
        return outcome
    finally:
        _remove(jail)


def _remove(jail: Path) -> None:
    for directory, names, _ in os.walk(jail):
        for name in names:
            if not (Path(directory) / name).is_symlink():
                (Path(directory) / name).chmod(0o700)
    shutil.rmtree(jail)


@fuzz(1)
@given(st.lists(RECORDS, min_size=1, max_size=6))
def test_records_of_a_tree_stay_within_it_and_all_are_counted(records: list[Any]) -> None:
    data = header_line(len(records)) + b"".join(dump(record) + b"\n" for record in records)
    outcome = import_tree(Stored.honest(FILE, "plain", data, label=Label(DEFAULT_STREAM)))
    if outcome.marks:
        (mark,) = outcome.marks.values()
        assert mark.upserts + mark.deletes + mark.rejected == len(records)
    else:
        assert str(FILE) in outcome.failed[FILE] or "Binary File" in outcome.failed[FILE]


VALID: list[Any] = [
    {
        "upsert": {
            "path": "a",
            "kind": "directory",
            "size": None,
            "mode": 493,
            "mtime_ns": 1,
            "digest": None,
            "target": None,
        }
    },
    {
        "upsert": {
            "path": "a/x",
            "kind": "file",
            "size": 9,
            "mode": 420,
            "mtime_ns": 1,
            "digest": DIGEST,
            "target": None,
        }
    },
    {
        "upsert": {
            "path": "l",
            "kind": "symlink",
            "size": None,
            "mode": 511,
            "mtime_ns": 1,
            "digest": None,
            "target": "a",
        }
    },
    {"delete": {"path": "b"}},
]


@fuzz(0.3)
@given(altered_lines([orjson.loads(header_line(len(VALID))), *VALID]))
def test_an_altered_file_of_a_tree_is_refused_or_stays_within_it(data: bytes) -> None:
    import_tree(Stored.honest(FILE, "plain", data, label=Label(DEFAULT_STREAM)))


@pytest.mark.parametrize("mtime_ns", [2**63, 2**64 - 1, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_an_impossible_time_rejects_only_its_record(kind: str, mtime_ns: int) -> None:
    record = {"path": "a", "kind": kind, "size": 9, "mode": 448, "mtime_ns": mtime_ns, "digest": DIGEST, "target": "x"}
    data = header_line(1) + dump({"upsert": record}) + b"\n"
    outcome = import_tree(Stored.honest(FILE, "plain", data, label=Label(DEFAULT_STREAM)))
    assert outcome.marks


def imported(*lines: bytes) -> Outcome:
    """Import an Event File of these record lines."""
    return import_tree(
        Stored.honest(FILE, "plain", header_line(len(lines)) + b"".join(lines), label=Label(DEFAULT_STREAM))
    )


@pytest.mark.parametrize("column", ["kind", "mode", "mtime_ns", "size", "digest"])
def test_a_value_nested_a_thousand_levels_deep_rejects_only_its_record(column: str) -> None:
    row = VALID[1]["upsert"] | {column: "DEEP"}
    line = dump({"upsert": row}).replace(b'"DEEP"', b"[" * 1000 + b"]" * 1000) + b"\n"
    (mark,) = imported(line, dump(VALID[1]) + b"\n").marks.values()
    assert (mark.upserts, mark.rejected) == (1, 1) or (mark.upserts, mark.rejected) == (2, 0)


@pytest.mark.parametrize("column", ["path", "target"])
def test_an_invalid_value_is_named_with_its_line(column: str) -> None:
    row = VALID[2]["upsert"] | {column: {"$what": 1}}
    assert f"{FILE}, line 2" in imported(dump({"upsert": row}) + b"\n").failed[FILE]


def test_a_path_of_half_a_million_levels_rejects_only_its_record() -> None:
    rows = [VALID[0]["upsert"] | {"path": path} for path in ("a/" * 500_000 + "a", "a/" * 400 + "a", "b")]
    (mark,) = imported(*[dump({"upsert": row}) + b"\n" for row in rows]).marks.values()
    assert (mark.upserts, mark.rejected) == (2, 1)
