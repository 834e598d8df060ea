"""What a stream looks like: its columns, its key, and how its source wrote them down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.domain.ids import Label, StreamName


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `type` is one of the format's type names (docs/reference/event-files.md); it says how to read a value.

    `native_type` is the type as the source declares it, `default` its default as an expression of the source's own
    language; both are advice for a destination of the same technology. `size` is -1 where there is no limit.
    """

    name: str
    type: str
    nullable: bool = True
    native_type: str = ""
    default: str | None = None
    size: int = -1


@dataclass(frozen=True, slots=True)
class StreamSchema:
    """One stream: `primary_keys` are the names of the columns that identify a row, in key order; never empty.

    `native` carries what only a destination of the same technology can use, under the technology's name (for SQLite:
    the statements that create the table and its indexes). It is a JSON object.
    """

    stream: StreamName
    label: Label
    columns: tuple[Column, ...]
    primary_keys: tuple[str, ...]
    native: Mapping[str, object] = field(default_factory=dict)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of all columns, in the order of their values in a row."""
        return tuple(column.name for column in self.columns)
