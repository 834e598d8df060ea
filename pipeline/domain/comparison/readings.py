"""What a value means, whatever form a technology gives it: the readings under which two values can be equal.

A reading returns a value that compares with ==, or raises one of `UNREADABLE` for a value that it does not read.
"""

from __future__ import annotations

import ipaddress
import json
import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal, InvalidOperation
from functools import partial
from itertools import product
from uuid import UUID

from pipeline.domain.contents import parse_content
from pipeline.domain.schema import Column

APP = "app"
"""The type of a column whose values an app gives as it likes. Its native type is what they mean to the app, if it says so."""
Reading = Callable[[object], object]
Readings = tuple[tuple[Reading, Reading], ...]
"""Pairs of readings, one for each side: values are equal if they are so under one pair. None: compare as they are."""

UNREADABLE = (ValueError, TypeError, InvalidOperation, RecursionError)

_ONE_FORM = frozenset({"integer", "real", "text", "bytes", "boolean", "binary"})
"""Types whose values have one form in every technology."""
_OF_ANY_VALUE = frozenset({"any", "integer", "real", "bytes"})
"""Types of SQLite's columns whose values may be of another kind: where they are, the counterpart is JSON."""
_NUMBERS = frozenset({"integer", "real", "decimal", "boolean"})


def readings_for(here: Column, there: Column, *, one_technology: bool) -> Readings:
    """Return the readings under which values of two columns can be equal."""
    native = next((reading for pattern, reading in _BY_NATIVE_TYPE if pattern.match(there.native_type)), None)
    if (here.type, there.type) == ("binary", APP):
        return _CONTENTS
    if here.type == there.type == "real" and there.native_type == "REAL" and not one_technology:
        return _same(exact, _number)  # SQLite keeps -0.0 as 0.0 in such a column
    if here.type == there.type and (one_technology or here.type in _ONE_FORM):
        return () if native is None or here.native_type == there.native_type else _same(exact, native)
    # A destination without a type for any value stores JSON: then the value is what the JSON text holds.
    if here.type in _OF_ANY_VALUE and there.type == "json":
        as_jsonb = [(_document_of, _document)] if there.native_type == "jsonb" else []
        is_declared = here.type == "any" and here.declares_type  # such as JSON: the text may be the app's JSON
        return ((exact, _exact_in_json), *as_jsonb, *(_same(exact, _document) if is_declared else ()))
    if here.type == "json" and there.type in _OF_ANY_VALUE:
        return ((_exact_in_json, exact), *_same(exact, _document))
    types = {here.type, there.native_type if there.type == APP else there.type}
    numbers = _same(_any_number) if types & _NUMBERS else ((_number, _any_number), (_any_number, _number))
    if there.type == "text" and here.type in _OF_ANY_VALUE:
        numbers = (*numbers, (_float, _float_of_text))
    special = [reading for names, reading in _BY_TYPE if types & names]
    widened = ((exact, _exact_in_json),) if (here.type, there.type) == ("text", "json") else ()
    given = ((_document, _given),) if there.type == APP else ()
    same = _same(exact, *special, _data, *([native] if native else []))
    return (*same, *numbers, *_padded_numbers(native), *widened, *given)


def _content(value: object, side: str, silent: Sequence[str]) -> object:
    """Return a content with its name and media type, except those that one of the sides is `silent` about.

    ValueError if it is this side, and the content has one.
    """
    content = parse_content(_text(value))
    known = list(zip((content.name, content.media_type), silent, strict=True))
    if any(who == side and part is not None for part, who in known):
        raise ValueError(value)
    return content.id, *(part for part, who in known if who == "neither")


_CONTENTS: Readings = tuple(
    (partial(_content, side="source", silent=silent), partial(_content, side="app", silent=silent))
    for silent in product(("neither", "source", "app"), repeat=2)
)
"""The source or the app may say nothing of the name, or of the media type: then it is not compared."""


def _padded_numbers(native: Reading | None) -> Readings:
    return ((_number, lambda value: _any_number(_padded(value))),) if native is _padded else ()


def _same(*readings: Reading) -> Readings:
    return tuple((reading, reading) for reading in readings)


def exact(value: object) -> object:
    """Return the exact value: 1 differs from 1.0 and from true, 0.0 from -0.0."""
    return type(value), repr(value)


def _exact_in_json(value: object) -> object:
    """Return the exact value that a JSON text holds. An integer of more than 64 bits is a float, as it is for SQLite."""
    return exact(json.loads(_text(value), parse_int=_integer))


def _integer(text: str) -> int | float:
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 63 else float(number)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: object) -> object:
    """Return a number of any type as a decimal: true is 1, and a float counts as its shortest text."""
    match value:
        case bool():
            return Decimal(int(value))
        case int():
            return Decimal(value)
        case float():
            return Decimal(repr(value))
        case {"$float": str(text)}:
            return _special_number(Decimal(text))
        case _:
            raise TypeError(value)


