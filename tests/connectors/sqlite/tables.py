"""Hypothesis strategies: tables of any shape, with any values SQLite can hold in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import apsw
from hypothesis import strategies as st

from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sqlite.schema.tables import folded

Value = int | float | str | bytes | None


@dataclass(frozen=True)
class RawBytes:
    """Text of these bytes, valid in the database's encoding or not."""

    data: bytes


@dataclass(frozen=True)
class AnyTable:
    """A table's statement, and rows for it; those that break one of its rules do not go in."""

    name: str
    create: str
    rows: list[tuple[Value | RawBytes, ...]]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.one_of(
    st.sampled_from(
        ["id", "rowid", "order", "select", "a b", 'say "hi"', "it's", "x;--", "straße", "日本", "[x]", "ROWID"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=10),
).filter(lambda name: not folded(name).startswith((b"sqlite_", b"_pipeline_")))
integers = st.one_of(
    st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**53 + 1, 2**63 - 1, -(2**63)])
)
floats = st.one_of(
    st.floats(allow_nan=False), st.sampled_from([0.0, -0.0, 1.0, float("inf"), float("-inf"), 5e-324, 1e15, 2.0**63])
)
values = st.one_of(
    st.none(),
    integers,
    floats,
    texts,
    st.sampled_from(["", "a\x00b", "\ufeff", "\uffff", "\U0010ffff", "1", "1.0", "NULL", "a", "A", "a "]),
    st.binary(max_size=12),
    st.binary(max_size=6).map(RawBytes),
    st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"a\x00\xff", b"\x00\xd8a\x00"]).map(RawBytes),
)
types = st.sampled_from(
    ["", "INTEGER", "INT", "TEXT", "BLOB", "REAL", "NUMERIC", "VARCHAR(10)", "DECIMAL(10,2)", "BOOLEAN", '"odd type"']
)
strict_types = st.sampled_from(["INTEGER", "INT", "TEXT", "BLOB", "REAL", "ANY"])
keys = st.sampled_from(["none", "rowid", "plain", "not null", "without rowid", "descending rowid"])


@st.composite
def tables(draw: st.DrawFn) -> AnyTable:
    """Return a table with one to five columns."""
    name = draw(names)
    columns = draw(st.lists(names, min_size=1, max_size=5, unique_by=folded))
    strict = draw(st.booleans())
    kind = draw(keys)
    collations = st.sampled_from(["", "", " COLLATE NOCASE", " COLLATE RTRIM"])
    not_null = " NOT NULL" if kind == "not null" else ""
    declared = [f"{draw(strict_types if strict else types)}{draw(collations)}{not_null}" for _ in columns]
    key = draw(st.permutations(range(len(columns))))[: draw(st.integers(1, len(columns)))]
    constraint = ""
    if kind in ("rowid", "descending rowid"):
        declared[key[0]] = "INTEGER PRIMARY KEY" + (" DESC" if kind == "descending rowid" else "")
    elif kind != "none":
        terms = [quoted(columns[place]) + draw(st.sampled_from(["", " DESC", " COLLATE NOCASE"])) for place in key]
        constraint = f", PRIMARY KEY ({', '.join(terms)})"
    options = [*(["STRICT"] if strict else []), *(["WITHOUT ROWID"] if kind == "without rowid" else [])]
    parts = [f"{quoted(column)} {kind}" for column, kind in zip(columns, declared, strict=True)]
    create = f"CREATE TABLE {quoted(name)} ({', '.join(parts)}{constraint}) {','.join(options)}"
    rows = draw(st.lists(st.tuples(*[values] * len(columns)), max_size=12))
    return AnyTable(name, create, rows)


def make(path: Path, table: AnyTable, encoding: str) -> None:
    """Make a database with the table and those of its rows that SQLite accepts."""
    connection = apsw.Connection(str(path))
    try:
        connection.execute(f"PRAGMA encoding='{encoding}'; PRAGMA synchronous=OFF; {table.create}").fetchall()
        with connection:
            for row in table.rows:
                terms = ["CAST(? AS TEXT)" if isinstance(value, RawBytes) else "?" for value in row]
                bound = [value.data if isinstance(value, RawBytes) else value for value in row]
                try:
                    connection.execute(f"INSERT INTO {quoted(table.name)} VALUES ({','.join(terms)})", bound)
                except (apsw.ConstraintError, apsw.MismatchError):
                    continue
    finally:
        connection.close(True)
