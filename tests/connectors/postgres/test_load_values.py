"""Any values that a column can hold arrive unchanged, whichever decoder is used."""

from __future__ import annotations

import math
from collections.abc import Iterator

import orjson
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codec.values import to_json
from pipeline.connectors.postgres.loading.csv_lines import Lines, Run
from pipeline.connectors.postgres.loading.csv_values import COPY_OPTIONS, Holds, LineColumn, copy_data
from pipeline.domain.keys import KeyValue
from tests.connectors.postgres.places import place_factory
from tests.servers.postgresql import PostgresqlServer

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.sampled_from(
    [
        "",
        "\\.",
        "\\N",
        "null",
        '"',
        "\\",
        '\\"',
        "\\n",
        "\r\n",
        '{"$bytes":"AA=="}',
        "\\u0041",
        "a,b",
        "\x7f\x01",
        "\\\\u0000",
    ]
)
ROW = st.tuples(
    st.none() | TEXT,
    st.none() | st.floats(),
    st.none() | st.binary(max_size=40),
    st.none()
    | TEXT
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.binary(max_size=9)
    | st.floats(allow_nan=False),
)
COLUMNS = [
    LineColumn("id", Holds.TEXT),
    LineColumn("t", Holds.TEXT),
    LineColumn("f", Holds.TEXT),
    LineColumn("b", Holds.BYTES),
    LineColumn("$j", Holds.ANY),
]
LINES = Lines(COLUMNS, COLUMNS[:1])
Rows = list[tuple[KeyValue, ...]]


@pytest.fixture(scope="module")
def connection(postgresql: PostgresqlServer) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(place_factory(postgresql)().uri, autocommit=True) as connection:
        connection.execute('CREATE TABLE item (id bigint PRIMARY KEY, t text, f float8, b bytea, "$j" json)')
        yield connection


def block_of(rows: Rows, *, escape_all: bool = False, spaced: bool = False) -> bytes:
    """Return upsert lines in the style of different writers."""
    lines = []
    for number, row in enumerate(rows):
        values = (number, *map(to_json, row))
        record = {"upsert": dict(zip((column.name for column in COLUMNS), values, strict=True))}
        line = orjson.dumps(record).decode()
        if spaced:
            line = line.replace('":', '": ', 2)
        lines.append("".join(c if c.isascii() else escaped(c) for c in line) if escape_all else line)
    return "".join(f"{line}\n" for line in lines).encode()


def escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=8), escape_all=st.booleans(), spaced=st.booleans())
def test_any_values_arrive(
    connection: psycopg.Connection[tuple[object, ...]], rows: Rows, escape_all: bool, spaced: bool
) -> None:
    decoded = LINES.decode(block_of(rows, escape_all=escape_all, spaced=spaced), 2, "the file")
    (run,) = decoded.steps
    assert isinstance(run, Run)
    connection.execute("TRUNCATE item")
    names = ", ".join(f'"{name}"' for name in run.columns)
    with connection.cursor().copy(f"COPY item ({names}) FROM STDIN {COPY_OPTIONS}".encode()) as copy:
        copy.write(copy_data(run.rows))
    held = connection.execute('SELECT t, f, b, "$j"::text FROM item ORDER BY id').fetchall()
    for row, (t, f, b, j) in zip(rows, held, strict=True):
        assert (t, b) == (row[0], row[2])
        assert same_float(f, row[1])
        assert (None if j is None else orjson.loads(str(j))) == to_json(row[3])


def same_float(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return one is other is None
