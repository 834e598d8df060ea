"""An author's row type as columns: dataclasses, msgspec structures, TypedDicts, pydantic models, and dictionaries."""

from __future__ import annotations

import dataclasses
import enum
import operator
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from pipeline.domain.schema import Column
from pipeline.kit.authors_line import misuse
from pipeline.kit.signatures import check_name
from pipeline.kit.values import JSON, NAIVE, Binary

_TYPES: Mapping[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "real",
    str: "text",
    bytes: "bytes",
    Decimal: "decimal",
    datetime: "timestamptz",
    date: "date",
    time: "time",
    timedelta: "interval",
    UUID: "uuid",
    Binary: "binary",
}
_QUALIFIERS = ("Required", "NotRequired", "ReadOnly", "Final")
"""Names, since those of the package typing_extensions are others than those of Python."""
_NESTED = (list, tuple, dict, set, frozenset)
_CLASSES = "Give a dataclass, a msgspec.Struct, a TypedDict, a pydantic model or dict"
_REMEDY = "Give it one of the types in docs/reference/kit.md, or Json"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a row: its column, its Python type without `None`, and whether a row must have it, and may hold `None`."""

    column: Column
    python: Any
    required: bool = True
    may_be_none: bool = False


@dataclass(frozen=True, slots=True)
class RowType:
    """A row type: its fields in order, how to read their values from a row, and how to make a row of values.

    `open` is a `dict` without `columns`: it has whatever columns come.
    """

    type_: Any
    fields: tuple[Field, ...]
    read: Callable[[Any], tuple[Any, ...]]
    make: Callable[[Mapping[str, Any]], Any]
    open: bool = False

    def reader(self, names: Sequence[str]) -> Callable[[Any], Any]:
        """Return a reader of these members of a row: of one its value, of several a tuple."""
        return operator.itemgetter(*names) if self.is_mapping else operator.attrgetter(*names)

    @property
    def is_mapping(self) -> bool:
        """Whether rows are dictionaries, which may have members that are no fields."""
        return self.type_ is dict or is_typeddict(self.type_)

    def keyed(self, names: Sequence[str]) -> RowType:
        """Return this row type with a key. Its fields are never NULL, though a default makes others so."""
        fields = [
            dataclasses.replace(one, column=dataclasses.replace(one.column, nullable=False))
            if one.column.name in names
            else one
            for one in self.fields
        ]
        return dataclasses.replace(self, fields=tuple(fields))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, in the order of the fields."""
        return tuple(field.column for field in self.fields)


def row_type(row: Any, columns: Mapping[str, Any] | None, where: str, *, open_: bool = False) -> RowType:
    """Return the row type of what an author gave as `row=` and `columns=`.

    ConfigurationError with the place `where` when a field has a type that is no column type.
    """
    if row is dict:
        if columns is None and not open_:
            raise misuse(where, "row=dict has no columns", "Add columns={'id': int, …}, or give a row type")
        made = tuple(_field(name, hint, True, where) for name, hint in (columns or {}).items())
        return RowType(dict, made, _items([field.column.name for field in made]), dict, open=columns is None)
    if columns is not None:
        raise misuse(where, "columns= is given with a row type", "Leave columns= out: the fields of the row say it")
    hints = _hints(row, where)
    if is_typeddict(row):
        made = tuple(_field(name, hint, _is_required(row, name, hint), where) for name, hint in hints.items())
        return RowType(row, made, _items([field.column.name for field in made]), dict)
    names, defaults = attributes(row, where)
    if not names:
        raise misuse(where, f"{_name(row)} has no fields", "Give it the fields that a row has")
    made = tuple(_field(name, hints[name], name not in defaults, where) for name in names)
    return RowType(row, made, _attribute_values(names), _maker(row))


def _maker(row: Any) -> Callable[[Mapping[str, Any]], Any]:
    """Return how a row is made of its values by name. A pydantic model takes those of fields with an alias by that."""
    models = getattr(row, "model_fields", None) or {}
    aliases = {
        name: alias
        for name, field in models.items()
        if isinstance(alias := getattr(field, "validation_alias", None), str)
    }
    if not aliases:
        return lambda values: row(**values)
    return lambda values: row(**{aliases.get(name, name): value for name, value in values.items()})


def is_typeddict(kind: Any) -> bool:
    """Whether a class is a TypedDict, of Python or of the package typing_extensions."""
    return isinstance(kind, type) and issubclass(kind, dict) and hasattr(kind, "__required_keys__")


def _hints(row: Any, where: str) -> dict[str, Any]:
    try:
        return _type_hints(row)
    except Exception as error:
        raise misuse(
            where, f"the annotations of {_name(row)} cannot be read: {str(error).rstrip('.')}", "Correct them"
        ) from error


