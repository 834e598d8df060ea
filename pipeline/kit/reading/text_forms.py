"""Python values as values of a record: in the text forms of docs/reference/event-files.md."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from os import PathLike
from typing import Any
from uuid import UUID

import msgspec

from pipeline.domain.keys import KeyValue
from pipeline.kit.values import Binary

Encode = Callable[[Any], KeyValue]


def encoder_of(type_: str, python: Any) -> Encode | None:
    """Return how a value of a column type is written; None when it is written as it is."""
    if isinstance(python, type) and issubclass(python, enum.Enum):
        return lambda value: value.value if isinstance(value, enum.Enum) else value
    return _ENCODERS.get(type_)


def _decimal(value: Any) -> str:
    return str(_expected(value, Decimal))


def decimal_key(value: Any) -> str:
    """Return a decimal as part of a key: numbers that are equal have one text, without zeros at the end or an exponent."""
    text = format(_expected(value, Decimal), "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _timestamptz(value: Any) -> str:
    moment: datetime = _expected(value, datetime)
    if moment.tzinfo is None:
        raise TypeError("a time without a zone. Give it one, or declare the field as NaiveDatetime")
    return f"{_without_zone(moment.astimezone(UTC))}+00"


def _timestamp(value: Any) -> str:
    moment: datetime = _expected(value, datetime)
    if moment.tzinfo is not None:
        raise TypeError("a time with a zone. Declare the field as datetime")
    return _without_zone(moment)


def _without_zone(moment: datetime) -> str:
    text = f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d} {moment:%H:%M:%S}"
    return text + _fraction(moment.microsecond)


def _time(value: Any) -> str:
    clock: time = _expected(value, time)
    if clock.tzinfo is not None:
        raise TypeError("a time of day with a zone. Give it as text")
    return f"{clock:%H:%M:%S}{_fraction(clock.microsecond)}"


def _fraction(microseconds: int) -> str:
    return f".{microseconds:06d}".rstrip("0") if microseconds else ""


def _interval(value: Any) -> str:
    """Return an interval as PostgreSQL writes it: days, then hours, minutes and seconds with their own sign."""
    length: timedelta = _expected(value, timedelta)
    days, rest = length.days, length.seconds
    micros = rest * 1_000_000 + length.microseconds
    if days < 0 and micros:
        days, micros = days + 1, micros - 86_400_000_000
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    seconds, fraction = divmod(micros, 1_000_000)
    clock = f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{_fraction(fraction)}"
    if not days:
        return clock
    parts = [f"{days} {'day' if days == 1 else 'days'}"]
    if micros:
        parts.append(clock if sign or days > 0 else f"+{clock}")
    return " ".join(parts)


def _json(value: Any) -> str:
    try:
        plain = msgspec.to_builtins(value, builtin_types=(int, float))
        return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"a value that JSON cannot hold: {error}") from error


def _uuid(value: Any) -> str:
    if isinstance(value, UUID):
        return str(value)
    try:
        return str(UUID(_expected(value, str)))
    except ValueError as error:
        raise ValueError(f"{value[:100]!r}, which is no UUID") from error


def _date(value: Any) -> str:
    if isinstance(value, datetime):
        raise TypeError("a datetime, not a date")  # a datetime is a date to Python
    day: date = _expected(value, date)
    return day.isoformat()


def _expected(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a value of the type {type(value).__name__}, not {kind.__name__}")
    return value


def _content(value: Any) -> Any:
    """Return a content as it is: its id takes its place when it has been read."""
    content: Binary = _expected(value, Binary)
    if not (isinstance(content.open, bytes | str | PathLike) or callable(content.open)):
        raise TypeError(
            f"a Binary of a value of the type {type(content.open).__name__}, not of bytes, a path or a function"
        )
    for text, what in ((content.version, "version"), (content.name, "name"), (content.media_type, "media type")):
        if text is not None and not isinstance(text, str):
            raise TypeError(f"a Binary whose {what} is of the type {type(text).__name__}, not str")
    return content


_ENCODERS: Mapping[str, Encode] = {
    "binary": _content,
    "date": _date,
    "decimal": _decimal,
    "interval": _interval,
    "json": _json,
    "time": _time,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
    "uuid": _uuid,
}
