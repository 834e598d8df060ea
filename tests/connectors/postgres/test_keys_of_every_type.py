"""Rows whose key is of any type that PostgreSQL can sort are found again, and changed, deleted and replaced."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from tests.connectors.postgres.moving import Movements, equal, succeed
from tests.connectors.postgres.places import Place

TYPES = (
    "CREATE DOMAIN cents AS numeric(8,2)",
    "CREATE DOMAIN coins AS money",
    "CREATE TYPE pair AS (a int, b text)",
    "CREATE TYPE mood AS ENUM ('z', 'a', 'm')",
)
KEYS = {
    '"char"': ("a", "b", "c"),
    "char(5)": ("a", "b", "c"),
    "varchar(7)": ("a", "b ", "c"),
    "numeric(12,4)": ("1.5", "2.25", "-3"),
    "money": ("1.5", "-2.25", "3"),
    "timestamp(3)": ("2020-01-01 00:00:00.123", "2020-01-02", "infinity"),
    "timetz": ("10:00+01", "10:00+02", "24:00-03"),
    "interval day to second(2)": ("1 day 00:00:01.25", "-3 days", "0"),
    "macaddr": ("08:00:2b:01:02:03", "08:00:2b:01:02:04", "08:00:2b:01:02:05"),
    "pg_lsn": ("0/1", "0/2", "FF/0"),
    "xid8": ("1", "2", "18446744073709551615"),
    "tsvector": ("a:1", "b:2", "c"),
    "bit varying(5)": ("1", "", "101"),
    "jsonb": ('{"a": 1.0}', "[]", '"x"'),
    "bytea": ("\\x00", "", "\\xff"),
    "float8": ("0.1", "1e300", "Infinity"),
    "numeric(5,2)[]": ("{1.5,NULL}", "{}", "{2}"),
    "money[]": ("{1.5}", "{}", "{-2}"),
    "inet": ("1.2.3.4/24", "::1", "1.2.3.4"),
    "numrange": ("[1.0,2)", "empty", "(,)"),
    "cents": ("1.50", "2", "3"),
    "coins": ("1.50", "2", "3"),
    "pair": ("(1,a)", "(,b)", "(2,)"),
    "mood": ("z", "a", "m"),
}


async def test_rows_are_changed_deleted_and_inserted_by_their_keys(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    tables = {f"t{number}": item for number, item in enumerate(KEYS.items())}
    source.run(*TYPES)
    for table, (kind, (first, second, _)) in tables.items():
        source.run(
            f"CREATE TABLE {table} (k {kind} PRIMARY KEY, v int)",
            f"INSERT INTO {table} VALUES ('{first}', 1), ('{second}', 2)",
        )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    for table, (_, (_, _, third)) in tables.items():
        source.run(
            f"UPDATE {table} SET v = 9 WHERE v = 1",
            f"DELETE FROM {table} WHERE v = 2",
            f"INSERT INTO {table} VALUES ('{third}', 3)",
        )
    await succeed(movements)
    for table, (kind, (first, _, third)) in tables.items():
        rows = copy.rows(f"SELECT k = '{first}'::{kind}, k = '{third}'::{kind}, v FROM {table} ORDER BY v DESC")
        assert rows == [(True, False, 9), (False, True, 3)], kind
    assert await equal(movements)
