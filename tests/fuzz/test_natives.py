"""SQL in a header: a statement that does anything other than its purpose has no effect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import samples
from tests.fuzz.holding import fuzz
from tests.fuzz.hostile import HOSTILE_VALUES, altered_json, dump
from tests.fuzz.importing import Stored
from tests.fuzz.test_imports import check_one, import_into_sqlite

CREATE = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, data)"
STATEMENTS = [
    CREATE,
    f"{CREATE}; DELETE FROM sentinel",
    "DELETE FROM sentinel",
    "DROP TABLE sentinel",
    "ATTACH '/tmp/outside.db' AS o",
    "PRAGMA writable_schema = ON",
    "CREATE TABLE t AS SELECT * FROM sentinel",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT CHECK (name IN (SELECT id FROM sentinel)), data)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT DEFAULT (load_extension('x')), data)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, data GENERATED ALWAYS AS (randomblob(1000000000)))",
    "CREATE TEMP TABLE t (id INTEGER PRIMARY KEY)",
    "CREATE VIRTUAL TABLE t USING fts5(id, name, data)",
    "CREATE TABLE sentinel (id INTEGER PRIMARY KEY)",
    "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM sentinel; END",
    "CREATE VIEW t AS SELECT * FROM sentinel",
    "CREATE INDEX i ON t (name)",
    "CREATE UNIQUE INDEX i ON t (data)",
    "CREATE INDEX i ON sentinel (id)",
    "CREATE INDEX i ON t (name); DELETE FROM sentinel",
    "",
    ";",
    "\0",
    "CREATE TABLE t (" + "(" * 5000,
    "-- nothing",
]
NATIVE: Any = {
    "create_table": CREATE,
    "indexes": [],
    "rowid": None,
    "encoding": "UTF-8",
    "autoincrement_sequence": None,
}
NATIVES = st.one_of(
    st.tuples(st.sampled_from(STATEMENTS), st.lists(st.sampled_from(STATEMENTS), max_size=2)).map(
        lambda it: NATIVE | {"create_table": it[0], "indexes": it[1]}
    ),
    altered_json(NATIVE | {"indexes": ["CREATE INDEX i ON t (name)"]}),
    st.sampled_from(["encoding", "rowid", "autoincrement_sequence"]).flatmap(
        lambda name: HOSTILE_VALUES.map(lambda value: NATIVE | {name: value})
    ),
)


def import_with(native: Any, technology: str = "sqlite") -> None:
    """Import the sample's records into the table that `native` describes."""
    header = samples.EVENT_FILE[0] | {"native": {technology: native}}
    lines = b"".join(dump(line) + b"\n" for line in [header, *samples.RECORDS])
    check_one(*import_into_sqlite([Stored.honest(samples.FILE, "plain", lines)]))


@fuzz(0.7)
@given(NATIVES)
def test_sql_in_a_header_creates_its_table_or_nothing(native: Any) -> None:
    import_with(native)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_creates_its_table_or_index_or_nothing(statement: str) -> None:
    import_with(NATIVE | {"create_table": statement})
    import_with(NATIVE | {"indexes": [statement]})


@fuzz(0.5)
@given(altered_json(samples.CONSTRAINTS))
def test_constraints_in_a_header_affect_no_other_table(constraints: Any) -> None:
    import_with({"promises": constraints}, "another")
