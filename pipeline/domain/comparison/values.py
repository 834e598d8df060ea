"""When two values are equal: exactly, within one technology; by meaning, where the destination has another column type.

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
"""Types whose values have one form in every technology."""
_NUMBERS = frozenset({"integer", "real", "decimal", "boolean"})


@dataclass(frozen=True, slots=True)
class ColumnPair:
    """A column of the source and its counterpart at the destination, or None.

    `readings` are pairs of functions that normalize the two values, for columns in which one value can have two forms:
    the values are equal if they are so under one pair. Without any, the values are compared as they are.
    """

    source: str
    destination: str | None
    readings: tuple[tuple[_Reading, _Reading], ...] = ()


@dataclass(frozen=True, slots=True)
class Pairing:
    """The columns to compare. Only the source has the `missing` ones, only the destination the `extra` ones."""

    pairs: tuple[ColumnPair, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def pair_columns(source: StreamSchema, destination: StreamSchema) -> Pairing:
    """Pair each column of the source with the one of the same name, or of a name that differs only in case."""
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
    # A destination without a type for any value stores JSON: then the value is what the JSON text holds.
    if (here, there) == ("any", "json"):
        return ((_form, _form_in_json),)
    if (here, there) == ("json", "any"):
        return ((_form_in_json, _form),)
    number = _any_number if {here, there} & _NUMBERS else _number
    return tuple((reading, reading) for reading in (_form, number, _moment, _document, _data))


_ORDERS = {"integer": "numbers", "real": "numbers", "boolean": "numbers", "bytes": "bytes", "any": "any"}
"""The kind of keys by column type; keys of all other types are text, and sort as text."""


def why_not_comparable(source: StreamSchema, destination: StreamSchema, pairing: Pairing) -> str:
    """Return why rows cannot be compared in key order; empty when they can."""
    one_technology = set(source.native) == set(destination.native)
    here = {column.name: column.type for column in source.columns}
    there = {column.name: column.type for column in destination.columns}
    names = {pair.source: pair.destination for pair in pairing.pairs}
    for key in source.primary_keys:
        name = names.get(key)
        if name is None:
            return f"the destination has no column {key!r}, which is part of the key"
        if not _keeps_keys(here[key], there[name], one_technology=one_technology):
            types = f"{here[key]} at the source and {there[name]} at the destination"
            return f"the key column {key!r} is {types}, which may change keys"
    return ""


def _keeps_keys(here: str, there: str, *, one_technology: bool) -> bool:
    """Whether keys are the same, and in the same order, after they are stored in a column of type `there`.

    Do not guess: a rewritten key looks like one missing and one extra key, and a repair would delete the row.
    """
    if here == there:
        return one_technology or here != "any"
    order_here, order_there = _ORDERS.get(here, "text"), _ORDERS.get(there, "text")
    return order_here == order_there and (order_there != "text" or there == "text")


def differing_columns(source: Values, destination: Values, pairing: Pairing) -> tuple[str, ...]:
    """Return the names of the source's columns whose values differ. A missing column counts as NULL."""
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
    """Whether two values of a record are equal: exactly, or under one of the readings."""
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
    """Return the exact value: 1 differs from 1.0 and from true, 0.0 from -0.0."""
    return type(value), repr(value)


def _form_in_json(value: object) -> object:
    """Return the exact value that a JSON text holds."""
    if not isinstance(value, str):
        raise TypeError(value)
    return _form(json.loads(value))


def _number(value: object) -> object:
    """Return a number of any type as a decimal: true is 1, and a float counts as its shortest text."""
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
    """Return a number, or a text that holds one, as a decimal."""
    return Decimal(value) if isinstance(value, str) else _number(value)


def _moment(value: object) -> object:
    """Return a date, time or timestamp. Those with a zone compare as points in time."""
    if not isinstance(value, str) or len(value) < len("00:00"):
        raise TypeError(value)
    for parse in (datetime.fromisoformat, time.fromisoformat):
        try:
            return parse(value)
        except ValueError:
            continue
    return date.fromisoformat(value)


def _document(value: object) -> object:
    """Return a JSON value, given as it is or as text."""
    return json.loads(value) if isinstance(value, str) else value


def _data(value: object) -> object:
    """Return bytes, given as bytes or as text."""
    match value:
        case {"$bytes": str(text)} | {"$text": str(text)}:
            return b64decode(text, validate=True)
        case str():
            return value.encode("utf-8", "surrogatepass")
        case _:
            raise TypeError(value)
