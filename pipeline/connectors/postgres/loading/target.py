"""The table that a stream is loaded into, as it is at the destination; and how the stream's columns go into it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.connectors.postgres.ddl.ensure_table import postgres_native
from pipeline.connectors.postgres.ddl.target_table import TargetColumn, TargetTable
from pipeline.connectors.postgres.loading.csv_values import Holds, LineColumn
from pipeline.connectors.postgres.session.connection import quoted
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.schema import StreamSchema


@dataclass(frozen=True, slots=True)
class RowKey:
    """How rows of a table without a key are told apart: by a digest of their content, and a count (catalog.py)."""

    row: str
    dup: str
    digest: str

    def where_missing(self, table: str) -> str:
        """Return the end of an INSERT … SELECT from stage `s` that leaves out rows of which there are enough."""
        count = f"SELECT {self.digest} AS digest, count(*) AS present FROM {table} GROUP BY 1"
        row, dup = quoted(self.row), quoted(self.dup)
        return f" LEFT JOIN ({count}) AS t ON t.digest = s.{row} WHERE s.{dup} >= coalesce(t.present, 0)"

    def delete_surplus(self, table: str, stage: str) -> str:
        """Return the statement that deletes, of each row in `stage`, all that there are too many of."""
        row, dup = quoted(self.row), quoted(self.dup)
        numbered = (
            f"SELECT tableoid AS place, ctid AS spot, {self.digest} AS digest, "
            f"row_number() OVER (PARTITION BY {self.digest}) - 1 AS number FROM {table}"
        )
        return (
            f"DELETE FROM {table} AS t USING (SELECT n.place, n.spot FROM ({numbered}) AS n JOIN "
            f"(SELECT {row} AS digest, min({dup}) AS kept FROM {stage} GROUP BY 1) AS s ON s.digest = n.digest "
            "WHERE n.number >= s.kept) AS gone WHERE t.tableoid = gone.place AND t.ctid = gone.spot"
        )


@dataclass(frozen=True, slots=True)
class Target:
    """A table, and which of a stream's columns go into it (`columns`), in the stream's order.

    `kept` are columns that an update does not write: equal keys are the same there. `covers_table`: the stream has every
    column of the table. `has_identity_always`: values for a column GENERATED ALWAYS AS IDENTITY have to override it;
    `must_replace`: such a column is outside the key, where no UPDATE may write it.
    """

    table: TargetTable
    columns: tuple[str, ...]
    key: tuple[str, ...]
    kept: frozenset[str]
    skipped: tuple[str, ...]
    lines: tuple[LineColumn, ...]
    covers_table: bool
    has_identity_always: bool
    must_replace: bool
    row_key: RowKey | None = None

    @property
    def sql(self) -> str:
        """The table in a statement that writes: its own rows, and those of its partitions."""
        return self.table.sql

    @property
    def only(self) -> str:
        """The table in a statement that reads or deletes, without the tables that inherit from it."""
        return self.sql if self.table.partitioned else f"ONLY {self.sql}"

    @property
    def key_lines(self) -> tuple[LineColumn, ...]:
        """The key's columns, as deletes have them."""
        by_name = {line.name: line for line in self.lines}
        found = [by_name[name] for name in self.key]
        return tuple(LineColumn(line.name, line.holds or Holds.TEXT) for line in found)

    @property
    def stage_columns(self) -> list[str]:
        """The columns of the temporary table for upserts, as a SELECT from the table `t` gives them."""
        extra = [] if self.row_key is None else self.key_columns
        return extra + [self._staged(name) for name in self.columns]

    @property
    def key_columns(self) -> list[str]:
        """The columns of the temporary table for deletes, likewise."""
        if self.row_key is not None:
            row, dup = quoted(self.row_key.row), quoted(self.row_key.dup)
            return [f'NULL::text COLLATE "default" AS {row}', f"NULL::bigint AS {dup}"]
        return [f"t.{quoted(name)}" for name in self.key]

    @property
    def can_copy_directly(self) -> bool:
        """Whether a value's text means the same in a COPY to the table itself: that of money depends on `lc_monetary`."""
        return not any(self.table.columns[name].base == "money" for name in self.columns)

    def staged_value(self, name: str) -> str:
        """Return the value of a column of the temporary table `s` as the table takes it."""
        return f"s.{quoted(name)}" + ("::money" if self.table.columns[name].base == "money" else "")

    def _staged(self, name: str) -> str:
        is_money = self.table.columns[name].base == "money"
        return f"t.{quoted(name)}::numeric AS {quoted(name)}" if is_money else f"t.{quoted(name)}"


def target_of(table: TargetTable, schema: StreamSchema) -> Target:
    """Return how the stream goes into the table. ConfigurationError when it has no unique index on the stream's key."""
    columns, row_key = table.columns, _row_key(schema)
    hidden = () if row_key is None else (row_key.row, row_key.dup)
    wanted = [c for c in schema.columns if c.name in columns and not columns[c.name].generated]
    names = tuple(column.name for column in wanted)
    if row_key is None and frozenset(schema.primary_keys) not in table.unique_keys:
        raise ConfigurationError(_without_key(table, schema.primary_keys))
    lines = tuple(
        LineColumn(c.name, _holds(c.type, columns[c.name]) if c in wanted else Holds.TEXT if c.name in hidden else None)
        for c in schema.columns
    )
    always = {name for name in names if columns[name].identity == "a"}
    kept = frozenset(name for name in schema.primary_keys if name in columns and columns[name].same_when_equal)
    needed = {name for name, column in columns.items() if not column.generated}
    unwanted = [c.name for c in schema.columns if c not in wanted and c.name not in (*hidden, *schema.primary_keys)]
    return Target(
        table=table,
        columns=names,
        key=schema.primary_keys,
        kept=kept | always,
        skipped=tuple(unwanted),
        lines=lines,
        covers_table=needed <= set(names),
        has_identity_always=bool(always),
        must_replace=bool(always - kept),
        row_key=row_key,
    )


def _row_key(schema: StreamSchema) -> RowKey | None:
    found = postgres_native(schema).get("row_key")
    return None if found is None else RowKey(found["row"], found["dup"], found["digest"])


def _holds(wire: str, column: TargetColumn) -> Holds:
    if wire == "any" and column.base in ("json", "jsonb"):
        return Holds.ANY
    return Holds.BYTES if column.base == "bytea" else Holds.TEXT


def _without_key(table: TargetTable, key: tuple[str, ...]) -> str:
    names = ", ".join(map(quoted, key))
    return (
        f"Table {table.sql} of the destination has no unique index on the stream's key ({names}), so rows could come in "
        f"twice; make one: CREATE UNIQUE INDEX ON {table.sql} ({names})"
    )
