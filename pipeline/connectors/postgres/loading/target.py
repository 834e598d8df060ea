"""How a stream is loaded into a table: its columns, its key, and what a row without a key is found by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from pipeline.connectors.postgres.ddl.ensure_table import postgres_native
from pipeline.connectors.postgres.ddl.mapped_types import column_type
from pipeline.connectors.postgres.ddl.target_table import TargetColumn, TargetTable
from pipeline.connectors.postgres.loading.csv_values import Holds, LineColumn
from pipeline.connectors.postgres.schema.narrow_types import (
    ALTERED_TIME,
    TEXTS,
    TIME_WITH_ZONE,
    alters_time,
    is_time,
    staged_type,
    unlimited_time,
)
from pipeline.connectors.sql.identifiers import quoted, quoted_list
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import Column, StreamSchema

PLACE = '"$place"'
"""The column of a numbered stage with the place of a row, from 0. No stream has a column of that name."""


def numbered(stage: str) -> str:
    """Return a temporary table of records with their places, as the item of a FROM clause."""
    return f"(SELECT row_number() OVER (ORDER BY ctid) - 1 AS {PLACE}, * FROM {stage})"


@dataclass(frozen=True, slots=True)
class RowKey:
    """What identifies a row of a table without a key: a digest of its content, and a count (streams.py)."""

    row: str
    dup: str
    digest: str

    def where_missing(self, table: str) -> str:
        """Return the end of an INSERT … SELECT from the stage `s` that leaves out rows of which there are enough."""
        count = f"SELECT {self.digest} AS digest, count(*) AS present FROM {table} GROUP BY 1"
        row, dup = quoted(self.row), quoted(self.dup)
        return f" LEFT JOIN ({count}) AS t ON t.digest = s.{row} WHERE s.{dup} >= coalesce(t.present, 0)"

    def rows_that_go(self, table: str, stage: str) -> str:
        """Return the rows `t` of the table that the records `s` of `stage` delete, as the item of a FROM clause."""
        content = (
            f"SELECT tableoid AS place, ctid AS spot, {self.digest} AS digest, "
            f"row_number() OVER (PARTITION BY {self.digest}) - 1 AS number FROM {table}"
        )
        return (
            f"{table} AS t JOIN ({content}) AS n ON t.tableoid = n.place AND t.ctid = n.spot JOIN {numbered(stage)} AS s "
            f"ON s.{quoted(self.row)} = n.digest AND n.number >= s.{quoted(self.dup)}"
        )

    def delete_surplus(self, table: str, stage: str) -> str:
        """Return the statement that deletes, of each row in `stage`, those of which there are too many."""
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
    """A table, and its columns into which a stream is loaded (`columns`), in the stream's order.

    `key` are the table's columns of the key, and `record_key` their names in records. `kept` are columns that an update
    does not write, because equal keys are identical there. `covers_table`: the stream has every column of the table.
    `has_identity_always`: values of a column GENERATED ALWAYS AS IDENTITY must override it. `must_replace`: such a column
    is outside the key, where no UPDATE may write it. `staged`: the types of columns in the temporary table that are not the
    table's own, because the table may alter a value. `keeps_keys`: no row gets a key that is written in another way, such as
    `C` for `c` in a `citext`: both are keys of the source.
    """

    table: TargetTable
    stream: StreamName
    columns: tuple[str, ...]
    key: tuple[str, ...]
    record_key: tuple[str, ...]
    kept: frozenset[str]
    skipped: tuple[str, ...]
    lines: tuple[LineColumn, ...]
    covers_table: bool
    has_identity_always: bool
    must_replace: bool
    staged: Mapping[str, str]
    row_key: RowKey | None = None
    keeps_keys: bool = False

    @property
    def sql(self) -> str:
        """The table in a statement that writes, with its partitions."""
        return self.table.sql

    @property
    def only(self) -> str:
        """The table in a statement that reads or deletes, without tables that inherit from it."""
        return self.sql if self.table.partitioned else f"ONLY {self.sql}"

    @property
    def in_two_steps(self) -> bool:
        """Whether rows are upserted by an UPDATE and an INSERT, because ON CONFLICT cannot find them."""
        return frozenset(self.key) in self.table.period_keys

    @property
    def key_lines(self) -> tuple[LineColumn, ...]:
        """The columns of the key, as deletes have them."""
        by_name = {line.name: line for line in self.lines}
        return tuple(replace(by_name[name], holds=by_name[name].holds or Holds.TEXT) for name in self.record_key)

    @property
    def stage_columns(self) -> list[str]:
        """The columns of the temporary table for upserts, as a SELECT from the table `t` gives them."""
        hidden = [] if self.row_key is None else self.key_columns
        return hidden + [self._staged_column(name) for name in self.columns]

    @property
    def stage_names(self) -> list[str]:
        """The names of these columns."""
        return ([] if self.row_key is None else [self.row_key.row, self.row_key.dup]) + list(self.columns)

    @property
    def key_columns(self) -> list[str]:
        """The columns of the temporary table for deletes, likewise."""
        if self.row_key is not None:
            row, dup = quoted(self.row_key.row), quoted(self.row_key.dup)
            return [f'NULL::text COLLATE "default" AS {row}', f"NULL::bigint AS {dup}"]
        return [self._staged_column(name) for name in self.key]

    def _staged_column(self, name: str) -> str:
        type_ = self.staged.get(name)
        if type_ is None:
            return f"t.{quoted(name)}"
        # a cast to its own type would keep the limits; one to text keeps the collation
        value = f"t.{quoted(name)}" if type_ == "text" else "NULL"
        return f"{value}::{type_} AS {quoted(name)}"

    @property
    def can_copy_directly(self) -> bool:
        """Whether a COPY into the table alters no value, apart from those that `may_alter` finds."""
        return all(self.has_length(name) or self.is_timestamp(name) for name in self.staged)

    def has_length(self, name: str) -> bool:
        """Whether a column is a `varchar(n)`, which alters nothing but blanks at the end and rejects longer values."""
        return self.table.columns[name].plain_type.startswith("character varying(")

    def is_timestamp(self, name: str) -> bool:
        """Whether a column is a timestamp without limits, and its values are texts."""
        return self.staged[name] == "text" and self.table.columns[name].plain_type.startswith("timestamp ")

    def times_among(self, columns: Collection[str]) -> list[str]:
        """Return those of these columns that are times, and are staged as text."""
        return [
            name
            for name, staged in self.staged.items()
            if name in columns and staged in TEXTS and is_time(self.table.columns[name].plain_type)
        ]

    def may_alter(self, data: Sequence[bytes]) -> bool:
        """Whether a COPY of `data` into the table may cut blanks at the end of a value, or alter a time."""
        if any(map(self.has_length, self.staged)) and any(b' "' in piece for piece in data):
            return True
        if any(map(self._drops_zone, self.staged)) and any(map(TIME_WITH_ZONE.search, data)):
            return True
        return any(map(self.is_timestamp, self.staged)) and any(map(ALTERED_TIME.search, data))

    def _drops_zone(self, name: str) -> bool:
        """Whether a column is a timestamp without zone, and its values are texts, which may have one."""
        here = self.table.columns[name].plain_type
        return self.staged[name] in TEXTS and here.startswith("timestamp") and here.endswith("without time zone")

    def staged_value(self, name: str, stage: str = "s") -> str:
        """Return the value of a column of the temporary table `stage` as the table takes it."""
        value = f"{stage}.{quoted(name)}"
        if name not in self.staged:
            return value
        if self._drops_zone(name):
            value = f"({value}::timestamp with time zone AT TIME ZONE 'UTC')"
        return f"{value}::{self.table.columns[name].type}"

    def altered(self, name: str) -> str:
        """Return the condition that the table would alter the value of a checked column of the temporary table `s`."""
        here, staged = self.table.columns[name].plain_type, self.staged[name]
        if staged in TEXTS and is_time(here):
            return alters_time(f"s.{quoted(name)}", here)
        text = "::text" if here in ("real", "double precision") else ""  # the shortest that reads back as the same
        return f"s.{quoted(name)} IS DISTINCT FROM s.{quoted(name)}::{here}{text}::{staged}"

    def same_key(self, row: str, other: str) -> str:
        """Return the condition that two rows have one key."""
        return " AND ".join(self._is_equal(name, row, other) for name in self.key)

    def _is_equal(self, name: str, row: str, other: str) -> str:
        ours, its = f"{row}.{quoted(name)}", f"{other}.{quoted(name)}"
        column = self.table.columns.get(name)  # none for what identifies a row without a key
        if column is not None and column.plain_type == "money":  # it is compared with money only, which rounds
            return f"{ours} = {its}::money AND {ours}::numeric = {its}::numeric"
        return f"{ours} = {its}"

    def replaced_row(self, row: str, record: str) -> str:
        """Return the condition that a row is the one that a record replaces."""
        return self.same_row(row, record) if self.keeps_keys else self.same_key(row, record)

    def same_row(self, row: str, delete: str) -> str:
        """Return the condition that a row is the one that a delete concerns: the texts of their keys are the same, too.

        The row of the key 2.5 may have become that of 2.50, and the delete of 2.5 may come later.
        """
        texts = [
            f'concat({row}.{quoted(name)}) COLLATE "C" = concat({self.staged_value(name, delete)}) COLLATE "C"'
            for name in self.key
            if not self.table.columns[name].same_when_equal
        ]
        return " AND ".join([self.same_key(row, delete), *texts])

    def rows_that_go(self, stage: str) -> str:
        """Return the rows `t` of the table that the deletes `s` of `stage` concern, as the item of a FROM clause."""
        if self.row_key is not None:
            return self.row_key.rows_that_go(self.only, stage)
        return f"{self.only} AS t JOIN {numbered(stage)} AS s ON {self.same_row('t', 's')}"

    def rows_replaced(self, stage: str) -> str:
        """Return, likewise, the rows that upserts of `stage` replace. The table has a key."""
        return f"{self.only} AS t JOIN {numbered(stage)} AS s ON {self.same_key('t', 's')}"


def target_of(table: TargetTable, schema: StreamSchema, stream: StreamSchema, *, is_widened: bool) -> Target:
    """Return how the stream is loaded into the table. `schema` is that of `stream` with the names of the table.

    `is_widened`: where a column is JSON and its declared type would not make it so, it was widened for any value.

    ConfigurationError without a unique index on the stream's key.
    """
    columns, key, row_key = table.columns, schema.primary_keys, _row_key(schema)
    if row_key is None and frozenset(key) not in table.unique_keys:
        _refuse_key(table, schema)
    names = list(zip(stream.column_names, schema.column_names, strict=True))
    hidden = () if row_key is None else (row_key.row, row_key.dup)
    wanted = {c.name: c for c in schema.columns if c.name in columns and not columns[c.name].generated}
    holds = dict.fromkeys(hidden, Holds.TEXT) | {
        name: _holds(column, columns[name], is_widened=is_widened, is_key=name in key)
        for name, column in wanted.items()
    }
    always = {name for name in wanted if columns[name].identity == "a"}
    kept = frozenset(name for name in key if name in columns and columns[name].same_when_equal)
    narrow = {
        name: _staged_type(column, columns[name], is_key=name in key, is_native="postgresql" in schema.native)
        for name, column in wanted.items()
    }
    return Target(
        table=table,
        stream=stream.stream,
        columns=tuple(wanted),
        key=key,
        record_key=stream.primary_keys,
        kept=kept | always,
        skipped=tuple(name for name, here in names if here not in {*wanted, *hidden, *key}),
        lines=tuple(LineColumn(name, holds.get(here), here) for name, here in names),
        covers_table={name for name, column in columns.items() if not column.generated} <= wanted.keys(),
        has_identity_always=bool(always),
        must_replace=bool(always - kept),
        staged={name: it for name, it in narrow.items() if it is not None},
        row_key=row_key,
    )


def _refuse_key(table: TargetTable, schema: StreamSchema) -> NoReturn:
    names = quoted_list(schema.primary_keys)
    missing = [column for column in postgres_native(schema)["columns"] if column["name"] in schema.primary_keys]
    added = [f"ADD COLUMN {quoted(it['name'])} {it['type']}" for it in missing if it["name"] not in table.columns]
    add = f"ALTER TABLE {table.sql} {', '.join(added)}; " if added else ""
    raise ConfigurationError(
        f"Table {table.sql} of the destination has no unique index on the stream's key ({names}), so rows could be "
        f"duplicated; have its owner create one: {add}CREATE UNIQUE INDEX ON {table.sql} ({names})"
    )


def _row_key(schema: StreamSchema) -> RowKey | None:
    found = postgres_native(schema).get("row_key")
    return None if found is None else RowKey(found["row"], found["dup"], found["digest"])


def _staged_type(source: Column, here: TargetColumn, *, is_key: bool, is_native: bool) -> str | None:
    """Return the type to stage values in. `is_native`: the source is PostgreSQL, which keeps what its types say."""
    found = staged_type(source.type, source.native_type if is_native else "", here.type, here.plain_type)
    if not (is_key and found in TEXTS and is_time(here.plain_type)):
        return found
    if here.plain_type == "date":
        return "timestamp without time zone"
    # The key of a staged row is compared with that of the table, and text equals no time.
    bare = unlimited_time(here.plain_type)
    return None if bare == here.plain_type else bare


def _holds(column: Column, here: TargetColumn, *, is_widened: bool, is_key: bool) -> Holds:
    if here.base in ("json", "jsonb"):
        if is_widened and (here.base == "json" or is_key):  # it becomes jsonb in a key alone
            is_any = column.type == "any" or not column_type(column, is_key=False).startswith("json")
        else:  # in a column that declares a type, such as JSON, the text is the app's JSON
            is_any = column.type == "any" and not column.declares_type
        return Holds.ANY if is_any else Holds.TEXT
    return Holds.BYTES if here.base == "bytea" else Holds.TEXT
