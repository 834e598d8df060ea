"""Upserts that are arrays of values load into SQLite as the same upserts with names do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw
import orjson
import pytest

from pipeline.connectors.sqlite.loading.destination import SqliteDestination
from pipeline.domain.errors import DamagedError
from pipeline.domain.ids import FlowName, Label, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.destination import Loaded
from tests.contracts.destination import file_to_load

STREAM = StreamSchema(StreamName("t"), Label("t"), tuple(Column(name, "any") for name in ("id", "a", "b")), ("id",))
PLAIN = [[1, "x", 1.5], [2, None, -0.0], [3, "[]},{", 2**62]]
TAGGED = [[4, {"$bytes": "AAEC"}, {"$float": "inf"}], [5, {"$text": "/w=="}, True], [6, "y", 1e300]]


async def loaded(path: Path, lines: Sequence[bytes]) -> Loaded:
    async with SqliteDestination(path).open(FlowName("crm")) as session:
        outcome = await session.load(file_to_load(STREAM, [b"".join(lines)]), after=[])
        assert isinstance(outcome, Loaded)
        return outcome


def content(path: Path) -> list[tuple[object, ...]]:
    connection = apsw.Connection(str(path))
    try:
        return list(
            connection.execute("SELECT id, hex(CAST(a AS BLOB)), typeof(a), quote(b), typeof(b) FROM t ORDER BY id")
        )
    finally:
        connection.close()


@pytest.mark.parametrize("rows", [PLAIN, [*PLAIN, *TAGGED]])
async def test_arrays_load_what_names_load(tmp_path: Path, rows: Sequence[list[object]]) -> None:
    names = STREAM.column_names
    arrays = [orjson.dumps({"upsert": row}) + b"\n" for row in rows]
    named = [orjson.dumps({"upsert": dict(zip(names, row, strict=True))}) + b"\n" for row in rows]
    end = b'{"delete":{"id":1}}\n'
    for path, lines in (("arrays", [*arrays, end]), ("names", [*named, end]), ("both", [named[0], *arrays[1:], end])):
        outcome = await loaded(tmp_path / path, lines)
        assert (outcome.mark.upserts, outcome.mark.deletes, outcome.rejections) == (len(rows), 1, ())
    assert content(tmp_path / "arrays") == content(tmp_path / "names") == content(tmp_path / "both")
    assert len(content(tmp_path / "arrays")) == len(rows) - 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"upsert":[2,"x"]}\n', "an array of 2 values for 3 columns"),
        (b'{"upsert":[2,"x",1.5,3]}\n', "an array of 4 values for 3 columns"),
        (b'{"upsert":[2,["x"],1.5]}\n', "not a value of this format"),
        (b'{"upsert":[null,"x",1.5]}\n', "the key column id is NULL"),
    ],
)
async def test_an_array_that_is_no_row_is_rejected_alone(tmp_path: Path, line: bytes, reason: str) -> None:
    around = [b'{"upsert":[%d,"t",1.5]}\n' % at for at in range(10, 20)]
    outcome = await loaded(tmp_path / "copy.db", [*around[:5], line, *around[5:]])
    (rejection,) = outcome.rejections
    assert (rejection.line, reason in rejection.reason) == (7, True), rejection
    assert [row[0] for row in content(tmp_path / "copy.db")] == list(range(10, 20))


async def test_an_array_that_is_not_json_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="line 3 is not JSON"):
        await loaded(tmp_path / "copy.db", [b'{"upsert":[7,"x",1]}\n', b'{"upsert":[1,"a"],2]}\n'])


async def test_a_rejected_array_is_kept_with_names(tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    apsw.Connection(str(path)).execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b NOT NULL)")
    async with SqliteDestination(path).open(FlowName("crm")) as session:
        await session.load(file_to_load(STREAM, [b'{"upsert":[1,"x",null]}\n{"upsert":[2,"y",1]}\n']), after=[])
        (kept,) = await session.rejected()
    assert orjson.loads(kept.record) == {"upsert": {"id": 1, "a": "x", "b": None}}
