"""The types of columns, from the values that they hold. The header decides where the values do not.

A value becomes a *staged* one: what JSON holds as it is, or an object with one member: `$number`, `$json`, `$text`, or
`$bytes` and `$float` as Event Files have them.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.codec.values import to_json
from pipeline.connectors.sam.reading.json_rows import INTEGERS, Number, dumps

Staged = Any
Convert = Callable[[Staged], Staged]

_EXACT_IN_DOUBLES = range(-(2**53), 2**53 + 1)
_TAGS = ("$bytes", "$float", "$text")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(?P<zone>Z|[+-]\d\d(:?\d\d)?)?")
_TIMES = ("timestamp", "datetime")
_BY_HEADER = {
    "boolean": "boolean", "bool": "boolean", "bit": "boolean", "integer": "integer", "int": "integer", "bigint": "integer",
    "long": "integer", "number": "integer", "numeric": "decimal", "decimal": "decimal", "double": "real", "float": "real",
    "real": "real", "timestamp": "timestamptz", "datetime": "timestamptz", "json": "json",
}  # fmt: skip
"""Types of a column without values, by the type in the header. All others are text."""


class Kinds:
    """The kinds of values that a column has, as bits: plain integers, since there is one for each value that is read."""

    BOOLEAN = 1
    INTEGER = 2
    LARGE = 4
    """An integer that a double does not hold exactly."""
    WIDE = 8
    """An integer of more than 64 bits, or a number that no double equals."""
    REAL = 16
    TEXT = 32
    ZONED = 64
    """A moment with its zone, as text, in a column whose header says that it holds such."""
    UNZONED = 128
    JSON = 256


_BY_TYPE: Mapping[type, int] = {str: Kinds.TEXT, bool: Kinds.BOOLEAN, float: Kinds.REAL}
_WHOLE = Kinds.INTEGER | Kinds.LARGE
_NUMBERS = _WHOLE | Kinds.WIDE | Kinds.REAL
_OF_ONE_KIND = {
    Kinds.BOOLEAN: "boolean",
    Kinds.JSON: "json",
    Kinds.ZONED: "timestamptz",
    Kinds.UNZONED: "timestamp",
}


def kind_of(value: object, *, is_time: bool) -> int:
    """Return the kind of a value that is not null. `is_time`: the header declares the column as a timestamp."""
    kind = _BY_TYPE.get(type(value))
    if kind is not None:
        return _kind_of_text(value) if is_time and isinstance(value, str) else kind
    match value:
        case int():
            if value in _EXACT_IN_DOUBLES:
                return Kinds.INTEGER
            return Kinds.LARGE if value in INTEGERS else Kinds.WIDE
        case Number():
            return Kinds.REAL if not value.text.lstrip("-").isdigit() and value.is_double else Kinds.WIDE
        case _:
            return Kinds.JSON


def _kind_of_text(text: str) -> int:
    found = _MOMENT.fullmatch(text)
    if found is None:
        return Kinds.TEXT
    return Kinds.ZONED if found["zone"] else Kinds.UNZONED


def is_time(declared: str) -> bool:
    """Whether a type in a header is that of moments."""
    return declared.lower().startswith(_TIMES)


def staged(value: object, *, tagged: bool) -> Staged:
    """Return a value as it is staged. `tagged`: values may have the tags of Event Files, since this software wrote them."""
    match value:
        case Number():
            return {"$number": value.text}
        case float():
            return to_json(value)
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                return {"$text": b64encode(value.encode("utf-8", "surrogatepass")).decode()}
            return value
        case dict() if tagged and len(value) == 1 and next(iter(value)) in _TAGS:
            return dict(value)
        case dict() | list():
            return {"$json": dumps(value).decode()}
        case _:
            return value


def column_type(declared: str, kinds: int) -> str:
    """Return the type of a column."""
    if not kinds:
        name = re.split(r"[^a-z]", declared.lower())[0]
        return _BY_HEADER.get(name, "text")
    if kinds in _OF_ONE_KIND:
        return _OF_ONE_KIND[kinds]
    if not kinds & ~_WHOLE:
        return "integer"
    if not kinds & ~_NUMBERS:
        return "real" if not kinds & (Kinds.LARGE | Kinds.WIDE) else "decimal"
    if not kinds & ~(Kinds.TEXT | Kinds.ZONED | Kinds.UNZONED):
        return "text"
    return "json" if kinds & (Kinds.JSON | Kinds.WIDE) else "any"


def conversion(type_: str, *, inferred: bool) -> Convert:
    """Return how staged values become those of a record. With a type that was `inferred`, JSON holds whole values."""
    if type_ == "real":
        return _to_real if inferred else plain
    if type_ == "decimal":
        return _to_decimal
    return _to_json if type_ == "json" and inferred else plain


def plain(value: Staged) -> Staged:
    """Return a staged value as that of a record, of its own kind."""
    if isinstance(value, dict):
        if "$json" in value:
            return value["$json"]
        if "$number" in value:
            text = value["$number"]
            return int(text) if text.lstrip("-").isdigit() else float(text)
    return value


def _to_real(value: Staged) -> Staged:
    value = plain(value)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _to_decimal(value: Staged) -> Staged:
    if isinstance(value, dict) and "$number" in value:
        return value["$number"]
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _to_json(value: Staged) -> Staged:
    if isinstance(value, dict):
        (text,) = value.values()
        return text if "$json" in value or "$number" in value else dumps(value).decode()
    return dumps(value).decode()
