"""Values of every type of PostgreSQL are exported so that PostgreSQL reads the same value again, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import anyio
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.codec.values import from_json
from pipeline.connectors.postgres import PostgresSource
from pipeline.domain.keys import order
from tests.connectors.postgres.places import Place, place_factory
from tests.connectors.postgres.reading import ReadStream, differing, read_all
from tests.servers.postgresql import PostgresqlServer

TYPES = """
CREATE SCHEMA "My.Types";
CREATE TYPE mood AS ENUM ('sad', 'o''k', 'He said "hi"\\');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN "My.Types".short AS varchar(5);
CREATE TYPE "My.Types".pair AS (a int, b mood[], c text);
CREATE TYPE fractions AS RANGE (subtype = float8)
"""

EDGES: dict[str, Sequence[str]] = {
    "smallint": ["-32768", "32767", "0"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "boolean": ["true", "false"],
    "real": ["0", "-0", "1", "100000", "999999", "1e6", "1234567", "16777216", "1e-45", "3.4028235e38", "0.1", "NaN", "inf"],
    "double precision": [
        *("0", "-0", "1", "-1", "0.1", "123456789012345", "999999999999999", "1e15", "1e16", "9007199254740993", "1e22"),
        *("1e-5", "0.0001", "5e-324", "1.7976931348623157e308", "NaN", "Infinity", "-Infinity", "1e100"),
    ],
    "numeric": ["0", "0.00", "-0.10", "1e-300", "1234567890123456789012.123456789012345678901230", "NaN", "Infinity", "-Infinity"],
    "numeric(12,4)": ["1.5", "-99999999.9999", "NaN"],
    "money": ["0", "-12345678.91", "92233720368547758.07", "1000.5"],
    "text": ["", " ", "null", "\\N", "\\", '"', "a\tb\nc\rd\x01\x7f\x1f", "\u2028\ufeff日😀\U0010ffff", "x" * 90_000, "'", "%s"],
    "varchar(7)": ["", "abc    ", "日本"],
    "character(5)": ["", "a", "a\t", "abcde"],
    '"char"': ["", "a"],
    "name": ["", "some name"],
    "bytea": ["", "\\x00", "\\x" + bytes(range(256)).hex(), "\\x" + "ab" * 10_000],
    "json": ['{"a": 1,  "a":2}', "1e400", '"\\u0000"', "null", " [1 , 2]\n", '"\\ud83d\\ude00"', "12345678901234567890123.450"],
    "jsonb": ['{"a": 1, "b": [1.50, null]}', "12345678901234567890123.450", '"x\\\\u0000"', "null", "{}"],
    "timestamp": ["2024-02-29 23:59:59.999999", "0001-01-01 00:00:00 BC", "4713-01-01 BC", "294276-12-31", "infinity"],
    "timestamp(3) with time zone": ["2024-01-01 00:00:00.123+05:30", "infinity"],
    "timestamptz": ["2024-01-01 12:00:00.000001-11:59", "1883-11-18 12:03:58 America/New_York", "0044-03-15 BC"],
    "date": ["2024-02-29", "4713-01-01 BC", "5874897-12-31", "infinity", "-infinity"],
    "time": ["00:00", "24:00", "23:59:59.999999"],
    "timetz": ["00:00+15:59", "24:00-15:59", "12:34:56.789012+05:30:15"],
    "interval": [
        *("0", "1 year -2 months 3 days -04:05:06.789", "-1 microsecond", "178000000 years", "-1 day +00:00:01", "infinity"),
        *("-0.5 seconds", "1 mon -1 day 25:00:00", "-infinity"),
    ],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "inet": ["1.2.3.4", "1.2.3.4/24", "::1", "fe80::1/10"],
    "cidr": ["10.0.0.0/8", "2001:db8::/32"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit(3)": ["101", "000"],
    "bit varying": ["", "1", "0" * 100],
    "tsvector": ["'a':1A 'b c':2,3 'it''s':4B", "", "'\\\\x'"],
    "tsquery": ["'a' & !'b c' | 'd' <-> 'e'", ""],
    "point": ["(0.1,-1e300)", "(NaN,Infinity)"],
    "polygon": ["((0,0),(1,1.5),(2,0))"],
    "pg_lsn": ["16/B374D848"],
    "txid_snapshot": ["10:20:10,14,15"],
    "int4range": ["empty", "[1,10)", "(,5)", "(,)"],
    "tstzrange": ['["2024-01-01 00:00:00+00",infinity]'],
    "fractions": ["[0.1,NaN]", "(-Infinity,1e300)"],
    "nummultirange": ["{[1.10,2.0),(5,)}", "{}"],
    "integer[]": ["{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "[0:2]={1,2,3}"],
    "text[]": ['{"",NULL,"NULL","a,b","{x}","q\\"\\\\"," "}'],
    "timestamptz[]": ['{"2024-01-01 00:00:00.5+00",infinity}'],
    "mood": ["sad", "o'k", 'He said "hi"\\'],
    "mood[]": ["{sad,o'k,NULL}"],
    "positive": ["1"],
    '"My.Types".short': ["", "abcde"],
    '"My.Types".pair': ["(,,)", '(1,"{sad}","a""b,c")', '(1,,"")'],
    '"My.Types".pair[]': ['{"(1,,x)",NULL}'],
    "regclass": ["pg_class"],
    "jsonpath": ["$.a[*]?(@ > 1)"],
}  # fmt: skip

WITH_NULL = {declared: [*values, None] for declared, values in EDGES.items()}


@pytest.fixture(scope="module")
def place(postgresql: PostgresqlServer) -> Place:
    """A database with user-defined types."""
    place = place_factory(postgresql)()
    place.run(*TYPES.split(";"))
    return place


def read_tables(place: Place, tables: Mapping[str, Sequence[str | None]], key: str = "id") -> dict[str, ReadStream]:
    """Create a table for each type, with these values in the column `v`, and read them all. The streams are `t0`, `t1` …"""
    with psycopg.connect(place.uri, autocommit=True) as connection:
        for number, (declared, values) in enumerate(tables.items()):
            create = f"CREATE TABLE t{number} (id int, v {declared}, PRIMARY KEY ({key}))"
            connection.execute(f"DROP TABLE IF EXISTS t{number}; {create}".encode())
            bare = declared.removesuffix(' COLLATE "C"')
            given_values = "unnest(%s::text[]) WITH ORDINALITY AS given(v, id) ON CONFLICT DO NOTHING"
            insert = f"INSERT INTO t{number} SELECT id - 1, v::{bare} FROM {given_values}"
            connection.execute(insert.encode(), (list(values),))

    async def main() -> dict[str, ReadStream]:
        return await read_all(PostgresSource(place.uri))

    read = anyio.run(main)
    return {declared: read[f"t{number}"] for number, declared in enumerate(tables)}


@pytest.fixture(scope="module")
def edges(place: Place) -> dict[str, ReadStream]:
    """The content of `EDGES` by type; the last row of each is NULL."""
    return read_tables(place, WITH_NULL)


@pytest.mark.parametrize("declared", EDGES)
def test_values_at_the_limits_of_a_type_are_kept(place: Place, edges: dict[str, ReadStream], declared: str) -> None:
    values = [row["v"] for row in edges[declared].rows]
    assert values[-1] is None
    assert None not in values[:-1]
    assert differing(place.uri, list(EDGES).index(declared), declared, values) == []


@pytest.mark.parametrize("declared", EDGES)
def test_values_have_the_kind_of_their_column_type(edges: dict[str, ReadStream], declared: str) -> None:
    column = edges[declared].schema.columns[1]
    kinds = {"integer": int, "boolean": bool, "real": float | dict, "bytes": dict}
    assert all(isinstance(row["v"], kinds.get(column.type, str)) for row in edges[declared].rows[:-1])


WRITTEN: dict[str, tuple[str, object]] = {
    "integer": ("-5", -5),
    "double precision": ("5", 5.0),
    "real": ("0.1", 0.1),
    "float8": ("NaN", {"$float": "nan"}),
    "bytea": ("\\x000102", {"$bytes": "AAEC"}),
    "numeric": ("1.50", "1.50"),
    "money": ("-1234.5", "-1234.50"),
    "jsonb": ('{"b":1.0,"a":"\\u00e9"}', '{"a": "é", "b": 1.0}'),
    "json": ('{"b":  "\\u0000"}', '{"b":  "\\u0000"}'),
    "timestamptz": ("2024-01-01 12:00:00.5+02", "2024-01-01 10:00:00.5+00"),
    "interval": ("1 year 2 days", "1 year 2 days"),
    "text[]": ("{a,NULL}", "{a,NULL}"),
    "char(3)": ("a", "a  "),
    "inet": ("1.2.3.4", "1.2.3.4"),
    '"My.Types".pair': ("(,,)", "(,,)"),
}


def test_values_in_records(place: Place) -> None:
    read = read_tables(place, {declared: [text] for declared, (text, _) in WRITTEN.items()})
    written = {declared: stream.rows[0]["v"] for declared, stream in read.items()}
    assert written == {declared: expected for declared, (_, expected) in WRITTEN.items()}
    assert isinstance(written["double precision"], float)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
GENERATED: dict[str, st.SearchStrategy[str]] = {
    "text": TEXT,
    "bytea": st.binary(max_size=40).map(lambda data: "\\x" + data.hex()),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "double precision": st.floats().map(repr),
    "real": st.floats(width=32).map(repr),
    "numeric": st.decimals(-(10**40), 10**40, places=30).map(str),
    "interval": st.tuples(st.integers(-(10**8), 10**8), st.integers(-(10**8), 10**8), st.integers(-(10**15), 10**15)).map(
        lambda parts: f"{parts[0]} months {parts[1]} days {parts[2]} microseconds"
    ),
    "timestamptz": st.datetimes().map(lambda moment: moment.isoformat() + "+00"),
    "json": st.recursive(st.none() | st.integers() | TEXT, st.lists, max_leaves=5).map(json.dumps),
    '"char"': st.characters(min_codepoint=1, max_codepoint=127),
}  # fmt: skip


@pytest.fixture(scope="module")
def another_place(postgresql: PostgresqlServer) -> Place:
    """A database with few tables."""
    return place_factory(postgresql)()


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.fixed_dictionaries({name: st.lists(values, min_size=20, max_size=60) for name, values in GENERATED.items()}))
def test_any_value_is_kept(another_place: Place, values: dict[str, list[str]]) -> None:
    read = read_tables(another_place, values)
    for number, (declared, stream) in enumerate(read.items()):
        assert differing(another_place.uri, number, declared, [row["v"] for row in stream.rows]) == []


KEYS = [
    *("smallint", "integer", "bigint", "oid", "boolean", "real", "double precision", "numeric", "text", 'text COLLATE "C"'),
    *("varchar(7)", "name", "character(5)", "bytea", "uuid", "timestamptz", "date", "interval", "inet", "mood", "positive"),
    *('"My.Types".short', "int4range", "tsvector", "integer[]"),
]  # fmt: skip


@pytest.fixture(scope="module")
def keyed(postgresql: PostgresqlServer) -> dict[str, ReadStream]:
    """The content of tables with a key of each type."""
    place = place_factory(postgresql)()
    place.run(*TYPES.split(";"))
    values = {declared: EDGES[declared.removesuffix(' COLLATE "C"')] for declared in KEYS}
    fit = {declared: [v for v in of if v not in ("NaN", "-0") and len(v) < 1000] for declared, of in values.items()}
    return read_tables(place, fit, key="v")


@pytest.mark.parametrize("declared", KEYS)
def test_a_key_of_any_type_is_read_in_our_order(keyed: dict[str, ReadStream], declared: str) -> None:
    read = keyed[declared]
    assert read.content.keys
    assert read.content.keys == [(from_json(row["v"]),) for row in read.rows]
    ordered = [order(key) for key in read.content.keys]
    assert ordered == sorted(ordered)
