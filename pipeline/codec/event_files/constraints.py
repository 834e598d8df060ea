"""Table constraints as a member of a header's `native`: JSON ↔ values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pipeline.codec.documents.flow import PARSE_ERRORS, get_str, get_strs, invalid_document
from pipeline.codec.values import shorten
from pipeline.domain.constraints import Action, ForeignKey, Index, IndexColumn, TableConstraints, UnsupportedConstraint
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema

MEMBER = "promises"
"""The member of a technology's part of `StreamSchema.native` that other technologies understand."""

_T = TypeVar("_T")


def constraints_to_json(constraints: TableConstraints) -> dict[str, object]:
    """Return a JSON object, of lists and not of tuples: it must equal what is read back."""
    return {
        "indexes": [
            {
                "name": index.name,
                "columns": [{"name": column.name, "descending": column.descending} for column in index.columns],
                "unique": index.unique,
                "constraint": index.constraint,
            }
            for index in constraints.indexes
        ],
        "foreignKeys": [
            {
                "name": key.name,
                "columns": list(key.columns),
                "references": key.references,
                "referencedColumns": list(key.referenced_columns),
                "onUpdate": key.on_update.value,
                "onDelete": key.on_delete.value,
                "deferred": key.deferred,
            }
            for key in constraints.foreign_keys
        ],
        "leftOut": [{"kind": it.kind, "name": it.name, "reason": it.reason} for it in constraints.unsupported],
    }


def constraints_of(schema: StreamSchema) -> TableConstraints:
    """Return the constraints that a header states for its table, or none; DamagedError when they cannot be read."""
    for said in schema.native.values():
        if isinstance(said, Mapping) and MEMBER in said:
            try:
                return _read(said[MEMBER])
            except PARSE_ERRORS as error:
                raise invalid_document(f"What the header of stream {schema.stream} promises", error) from error
    return TableConstraints()


def _read(document: Mapping[str, object]) -> TableConstraints:
    return TableConstraints(
        indexes=_each(document, "indexes", _read_index),
        foreign_keys=_each(document, "foreignKeys", _read_foreign_key),
        unsupported=_each(
            document,
            "leftOut",
            lambda it: UnsupportedConstraint(get_str(it, "kind"), get_str(it, "name"), get_str(it, "reason")),
        ),
    )


def _read_index(document: Mapping[str, object]) -> Index:
    columns = _each(document, "columns", lambda it: IndexColumn(_name_of(it, "name"), _is(it, "descending")))
    _check_names([column.name for column in columns])
    return Index(_name_of(document, "name"), columns, _is(document, "unique"), _is(document, "constraint"))


def _read_foreign_key(document: Mapping[str, object]) -> ForeignKey:
    columns, referenced = get_strs(document, "columns"), get_strs(document, "referencedColumns")
    _check_names(columns)
    _check_names(referenced)
    if len(referenced) != len(columns):
        raise ValueError(f"{shorten(list(columns))} cannot refer to {shorten(list(referenced))}")
    return ForeignKey(
        name=_name_of(document, "name"),
        columns=columns,
        references=StreamName(_name_of(document, "references")),
        referenced_columns=referenced,
        on_update=Action(get_str(document, "onUpdate")),
        on_delete=Action(get_str(document, "onDelete")),
        deferred=_is(document, "deferred"),
    )


def _name_of(document: Mapping[str, object], member: str) -> str:
    name = get_str(document, member)
    if "\0" in name:
        raise ValueError(f"{member} is {shorten(name)}, which no database takes for a name")
    return name


def _check_names(columns: Sequence[str]) -> None:
    if not columns or len(set(columns)) != len(columns) or any("\0" in name for name in columns):
        raise ValueError(f"columns {shorten(list(columns))} cannot be those of an index or a key")


def _each(document: Mapping[str, object], member: str, read: Callable[[Mapping[str, object]], _T]) -> tuple[_T, ...]:
    items = document[member]
    if not isinstance(items, list):
        raise TypeError(f"{member} is {shorten(items)}, not a list")
    return tuple(read(item) for item in items)


def _is(document: Mapping[str, object], member: str) -> bool:
    value = document[member]
    if not isinstance(value, bool):
        raise TypeError(f"{member} is {shorten(value)}, neither true nor false")
    return value
