"""Constraints of tables: read for other technologies, as clauses of SQL, and in messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from pipeline.connectors.sql.identifiers import quoted, quoted_list
from pipeline.domain.constraints import ForeignKey, Index, IndexColumn, TableConstraints, UnsupportedConstraint
from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.schema import Column, StreamSchema
from pipeline.log_events import log

EXAMPLE_ROWS = 3
"""How many of the rows that break a foreign key a message names."""


def table_constraints(found: Iterable[Index | ForeignKey | UnsupportedConstraint]) -> TableConstraints:
    """Return the constraints of a table by kind, each in the order given."""
    constraints = list(found)
    return TableConstraints(
        indexes=tuple(it for it in constraints if isinstance(it, Index)),
        foreign_keys=tuple(it for it in constraints if isinstance(it, ForeignKey)),
        unsupported=tuple(it for it in constraints if isinstance(it, UnsupportedConstraint)),
    )


def index_columns(names: Sequence[str], descending: Sequence[bool]) -> tuple[IndexColumn, ...]:
    """Return the columns by which an index sorts. The second occurrence of a column sorts nothing."""
    found: dict[str, IndexColumn] = {}
    for name, is_descending in zip(names, descending, strict=True):
        found.setdefault(name, IndexColumn(name, is_descending))
    return tuple(found.values())


def foreign_key_clause(key: ForeignKey, references: str) -> str:
    """Return a foreign key, without its name, as CREATE TABLE and ADD CONSTRAINT take it. `references` is a table in SQL."""
    deferred = " DEFERRABLE INITIALLY DEFERRED" if key.deferred else ""
    return (
        f"FOREIGN KEY ({quoted_list(key.columns)}) REFERENCES {references} ({quoted_list(key.referenced_columns)}) "
        f"ON UPDATE {key.on_update.value} ON DELETE {key.on_delete.value}{deferred}"
    )


def index_terms(index: Index) -> str:
    """Return the columns of an index as CREATE INDEX takes them."""
    return ", ".join(quoted(column.name) + (" DESC" if column.descending else "") for column in index.columns)


def index_name(stream: StreamName, index: Index) -> str:
    """Return the name of an index: the source's, or else one made of the stream and the columns."""
    return index.name or "_".join([stream, *index.column_names, "key" if index.unique else "idx"])


def broken_reference(count: int, columns: Sequence[str], parent: str, examples: Sequence[str], what: str = "") -> str:
    """Return the message about `count` rows that refer to missing rows of `parent`; `what` says what the examples are."""
    subject = "1 row refers" if count == 1 else f"{count} rows refer"
    some = f" ({what}{', '.join(examples)}{' …' if count > len(examples) else ''})" if examples else ""
    return f"{subject} through {', '.join(columns)} to missing rows of {parent}{some}"


def missing_generated_columns(
    schema: StreamSchema, constraints: TableConstraints, present: Collection[str]
) -> Iterator[InventoryItem]:
    """Give the generated columns of a stream of another technology that its table, with the columns `present`, lacks."""
    names = {name.casefold() for name in present}
    for one in constraints.unsupported:
        if one.kind == "generated column" and one.name.casefold() not in names:
            reason = f"{one.reason}; add it to the destination's table by hand"
            yield InventoryItem(one.kind, f"{schema.stream}.{one.name}", Fate.NOT_MOVED, reason)


def missing_constraints(stream: StreamName, missing: Iterable[UnsupportedConstraint]) -> Iterator[InventoryItem]:
    """Give constraints that the destination's table lacks. Generated columns and triggers are items of their own."""
    for one in missing:
        if one.kind not in ("generated column", "trigger"):
            name, reason = f"{stream}: {one.kind} {one.name}", f"{one.reason}; create it by hand if the copy needs it"
            yield InventoryItem("table constraint", name, Fate.NOT_MOVED, reason)


def is_default(default: str | None) -> bool:
    """Whether a column's default gives new rows another value than NULL."""
    return re.fullmatch(r"\s*(NULL(::.*)?)?\s*", default or "", re.IGNORECASE | re.DOTALL) is None


def missing_default(column: Column) -> UnsupportedConstraint:
    """Return the default of a column which the destination's column does not have."""
    return UnsupportedConstraint(
        "default", f"{column.name} = {column.default}", "it is written in the source's language"
    )


def warn_unsupported(stream: StreamName, constraints: Sequence[UnsupportedConstraint]) -> None:
    """Log the constraints of the source that the destination's table does not have."""
    if constraints:
        log.warning("constraints_unsupported", stream=stream, unsupported=[str(one) for one in constraints])
