"""Values of a dump as values of a record, to be compared by meaning with the source's."""

from __future__ import annotations

import ast
import enum
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from blake3 import blake3

from pipeline.codec.values import to_json
from pipeline.domain.keys import KeyValue
from pipeline.domain.schema import Column
from pipeline.kit.reading.text_forms import decimal_key, encoder_of

_INTEGERS = range(-(2**63), 2**63)


def record_value(value: object, type_: str) -> object:
    """Return a value as the JSON of a record has it. Bytes of a Binary File become its id."""
    if isinstance(value, enum.Enum):
        value = value.value
    match value:
        case bytes() if type_ == "binary":
            return _digest(value)
        case datetime():
            return _written(value, "timestamp" if value.tzinfo is None else "timestamptz")
        case time() if value.tzinfo is None:
            return _written(value, "time")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return _written(value, "interval")
        case Decimal() | UUID():
            return str(value)
        case int() if value not in _INTEGERS:  # of a decimal column, which the source writes as text
            return str(value)
        case None | bool() | int() | float() | str() | bytes():
            return to_json(value)
        case _:
            return _plain(value)


def _written(value: object, type_: str) -> object:
    encode = encoder_of(type_, type(value))
    return value if encode is None else encode(value)


def _digest(content: bytes) -> str:
    return blake3(content).hexdigest()


def _plain(value: object) -> object:
    """Return a nested value as JSON has it; a text of what JSON cannot hold."""
    try:
        return msgspec.to_builtins(value)
    except (TypeError, ValueError):
        return repr(value)


def key_value(value: object, column: Column) -> KeyValue:
    """Return a part of a key, given as the value or as its text, in the form that the keys of a column have.

    ValueError when it has none.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if column.type == "decimal":
        return _decimal(value, column.native_type)
    read = _KEY_READERS.get(column.type)
    found: Any = read(value) if read is not None else record_value(value, column.type)
    if isinstance(found, Mapping) or found is None:
        raise ValueError(f"{value!r} is no key of a column of the type {column.type}")
    key: KeyValue = found
    return key


def _integer(value: Any) -> int:
    return int(value) if not isinstance(value, float) or value.is_integer() else _refused(value)


def _boolean(value: Any) -> bool:
    return value if isinstance(value, bool) else _BOOLEANS[str(value)]


_BOOLEANS = {"True": True, "False": False, "1": True, "0": False}


def _bytes(value: Any) -> bytes:
    found = value if isinstance(value, bytes) else ast.literal_eval(value)
    return found if isinstance(found, bytes) else _refused(value)


def _moment(value: Any) -> object:
    return record_value(datetime.fromisoformat(value) if isinstance(value, str) else value, "")


def _decimal(value: object, native_type: str) -> str:
    """Return a decimal as the source writes it: without zeros at the end if it is an Exporter, and else as it is declared."""
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        return str(_refused(value))
    if not native_type:
        return decimal_key(number)
    if declared := _SCALE.fullmatch(native_type):
        with_scale = format(number, f".{declared[1]}f")
        return with_scale if Decimal(with_scale) == number else format(number, "f")
    return format(number, "f")


def _as_text(read: Callable[[str], Any]) -> Callable[[Any], object]:
    """Return a reader of values and of their texts. A text that Python cannot read counts as it is."""

    def value_of(value: Any) -> object:
        try:
            return record_value(read(value) if isinstance(value, str) else value, "")
        except ValueError:
            return record_value(value, "")

    return value_of


def _interval(text: str) -> timedelta:
    found = _INTERVAL.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return timedelta(**{name: float(part) for name, part in found.groupdict("0").items()})


_SCALE = re.compile(r"numeric\(\d+,(\d+)\)")
"""The type of a column of PostgreSQL, all values of which have this many digits behind the point."""
_INTERVAL = re.compile(r"(?:(?P<days>-?\d+) days?, )?(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d(?:\.\d+)?)")
"""A time difference as Python writes it."""


def _refused(value: object) -> Any:
    raise ValueError(f"{value!r} is no key")


_KEY_READERS: Mapping[str, Callable[[Any], object]] = {
    "integer": _integer,
    "real": float,
    "boolean": _boolean,
    "bytes": _bytes,
    "timestamp": _moment,
    "timestamptz": _moment,
    "date": _as_text(date.fromisoformat),
    "time": _as_text(time.fromisoformat),
    "interval": _as_text(_interval),
    "uuid": _as_text(UUID),
    "text": lambda value: record_value(value, "text") if isinstance(value, str) else str(value),
}
