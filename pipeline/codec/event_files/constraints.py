"""Table constraints as a member of a header's `native`: JSON to values and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from pipeline.codec.values import shorten
from pipeline.codec.wire import parsing
from pipeline.domain.constraints import Action, TableConstraints
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema

MEMBER = "promises"
"""The member of a technology's part of `StreamSchema.native` that other technologies understand."""


class _IndexColumn(Struct):
    name: str
    descending: bool


class _Index(Struct):
    name: str
    columns: list[_IndexColumn]
    unique: bool
    constraint: bool

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_columns([column.name for column in self.columns])


class _ForeignKey(Struct, rename="camel"):
    name: str
    columns: list[str]
    references: StreamName
    referenced_columns: list[str]
    on_update: Action
    on_delete: Action
    deferred: bool

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_name(self.references)
        _check_columns(self.columns)
        _check_columns(self.referenced_columns)
        if len(self.referenced_columns) != len(self.columns):
            raise ValueError(f"{shorten(self.columns)} cannot refer to {shorten(self.referenced_columns)}")


class _Unsupported(Struct):
    kind: str
    name: str
    reason: str


class _Constraints(Struct, rename="camel"):
    indexes: list[_Index]
    foreign_keys: list[_ForeignKey]
    unsupported: list[_Unsupported] = field(name="leftOut")


def constraints_to_json(constraints: TableConstraints) -> dict[str, Any]:
    """Return a JSON object that equals what is read back."""
    document: dict[str, Any] = msgspec.to_builtins(msgspec.convert(constraints, _Constraints, from_attributes=True))
    return document


def constraints_of(schema: StreamSchema) -> TableConstraints:
    """Return the constraints that a header states for its table, or none. DamagedError when they cannot be read."""
    for technology in schema.native.values():
        if isinstance(technology, Mapping) and MEMBER in technology:
            with parsing(f"The header of stream {schema.stream}"):
                found = msgspec.convert(technology[MEMBER], _Constraints)
            return msgspec.convert(found, TableConstraints, from_attributes=True)
    return TableConstraints()


def _check_name(name: str) -> None:
    if "\0" in name:
        raise ValueError(f"{shorten(name)} holds a null character, which no database accepts in a name")


def _check_columns(columns: list[str]) -> None:
    if not columns or len(set(columns)) != len(columns):
        raise ValueError(f"columns {shorten(columns)} cannot be those of an index or a key")
    for name in columns:
        _check_name(name)