@cache
def _type_hints(row: Any) -> dict[str, Any]:
    """Return the annotations of a class. They are evaluated once: its module may be gone later."""
    return get_type_hints(row, include_extras=True)


def attributes(
    row: Any, where: str, what: str = "row type", remedy: str = _CLASSES
) -> tuple[list[str], frozenset[str]]:
    """Return the names of all fields, and of those that have a default. `what` is what the class should be."""
    missing = dataclasses.MISSING
    if dataclasses.is_dataclass(row):
        fields = [field for field in dataclasses.fields(row) if field.init]
        with_default = [f.name for f in fields if f.default is not missing or f.default_factory is not missing]
        return [field.name for field in fields], frozenset(with_default)
    if isinstance(row, type) and issubclass(row, msgspec.Struct):
        structure = msgspec.structs.fields(row)
        return [field.name for field in structure], frozenset(f.name for f in structure if not f.required)
    models = getattr(row, "model_fields", None)
    if isinstance(models, dict):  # pydantic, which is not needed to recognise its models
        return list(models), frozenset(name for name, field in models.items() if not field.is_required())
    raise misuse(where, f"{_name(row)} is no {what}", remedy)


def _field(name: str, hint: Any, required: bool, where: str) -> Field:
    check_name(name, "a field", where)
    plain, nullable, marks = _stripped(hint)
    type_ = next((mark for mark in marks if mark in (JSON, NAIVE)), None) or _column_type(plain)
    if type_ == JSON and _holds_binary(plain):
        fault = f"the field {name!r} has contents inside of {_name(hint)}, as JSON"
        raise misuse(where, fault, "Declare a field of the type Binary for each, or a stream of its own")
    if type_ is None:
        raise misuse(where, f"the field {name!r} has the type {_name(hint)}, which no column holds", _REMEDY)
    return Field(Column(name, type_, nullable=nullable or not required), plain, required, nullable)


def _holds_binary(hint: Any) -> bool:
    return hint is Binary or any(map(_holds_binary, get_args(hint)))


def _is_required(row: Any, name: str, hint: Any) -> bool:
    """Whether a TypedDict must have a member. Python's own answer is wrong where annotations are texts."""
    while getattr(origin := get_origin(hint), "_name", None) == "ReadOnly":
        (hint,) = get_args(hint)
    return origin is typing.Required or (origin is not typing.NotRequired and name in row.__required_keys__)


def _stripped(hint: Any) -> tuple[Any, bool, list[object]]:
    """Return a type without `None` and annotations, whether `None` belongs to it, and the annotations."""
    nullable, marks = False, list[object]()
    while True:
        origin = get_origin(hint)
        if origin is Annotated:
            hint, *more = get_args(hint)
            marks += [mark for mark in more if isinstance(mark, str)]
        elif getattr(origin, "_name", None) in _QUALIFIERS:
            (hint,) = get_args(hint)
        elif type(hint).__name__ == "TypeAliasType":  # of Python 3.12, or of the package typing_extensions
            hint = hint.__value__
        elif isinstance(hint, NewType):
            hint = hint.__supertype__
        elif origin in (Union, types.UnionType) and type(None) in get_args(hint):
            nullable, rest = True, [one for one in get_args(hint) if one is not type(None)]
            hint = Union[tuple(rest)]  # noqa: UP007  # the members are known only here
        else:
            return hint, nullable, marks


def _column_type(hint: Any) -> str | None:
    if hint in _TYPES:
        return _TYPES[hint]
    if get_origin(hint) is Literal:
        return _common(type(value) for value in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _common(type(member.value) for member in hint)
    if hint in (Any, object):
        return None
    plain = get_origin(hint) or hint
    nested = plain in _NESTED or (isinstance(plain, type) and issubclass(plain, Mapping | Sequence | msgspec.Struct))
    if nested and isinstance(plain, type) and issubclass(plain, str | bytes | bytearray | memoryview):
        return None
    if nested or dataclasses.is_dataclass(plain) or is_typeddict(plain) or hasattr(plain, "model_fields"):
        return JSON
    return None


def _common(kinds: typing.Iterable[type]) -> str | None:
    found = {_TYPES.get(kind) for kind in kinds}
    return found.pop() if len(found) == 1 else None


def _attribute_values(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    read = operator.attrgetter(*names)
    return read if len(names) > 1 else lambda row: (read(row),)


def _items(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a reader of dictionaries; a member that is not there is None."""
    if not names:
        return lambda row: ()
    whole = operator.itemgetter(*names)

    def read(row: Any) -> tuple[Any, ...]:
        try:
            return whole(row) if len(names) > 1 else (whole(row),)
        except KeyError:
            return tuple([row.get(name) for name in names])

    return read


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", None) or str(kind)