def _any_number(value: object) -> object:
    """Return a number, or a text that holds one, as a decimal. A text with leading zeros is a code, not a number."""
    if not isinstance(value, str):
        return _number(value)
    if _CODE.match(value):
        raise ValueError(value)
    return _special_number(Decimal(value))


def _float(value: object) -> object:
    return value if isinstance(value, float) else _refuse(value)


def _float_of_text(value: object) -> object:
    """Return the float that a text reads back as: technologies write one with other digits, such as 1e+23."""
    return float(_text(value)) if _any_number(value) is not None else _refuse(value)


_CODE = re.compile(r"\s|\+|-?0\d|.*\s$", re.DOTALL)


def _special_number(value: Decimal) -> object:
    return "nan" if value.is_nan() else value


def _moment(value: object) -> object:
    """Return a date, time or timestamp as a point in time. One without a zone is in UTC, as it is when it is loaded.

    A number of eight digits is a date, as it is for PostgreSQL.
    """
    text = str(value) if isinstance(value, int) and len(str(value)) == 8 else _text(value)
    for parse in (datetime.fromisoformat, time.fromisoformat):
        try:
            moment = parse(text)
        except ValueError:
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if _DISTANT.match(text) is None:
        raise ValueError(text)
    return _ZERO_ZONE.sub("", text.replace("T", " "))  # in a year that Python does not have


def _time_of_day(value: object) -> object:
    """Return a time of day; Rails writes the first of January 2000 before it where the database has no type for it."""
    return _moment(_text(value).removeprefix("2000-01-01 "))


_DISTANT = re.compile(r"\d{4,}-\d\d-\d\d")
_ZERO_ZONE = re.compile(r"(?:Z|[+-]00(?::?00)?)(?=$| BC$)")


def _boolean(value: object) -> object:
    """Return a boolean, also one of PostgreSQL's words for it (https://www.postgresql.org/docs/current/datatype-boolean.html)."""
    if isinstance(value, str):
        return _BOOLEANS[value.strip().lower()] if value.strip().lower() in _BOOLEANS else _refuse(value)
    return value != 0 if isinstance(value, bool | int) and value in (0, 1) else _refuse(value)


_BOOLEANS = {
    **dict.fromkeys(("t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"), True),
    **dict.fromkeys(("f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"), False),
}


def _refuse(value: object) -> object:
    raise TypeError(value)


def _uuid(value: object) -> object:
    """Return a UUID, with or without dashes and braces."""
    return UUID(_text(value))


def _document(value: object) -> object:
    """Return a JSON value, given as it is or as text. Its numbers compare as decimals, and never equal true or false."""
    text = value if isinstance(value, str) else json.dumps(value)
    return _comparable(json.loads(text, parse_int=Decimal, parse_float=Decimal))


def _given(value: object) -> object:
    """Return the JSON value that an app gives as it is, where the source has its text."""
    return value if isinstance(value, str) else _document(value)


def _document_of(value: object) -> object:
    """Return a value of any kind as the JSON value that it becomes."""
    return _document(json.dumps(value))


def _comparable(value: object) -> object:
    match value:
        case dict():
            return {name: _comparable(member) for name, member in value.items()}
        case list():
            return [_comparable(member) for member in value]
        case bool():
            return str(value), bool
        case _:
            return value


def _data(value: object) -> object:
    """Return bytes, given as bytes, as text, or as PostgreSQL's text for bytes: `\\\\x` and hexadecimal digits."""
    match value:
        case {"$bytes": str(text)} | {"$text": str(text)}:
            return b64decode(text, validate=True)
        case str() if _HEX.fullmatch(value):
            return bytes.fromhex(value[2:])
        case _:
            return _text(value).encode("utf-8", "surrogatepass")


_HEX = re.compile(r"\\x(?:[0-9a-fA-F]{2})*")


def _network(value: object) -> object:
    """Return an address with the length of its network prefix."""
    return ipaddress.ip_interface(_text(value))


def _hardware_address(value: object) -> object:
    """Return the digits of a hardware address."""
    return re.sub("[:.-]", "", _text(value)).lower()


def _padded(value: object) -> object:
    """Return a text without the blanks at its end, which do not count in a column of fixed length."""
    return _text(value).rstrip(" ")


_BY_TYPE: tuple[tuple[frozenset[str], Reading], ...] = (
    (frozenset({"timestamp", "timestamptz", "date", "time", "timetz"}), _moment),
    (frozenset({"time"}), _time_of_day),
    (frozenset({"boolean"}), _boolean),
    (frozenset({"json"}), _document),
    (frozenset({"uuid"}), _uuid),
)
"""Readings for columns of these types, at one side at least."""

_BY_NATIVE_TYPE = (
    (re.compile(r"inet$|cidr$"), _network),
    (re.compile(r"macaddr8?$"), _hardware_address),
    (re.compile(r"character\("), _padded),
)
"""Readings for columns that PostgreSQL declares like this at the destination, and that hold text in other technologies."""
