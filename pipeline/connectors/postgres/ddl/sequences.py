"""Sequences after a load: they continue after the last number that the source has given out. None is ever set back."""

from __future__ import annotations

from pipeline.connectors.postgres.ddl.create_table import Native, name_of
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted

_SEQUENCE_OF = """
SELECT coalesce(pg_get_serial_sequence(%(table)s, %(column)s), (
    SELECT d.refobjid::regclass::text
    FROM pg_attrdef AS f JOIN pg_attribute AS a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
    JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
    JOIN pg_class AS s ON s.oid = d.refobjid AND s.relkind = 'S' AND d.refclassid = 'pg_class'::regclass
    WHERE a.attrelid = to_regclass(%(table)s) AND a.attname = %(column)s LIMIT 1))
WHERE EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%(table)s) AND attname = %(column)s)
"""

_NUMBERED = """
SELECT a.attname::text, s.seqrelid::regclass::text, s.seqincrement > 0, s.seqmin, s.seqmax
FROM pg_attribute AS a CROSS JOIN LATERAL (
    SELECT d.objid AS sequence FROM pg_depend AS d
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
      AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
    UNION
    SELECT d.refobjid FROM pg_attrdef AS f JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
    WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum AND d.refclassid = 'pg_class'::regclass
      AND pg_get_expr(f.adbin, f.adrelid) ~ '^nextval\\(''[^'']+''::regclass\\)(::[a-z]+)?$'
) AS fed JOIN pg_sequence AS s ON s.seqrelid = fed.sequence
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
"""
"""The columns of a table that take their numbers from a sequence, as they come from there."""


def advance_sequences(connection: Connection, native: Native) -> None:
    """Advance the sequences of a table to those of the source."""
    table = qualified(*name_of(native))
    for sequence in native.get("sequences", ()):
        if sequence["last_value"] is None:
            continue
        name = qualified(sequence["schema"], sequence["name"])
        if sequence["identity"]:
            name = sequence_of(connection, table, sequence["column"]) or name
        _advance(connection, name, sequence["last_value"])
    if numbers := native.get("row_numbers"):  # the identity column that SQLite's row numbers became
        row = connection.execute(f"SELECT max({quoted(numbers['column'])}) FROM {table}").fetchone()
        last = max(row[0] if row and row[0] is not None else 0, numbers["last"] or 0)
        identity = sequence_of(connection, table, numbers["column"])
        if identity is not None and last > 0:
            _advance(connection, identity, last)


def advance_own_sequences(connection: Connection, native: Native) -> None:
    """Advance the sequences of the app's own table for which the source has none beyond the numbers that were loaded."""
    table = qualified(*name_of(native))
    numbered = {it["column"] for it in native.get("sequences", ())} | {(native.get("row_numbers") or {}).get("column")}
    for column, sequence, ascends, least, most in connection.execute(_NUMBERED, (table,)).fetchall():
        if column not in numbered:
            last = f"SELECT {'max' if ascends else 'min'}({quoted(column)}) FROM {table}"
            ((number,),) = connection.execute(last.encode()).fetchall()
            if number is not None and least <= number <= most:
                _advance(connection, sequence, number)


def sequence_of(connection: Connection, table: str, column: str) -> str | None:
    """Return the sequence that gives a column its numbers, also if it does not own it; None if none does."""
    row = connection.execute(_SEQUENCE_OF, {"table": table, "column": column}).fetchone()
    return None if row is None else row[0]


def _advance(connection: Connection, name: str, last: int) -> None:
    row = connection.execute(
        "SELECT seqrelid, seqincrement > 0 FROM pg_sequence WHERE seqrelid = to_regclass(%s)", (name,)
    ).fetchone()
    if row is None:
        return
    sequence, ascends = row
    is_behind = f"last_value {'<' if ascends else '>'} {last:d}"
    connection.execute(f"SELECT setval({sequence:d}, {last:d}) FROM {name} WHERE NOT is_called OR {is_behind}")
