"""Indexes and foreign keys of a table, independent of the technology.

A source describes its tables with them, and a destination of another technology creates what it supports. Two databases
of one technology do not use them: they have the statements themselves (`StreamSchema.native`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.ids import StreamName


class Action(StrEnum):
    """What happens to a row when the row that it references is deleted or changes its key."""

    NO_ACTION = "NO ACTION"
    RESTRICT = "RESTRICT"
    CASCADE = "CASCADE"
    SET_NULL = "SET NULL"
    SET_DEFAULT = "SET DEFAULT"


@dataclass(frozen=True, slots=True)
class IndexColumn:
    """A column of an index, and its sort order."""

    name: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """An ordered index over all rows. With `unique`, no two rows have the same values, apart from NULL.

    `name` is unique in the source, and empty where the source generated it. `constraint`: it was declared as a
    constraint.
    """

    name: str
    columns: tuple[IndexColumn, ...]
    unique: bool = False
    constraint: bool = False

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in index order."""
        return tuple(column.name for column in self.columns)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`columns` of each row, unless one is NULL, equal `referenced_columns` of a row of the stream `references`.

    `name` is empty where the source gives none. `deferred`: it is checked at the end of a transaction.
    """

    name: str
    columns: tuple[str, ...]
    references: StreamName
    referenced_columns: tuple[str, ...]
    on_update: Action = Action.NO_ACTION
    on_delete: Action = Action.NO_ACTION
    deferred: bool = False

    def __str__(self) -> str:
        """Return the name; without one, the columns and the referenced stream."""
        return self.name or f"{', '.join(self.columns)} to {self.references}"


@dataclass(frozen=True, slots=True)
class UnsupportedConstraint:
    """A constraint that these classes cannot describe, or that a destination cannot create; `reason` says why."""

    kind: str
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({self.reason})"


@dataclass(frozen=True, slots=True)
class TableConstraints:
    """The constraints of a table beside its columns and primary key, and those that are unsupported."""

    indexes: tuple[Index, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    unsupported: tuple[UnsupportedConstraint, ...] = ()
