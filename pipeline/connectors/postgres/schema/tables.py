"""A table of the source: its names, columns and key."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count as count_from

from pipeline.connectors.postgres.schema.types import WireType
from pipeline.connectors.sql.identifiers import qualified, quoted
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import SPECIAL_STREAMS

_ROW_COLUMNS = 800
"""Columns in one ROW of a digest, each with two of the at most 1,664 values."""


def stream_name(schema: str, table: str) -> StreamName:
    """Return the name of a table's stream."""
    parts = [table] if schema == "public" else [schema, table]
    is_odd = [part in SPECIAL_STREAMS or "." in part or '"' in part for part in parts]
    return StreamName(".".join(quoted(part) if odd else part for part, odd in zip(parts, is_odd, strict=True)))


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column. `base_type` is the name of its type, or of its domain's base type; empty if not PostgreSQL's own.

    `identity` and `generated` are the catalog's letters, or empty. `expression` is the default, or what a generated
    column is computed from; `size` is the declared length or -1; `number` stays the same when it is renamed.
    `not_null_here`: child tables do not inherit its NOT NULL.
    `collation_oid` is the collation in use, `collation` its SQL name if it is not the type's own.
    """

    name: str
    native_type: str
    type_oid: int
    base_type: str
    wire: WireType
    not_null: bool
    not_null_name: str | None
    not_null_here: bool
    number: int
    identity: str
    generated: str
    expression: str | None
    collation: str | None
    collation_oid: int
    size: int

    @property
    def default(self) -> str | None:
        """The default as SQL; None for a generated column."""
        return None if self.generated else self.expression

    @property
    def text(self) -> str:
        """The SQL of the value's text form, whatever casts to text the database has; '' for NULL."""
        return f"concat({quoted(self.name)})"


@dataclass(frozen=True, slots=True)
class Table:
    """A table. `key` are the columns that identify a row, empty if none do; `readable`: the user may read it.

    `unique_keys` are the sets of columns of its unique indexes, whose columns may be NULL.
    """

    oid: int
    schema: str
    name: str
    partitioned: bool
    unlogged: bool
    partition_by: str | None
    readable: bool
    columns: tuple[TableColumn, ...]
    key: tuple[str, ...]
    unique_keys: frozenset[frozenset[str]] = frozenset()

    @property
    def stream(self) -> StreamName:
        """The name of its stream."""
        return stream_name(self.schema, self.name)

    @property
    def from_item(self) -> str:
        """The table in a FROM clause: with its partitions, without tables that inherit from it."""
        name = qualified(self.schema, self.name)
        return name if self.partitioned else f"ONLY {name}"

    @property
    def data_columns(self) -> tuple[TableColumn, ...]:
        """The columns that records hold."""
        return tuple(column for column in self.columns if not column.generated or column.name in self.key)

    @property
    def key_columns(self) -> tuple[TableColumn, ...]:
        """The columns of the key, in key order."""
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.key)

    @property
    def row_key(self) -> tuple[str, str]:
        """The names of the two columns that identify a row of a table without a key (streams.py), which it has not itself."""
        names = {column.name for column in self.columns}
        mark = next(
            mark for mark in ("$" * count for count in count_from(1)) if names.isdisjoint((f"{mark}row", f"{mark}dup"))
        )
        return f"{mark}row", f"{mark}dup"

    @property
    def digest(self) -> str:
        """The SQL of a row's `$row`, from the texts of all columns that records hold, in order."""
        columns = self.data_columns
        parts = [columns[start : start + _ROW_COLUMNS] for start in range(0, max(1, len(columns)), _ROW_COLUMNS)]
        texts = ", ".join(
            f"ROW({', '.join(f'{it.text}, {quoted(it.name)} IS NOT DISTINCT FROM NULL' for it in part)})"
            for part in parts
        )
        return f"left(encode(sha256(convert_to(concat({texts}), 'UTF8')), 'hex'), 32)"
