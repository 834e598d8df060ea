"""When two values are one: exactly, within one technology; by what they mean, where a column's type is another there.

Values are those of a record's JSON (docs/reference/event-files.md), tagged values included.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation

from pipeline.domain.schema import Column, StreamSchema

Values = Mapping[str, object]
_Reading = Callable[[object], object]

_ONE_FORM = frozenset({"integer", "real", "text", "bytes", "boolean", "binary"})
"""Types whose values every technology writes in one form."""
_NUMBERS = frozenset({"integer", "real", "decimal", "boolean"})


@dataclass(frozen=True, slots=True)
class ColumnPair:
    """A column of the source and its counterpart at the destination; None when the destination has none.

    `readings` are the ways to read both values where one value may have two forms: each a pair, for the source's and
    for the destination's. There are none where one value has one form.
    """

    source: str
    destination: str | None
    readings: tuple[tuple[_Reading, _Reading], ...] = ()


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which columns are compared. `missing` are of the source alone, `extra` of the destination alone."""

    pairs: tuple[ColumnPair, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def pair_columns(source: StreamSchema, destination: StreamSchema) -> Pairing:
    """Find for each column of the source its counterpart: of the same name, or of one that differs in case alone."""
    exact = {column.name: column for column in destination.columns}
    folded = {column.name.casefold(): column for column in destination.columns}
    one_technology = set(source.native) == set(destination.native)
    found: list[ColumnPair] = []
    for column in source.columns:
        other = exact.get(column.name) or folded.get(column.name.casefold())
        found.append(_pair(column, other, one_technology=one_technology))
    taken = {pair.destination for pair in found}
    return Pairing(
        tuple(found),
        missing=tuple(pair.source for pair in found if pair.destination is None),
        extra=tuple(column.name for column in destination.columns if column.name not in taken),
    )


def _pair(column: Column, other: Column | None, *, one_technology: bool) -> ColumnPair:
    if other is None:
        return ColumnPair(column.name, None)
    return ColumnPair(column.name, other.name, _readings(column.type, other.type, one_technology=one_technology))


def _readings(here: str, there: str, *, one_technology: bool) -> tuple[tuple[_Reading, _Reading], ...]:
    if here == there and (one_technology or here in _ONE_FORM):
        return ()
    # What may be of any type is kept as JSON where there is no such column: then the value is what the JSON says.
    if (here, there) == ("any", "json"):
        return ((_form, _form_in_json),)
    if (here, there) == ("json", "any"):
        return ((_form_in_json, _form),)
    number = _any_number if {here, there} & _NUMBERS else _number
    return tuple((reading, reading) for reading in (_form, number, _moment, _document, _data))


_ORDERS = {"integer": "numbers", "real": "numbers", "boolean": "numbers", "bytes": "bytes", "any": "any"}
"""What kind of keys a column of a type has; those of all other types are text, in the order of text."""


def why_not_comparable(source: StreamSchema, destination: StreamSchema, pairing: Pairing) -> str:
    """Return why the rows of both cannot be walked side by side in the order of their keys; empty when they can."""
    one_technology = set(source.native) == set(destination.native)
    here = {column.name: column.type for column in source.columns}
    there = {column.name: column.type for column in destination.columns}
    names = {pair.source: pair.destination for pair in pairing.pairs}
    for key in source.primary_keys:
        name = names.get(key)
        if name is None:
            return f"the destination has no column {key!r}, which is part of the key"
        if not _keeps_keys(here[key], there[name], one_technology=one_technology):
            return f"the key column {key!r} is {here[key]} at the source and {there[name]} there, which may change keys"
    return ""


def _keeps_keys(here: str, there: str, *, one_technology: bool) -> bool:
    """Whether every key that goes into a column of type `there` comes out as it was, and in the same order.

    It would be dangerous to guess: a key that was rewritten looks like one that is missing and one that is extra, and
    to delete the latter would delete the row.
    """
    if here == there:
        return one_technology or here != "any"
    order_here, order_there = _ORDERS.get(here, "text"), _ORDERS.get(there, "text")
    return order_here == order_there and (order_there != "text" or there == "text")


def differing_columns(source: Values, destination: Values, pairing: Pairing) -> tuple[str, ...]:
    """Return the names of the source's columns whose values differ. A column that is not there holds NULL."""
    return tuple(
        pair.source
        for pair in pairing.pairs
        if not same_value(
            source.get(pair.source),
            None if pair.destination is None else destination.get(pair.destination),
            pair.readings,
        )
    )


def same_value(one: object, other: object, readings: Sequence[tuple[_Reading, _Reading]] = ()) -> bool:
    """Whether two values of a record's JSON are one value: in form, or in meaning under one of the readings."""
    if not readings:
        return _form(one) == _form(other)
    if one is None or other is None:
        return one is other
    return any(_same_as(*pair, one, other) for pair in readings)


def _same_as(reading: _Reading, other_reading: _Reading, one: object, other: object) -> bool:
    try:
        return reading(one) == other_reading(other)
    except (ValueError, TypeError, InvalidOperation, RecursionError):
        return False


def _form(value: object) -> object:
    """The value and nothing else: 1 is not 1.0, nor true, and 0.0 is not -0.0."""
    return type(value), repr(value)


def _form_in_json(value: object) -> object:
    """The value that a JSON text holds, and nothing else."""
    if not isinstance(value, str):
        raise TypeError(value)
    return _form(json.loads(value))


def _number(value: object) -> object:
    """Numbers, of whatever kind: true is 1, and a float is what its shortest text says."""
    match value:
        case bool():
            return Decimal(int(value))
        case int():
            return Decimal(value)
        case float():
            return Decimal(repr(value))
        case _:
            raise TypeError(value)


def _any_number(value: object) -> object:
    """Numbers, and the texts of numbers."""
    return Decimal(value) if isinstance(value, str) else _number(value)


def _moment(value: object) -> object:
    """Dates, times and timestamps however they are written; those with a zone are compared as moments."""
    if not isinstance(value, str) or len(value) < len("00:00"):
        raise TypeError(value)
    for parse in (datetime.fromisoformat, time.fromisoformat):
        try:
            return parse(value)
        except ValueError:
            continue
    return date.fromisoformat(value)


def _document(value: object) -> object:
    """JSON, whether as text or as a value of its own."""
    return json.loads(value) if isinstance(value, str) else value


def _data(value: object) -> object:
    """Bytes, whether as bytes or as text."""
    match value:
        case {"$bytes": str(text)} | {"$text": str(text)}:
            return b64decode(text, validate=True)
        case str():
            return value.encode("utf-8", "surrogatepass")
        case _:
            raise TypeError(value)
