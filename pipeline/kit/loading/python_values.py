"""Values of a record as Python values: what a field of an author's row holds."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args, get_origin
from uuid import UUID

import msgspec

from pipeline.domain.contents import parse_content
from pipeline.domain.keys import RawText
from pipeline.domain.schema import Column
from pipeline.kit.row_types import Field
from pipeline.kit.values import Binary

Decode = Callable[[Any], Any]
_INTERVAL = re.compile(
    r"(?:(?P<days>[+-]?\d+) days? ?)?(?:(?P<sign>[+-])?(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d(?:\.\d+)?))?"
)


def decoder_of(field: Field, column: Column) -> Decode:
    """Return how a value of `column` becomes one of `field`. The function raises ValueError, which says why it cannot."""
    python = field.python
    if python in _DECODERS:
        return _DECODERS[python]
    if isinstance(python, type) and issubclass(python, enum.Enum):
        return _parsed(python, f"which is none of {', '.join(repr(member.value) for member in python)}")
    if get_origin(python) is Literal:
        return lambda value: _member(value, get_args(python))
    if python is Any:
        return _json if column.type == "json" else _json_or_plain if is_declared_json(column) else _plain
    return lambda value: _converted(_json(value), python)  # a database without JSON has text


def is_declared_json(column: Column) -> bool:
    """Whether a database without JSON has a text that was declared as such, as the pipeline declares it."""
    return column.type == "text" and column.native_type.upper().startswith("JSON")


def _json_or_plain(value: Any) -> Any:
    try:
        return _json(value)
    except ValueError:
        return _plain(value)


def natural_decoder(column: Column) -> Decode:
    """Return how a value of `column` becomes the Python value that is nearest to it, for rows without a type."""
    return {**_NATURAL, "json": _json, "binary": _binary}.get(column.type, _plain)


def _plain(value: Any) -> Any:
    if isinstance(value, RawText):
        raise ValueError("text that is not valid in its encoding")  # noqa: TRY004  # the value is wrong, not a type
    return value


def _parsed(parse: Decode, fault: str) -> Decode:
    """Return `parse`, which raises ValueError with the value and `fault` for whatever it cannot take."""

    def parsed(value: Any) -> Any:
        if isinstance(value, RawText):
            return _plain(value)
        try:
            return parse(value)
        except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
            raise _unfit(value, fault) from error

    return parsed


def _unfit(value: Any, fault: str) -> ValueError:
    shown = repr(value)
    return ValueError(f"{shown if len(shown) <= SHOWN_CHARACTERS else shown[:SHOWN_CHARACTERS] + '…'}, {fault}")


def _int(value: Any) -> int:
    if isinstance(value, int):
        return int(value)
    number = Decimal(value)
    if number.adjusted() > MOST_DIGITS or number != number.to_integral_value():
        raise ValueError(value)
    return int(number)


def _float(value: Any) -> float:
    if isinstance(value, bytes):
        raise TypeError(value)  # `float` takes digits as bytes
    return float(value)


def _str(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, RawText):
        return str(_plain(value))
    raise _unfit(value, "no text")


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    raise _unfit(value, "no bytes")


def _bool(value: Any) -> bool:
    if value in (0, 1) and not isinstance(value, str):
        return bool(value)
    raise _unfit(value, "which is neither true nor false")


def _timedelta(value: Any) -> timedelta:
    found = _INTERVAL.fullmatch(value)
    if not value or found is None:
        raise ValueError(value)
    sign = -1 if found["sign"] == "-" else 1
    seconds = Decimal(found["seconds"] or 0)
    clock = timedelta(hours=int(found["hours"] or 0), minutes=int(found["minutes"] or 0))
    clock += timedelta(microseconds=int(seconds * 1_000_000))
    return timedelta(days=int(found["days"] or 0)) + sign * clock


def _binary(value: Any) -> Binary:
    content = parse_content(_str(value))
    return Binary(b"", version=content.id, name=content.name, media_type=content.media_type)


def _json(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else _plain(value)
    except (json.JSONDecodeError, RecursionError) as error:
        raise _unfit(value, f"which is no JSON: {error}") from error


def _converted(value: Any, python: Any) -> Any:
    try:
        return msgspec.convert(value, python, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"what the type {getattr(python, '__name__', python)} does not: {error}") from error


def _member(value: Any, members: tuple[Any, ...]) -> Any:
    if value not in members:
        raise _unfit(value, f"which is none of {', '.join(map(repr, members))}")
    return value


_DECODERS: Mapping[Any, Decode] = {
    int: _parsed(_int, "which is no integer"),
    float: _parsed(_float, "which is no number"),
    str: _str,
    bytes: _bytes,
    bool: _bool,
    Decimal: _parsed(lambda value: Decimal(repr(value) if isinstance(value, float) else value), "which is no number"),
    datetime: _parsed(datetime.fromisoformat, "which is no date and time in the form of ISO 8601"),
    date: _parsed(date.fromisoformat, "which is no date in the form of ISO 8601"),
    time: _parsed(time.fromisoformat, "which is no time in the form of ISO 8601"),
    timedelta: _parsed(_timedelta, "which is no time difference of days, hours, minutes and seconds"),
    UUID: _parsed(UUID, "which is no UUID"),
    Binary: _binary,
}
_NATURAL: Mapping[str, Decode] = {
    "decimal": _DECODERS[Decimal],
    "timestamp": _DECODERS[datetime],
    "timestamptz": _DECODERS[datetime],
    "date": _DECODERS[date],
    "time": _DECODERS[time],
    "uuid": _DECODERS[UUID],
    "boolean": _bool,
}
AS_IT_IS: Mapping[str, Any] = {"integer": int, "real": float, "text": str}
"""Types of columns whose values are in JSON what they are in Python, unless they are tagged."""
MOST_DIGITS = 1000
"""A text of an integer of more digits is taken for a wrong value: "1e999999999" would take all memory."""
SHOWN_CHARACTERS = 100
"""How much of a value that does not fit is shown."""
DECODE_ERRORS = (ValueError, TypeError, InvalidOperation, OverflowError)
"""What decoding raises for a value that a field cannot hold."""
