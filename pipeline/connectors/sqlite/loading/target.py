"""The table that a stream is loaded into, and the statements that change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.connectors.sql.identifiers import quoted, quoted_list
from pipeline.connectors.sqlite.schema.tables import Table

_MAX_VARIABLES = 32_766
_MAX_SQL_CHARACTERS = 15_000
"""apsw caches prepared statements of up to 16,384 characters."""
_MAX_STATEMENT_ROWS = 200


@dataclass(frozen=True, slots=True)
class Target:
    """A table, and the columns of a stream that it holds, in the stream's order.

    `conflict` are the terms of the unique index on the key. `constant` are key columns that an update need not write,
    because equal keys are identical there. `covers_table`: the stream has every column of the table. `numeric` are the
    columns in which SQLite makes numbers of values of the source that are none, or have more digits, with their affinity.
    """

    table: Table
    columns: tuple[str, ...]
    key: tuple[str, ...]
    conflict: str
    constant: frozenset[str]
    skipped: tuple[str, ...]
    covers_table: bool
    encoding: str
    source_encoding: str
    numeric: Mapping[str, str]

    @property
    def rows_per_statement(self) -> int:
        """The number of whole rows that one statement takes."""
        width = len(self.columns)
        return max(1, min(_MAX_STATEMENT_ROWS, _MAX_VARIABLES // width, _MAX_SQL_CHARACTERS // (2 * width + 2)))

    def insert(self, rows: int) -> str:
        """Return the statement that inserts `rows` whole rows, none of which may exist."""
        return self._insert(self.columns, [f"({','.join('?' * len(self.columns))})"] * rows)

    def upsert(self, rows: int) -> str:
        """Return the statement that inserts or updates `rows` whole rows."""
        return self.insert(rows) + self._on_conflict(self.columns)

    def upsert_one(self, columns: tuple[str, ...], raw: frozenset[int]) -> str:
        """Return the statement for one row of these columns; values at the positions `raw` are the bytes of a text."""
        values = ["CAST(? AS TEXT)" if position in raw else "?" for position in range(len(columns))]
        return self._insert(columns, [f"({','.join(values)})"]) + self._on_conflict(columns)

    def delete(self, raw: frozenset[int] = frozenset()) -> str:
        """Return the statement that deletes the row with one key; values at the positions `raw` are the bytes of a text.

        The first comparison is the index's own. The second accepts only the same key where a collation holds others to
        be equal.
        """
        return f"DELETE FROM main.{quoted(self.table.name)} WHERE {self._same_key(raw)}"

    def find(self, raw: frozenset[int] = frozenset()) -> str:
        """Return the query for the row with one key, likewise."""
        return f"SELECT 1 FROM main.{quoted(self.table.name)} WHERE {self._same_key(raw)}"

    def _same_key(self, raw: frozenset[int]) -> str:
        terms = []
        for position, name in enumerate(self.key):
            value = f"CAST(?{position + 1} AS TEXT)" if position in raw else f"?{position + 1}"
            terms.append(f"{quoted(name)} = {value}")
            if name not in self.constant:
                terms.append(f"{quoted(name)} = {value} COLLATE BINARY")
        return " AND ".join(terms)

    def _insert(self, columns: tuple[str, ...], rows: list[str]) -> str:
        # OR ABORT overrides conflict clauses of the table, where REPLACE would silently delete other rows.
        return f"INSERT OR ABORT INTO main.{quoted(self.table.name)}({quoted_list(columns)}) VALUES {','.join(rows)}"

    def _on_conflict(self, columns: tuple[str, ...]) -> str:
        written = [quoted(name) for name in columns if name not in self.constant]
        action = f"UPDATE SET {','.join(f'{name}=excluded.{name}' for name in written)}" if written else "NOTHING"
        return f" ON CONFLICT({self.conflict}) DO {action}"
