"""Upsert lines equal the rows, whatever their characters, and whichever rows of a block are requested."""

from __future__ import annotations

import random
from collections.abc import Sequence

import orjson
import psycopg
import pytest

from pipeline.codec.event_files.array_lines import with_names
from pipeline.codec.values import from_json
from pipeline.connectors.postgres import PostgresSource
from pipeline.connectors.postgres.reading import rows
from pipeline.connectors.postgres.reading.fields import Field, Rows, UpsertLines
from pipeline.connectors.postgres.schema.types import Form
from pipeline.domain.keys import Key, KeyValue
from pipeline.ports.source import ArrayRowBlock, UpsertSink
from tests.connectors.postgres.places import Place, place_factory
from tests.contracts.source import StreamContent
from tests.servers.postgresql import PostgresqlServer

COUNT = 3000
TEXTS = (
    *("", "plain", 'He said "no"', "\\", "\\N", "null", '"', "a\nb", "\r\n", "\t", '",', "%b", "日", "\x7f"),
    *("\x01", '"\x01"', "\\\x01", "\x02\v\f\b\x1f", "".join(map(chr, range(1, 256)))),
)
Row = tuple[KeyValue, ...]


def row(at: int) -> Row:
    """Return a row. Most are plain, so that some pieces of a block need no escapes, and some need many."""
    choice = random.Random(at).choice
    if at % 1000 < 700:
        return at, f"text {at}", at / 4, True, b"data", None
    text = choice(TEXTS)
    number = choice([None, 1.0, 0.5, -0.0, 1e300, float("inf")])
    return at, text, number, choice([None, True, False]), choice([None, b"", text.encode()]), choice([None, *TEXTS])


@pytest.fixture(scope="module")
def place(postgresql: PostgresqlServer) -> Place:
    """A database with a table of such rows, whose key is its second column."""
    made = place_factory(postgresql)()
    with psycopg.connect(made.uri, autocommit=True) as connection:
        connection.execute(
            'CREATE TABLE t (n text, id int PRIMARY KEY, "a ""%s""" float8, b bool, d bytea, "last" text)'
        )
        connection.cursor().executemany(
            'INSERT INTO t (id, n, "a ""%%s""", b, d, last) VALUES (%s, %s, %s, %s, %s, %s)', map(row, range(COUNT))
        )
    return made


def body(line: bytes, columns: Sequence[str]) -> Row:
    """Return the row of a line."""
    members = with_names(orjson.loads(line), columns)["upsert"]
    return tuple(from_json(members[name]) for name in ("id", "n", 'a "%s"', "b", "d", "last"))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("arrays", [True, False])
async def test_any_rows_of_a_block_become_lines(
    place: Place, seed: int, arrays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BLOCK_ROWS", 1000)
    read: list[Key] = []
    content, choice = StreamContent(), random.Random(seed)
    async with PostgresSource(place.uri).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        async with snapshot.open_rows(schema) as blocks:
            async for block in blocks:
                keys = block.keys()
                read.extend(keys)
                count = choice.choice([0, 1, len(keys) // 2, len(keys)]) if seed else len(keys)
                wanted = sorted(choice.sample(range(len(keys)), count))
                assert isinstance(block, ArrayRowBlock)
                give = block.upsert_arrays if arrays else block.upserts
                lines = (await give(wanted, UpsertSink(content.store))).splitlines(keepends=True)
                assert all(line.startswith(b'{"upsert":[') is arrays for line in lines)
                assert [repr(body(line, schema.column_names)) for line in lines] == [
                    repr(row(keys[at][0]))  # type: ignore[arg-type]
                    for at in wanted
                ]

    assert read == [(at,) for at in range(COUNT)]


@pytest.mark.parametrize("text", ["plain", "a.b", "null", "a\nb", "a\x01b", "\t"])
@pytest.mark.parametrize(
    "floats", [("1.5", "-0.25", "null"), ("1.5", "2", "null"), ("1.5", "1e+20", "1.5e-07"), ("NaN",)]
)
def test_floats_become_json_beside_any_text(text: str, floats: Sequence[str]) -> None:
    lines = UpsertLines([Field("t", "t", Form.TEXT), Field("f", "f", Form.FLOAT), Field("g", "g", Form.FLOAT)])
    copied = [f'"{text}"\x01{found}\x010.5\n'.encode() for found in floats]
    together = Rows(b"".join(copied), list(map(len, copied)))
    expected = [(text, None if found == "null" else float(found), 0.5) for found in floats]
    for found in (lines.arrays(together), lines.of(together)):
        records = [with_names(orjson.loads(line), "tfg")["upsert"] for line in found.splitlines()]
        assert [repr(tuple(map(from_json, record.values()))) for record in records] == list(map(repr, expected))
