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
