"""The schema of a stream: its columns, its primary key, and what its source declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.domain.ids import Label, StreamName

SCHEMA_STREAM = StreamName("@schema")
"""The stream of the objects of a database beside tables: views, functions, triggers, sequences."""

LARGE_OBJECT_STREAM = StreamName("@large_objects")
"""The stream of the large objects of a PostgreSQL database, which columns of type oid refer to."""

SPECIAL_STREAMS = frozenset({SCHEMA_STREAM, LARGE_OBJECT_STREAM})
"""Streams that are not tables. What they hold exists in one technology only."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `type` is one of the format's type names (docs/reference/event-files.md).

    `native_type` is the type as the source declares it, and `default` an expression in the source's language; both are
    for a destination of the same technology. `size` is -1 where there is no limit.
    """

    name: str
    type: str
    nullable: bool = True
    native_type: str = ""
    default: str | None = None
    size: int = -1

    @property
    def declares_type(self) -> bool:
        """Whether the source declares a type for the column: SQLite need not, and `ANY` is none."""
        return self.native_type.upper() not in ("", "ANY")


@dataclass(frozen=True, slots=True)
class StreamSchema:
    """The schema of a stream. `primary_keys` names the columns that identify a row, in key order; never empty.

    `label` is the File Group of the stream; it never changes.

    `native` is a JSON object. Under the technology's name it holds what only a destination of the same technology can
    use, for SQLite the statements that create the table and its indexes.

    `identities` are what the source calls the table, and then each of its partitions, whatever their names: after a
    rename they are the same. Empty where the source does not tell.

    `key_basis` says what keys that are no values of columns are computed from, such as a digest of the whole row. Keys
    with another basis do not compare. Empty where keys are values.
    """

    stream: StreamName
    label: Label
    columns: tuple[Column, ...]
    primary_keys: tuple[str, ...]
    native: Mapping[str, object] = field(default_factory=dict)
    identities: tuple[str, ...] = ()
    key_basis: str = ""

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of all columns, in row order."""
        return tuple(column.name for column in self.columns)

    @property
    def is_keyed_by_content(self) -> bool:
        """Whether rows have no key but their content (`$row` and `$dup`): an update is then a delete and an upsert."""
        return all(name.startswith("$") for name in self.primary_keys)
