"""Sequences after a load: they go on behind the last number that the source has given out. None is ever set back."""

from __future__ import annotations

from pipeline.connectors.postgres.ddl.create_table import Native
from pipeline.connectors.postgres.session.connection import Connection, qualified, quoted


def raise_sequences(connection: Connection, native: Native) -> None:
    """Bring the sequences of a table up to those of the source."""
    table = qualified(native["schema"], native["table"])
    for sequence in native.get("sequences", ()):
        if sequence["last_value"] is None:
            continue
        name = qualified(sequence["schema"], sequence["name"])
        if sequence["identity"]:
            name = _sequence_of(connection, table, sequence["column"]) or name
        _raise(connection, name, sequence["last_value"])


def raise_row_numbers(connection: Connection, native: Native) -> None:
    """Let the identity column that SQLite's row numbers became go on behind the highest."""
    numbers = native.get("row_numbers")
    if numbers is None:
        return
    table = qualified(native["schema"], native["table"])
    name = _sequence_of(connection, table, numbers["column"])
    row = connection.execute(f"SELECT max({quoted(numbers['column'])}) FROM {table}").fetchone()
    last = max(row[0] if row and row[0] is not None else 0, numbers["last"] or 0)
    if name is not None and last > 0:
        _raise(connection, name, last)


def _sequence_of(connection: Connection, table: str, column: str) -> str | None:
    row = connection.execute(
        "SELECT pg_get_serial_sequence(%s, attname) FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s",
        (table, table, column),
    ).fetchone()
    return None if row is None else row[0]


def _raise(connection: Connection, name: str, last: int) -> None:
    row = connection.execute(
        "SELECT seqrelid, seqincrement > 0 FROM pg_sequence WHERE seqrelid = to_regclass(%s)", (name,)
    ).fetchone()
    if row is None:
        return
    sequence, ascends = row
    behind = f"last_value {'<' if ascends else '>'} {last:d}"
    connection.execute(f"SELECT setval({sequence:d}, {last:d}) FROM {name} WHERE NOT is_called OR {behind}")
