"""What a table promises beside its columns and its key, in words that every database with tables understands.

A source says it of its tables, whatever its own language; a destination of another technology makes of it what it can. Between
two databases of one technology it is not used: they have the statements themselves (`StreamSchema.native`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.ids import StreamName


class Action(StrEnum):
    """What happens to a row when the row that it refers to is deleted, or gets another key."""

    NO_ACTION = "NO ACTION"
    RESTRICT = "RESTRICT"
    CASCADE = "CASCADE"
    SET_NULL = "SET NULL"
    SET_DEFAULT = "SET DEFAULT"


@dataclass(frozen=True, slots=True)
class IndexColumn:
    """A column of an index, in the order in which it is sorted there."""

    name: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """An ordered index on columns, over all rows; if `unique`, no two rows have the same values there, but for NULL.

    `name` is unique in the source, and empty where the source has made one up. `constraint` says that it was declared as
    a constraint, not as an index.
    """

    name: str
    columns: tuple[IndexColumn, ...]
    unique: bool = False
    constraint: bool = False

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(column.name for column in self.columns)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Each row's `columns`, where none is NULL, are the `referenced_columns` of a row of the stream `references`.

    `name` is empty where it has none. `deferred`: it need hold only at the end of a transaction.
    """

    name: str
    columns: tuple[str, ...]
    references: StreamName
    referenced_columns: tuple[str, ...]
    on_update: Action = Action.NO_ACTION
    on_delete: Action = Action.NO_ACTION
    deferred: bool = False

    def __str__(self) -> str:
        """What a person calls it: by its name, or else by its columns and where they lead."""
        return self.name or f"{', '.join(self.columns)} to {self.references}"


@dataclass(frozen=True, slots=True)
class UnsupportedConstraint:
    """Something of a table that cannot be said in these words, or cannot be had at a destination; `reason` says why."""

    kind: str
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({self.reason})"


@dataclass(frozen=True, slots=True)
class TableConstraints:
    """All that a table promises beside its columns and its key, and what of it is left out."""

    indexes: tuple[Index, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    unsupported: tuple[UnsupportedConstraint, ...] = ()
