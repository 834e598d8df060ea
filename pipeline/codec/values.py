"""Values in records: JSON scalars as they are, everything else as a tagged object.

A JSON string, integer, number with a fraction or exponent, true, false and null mean themselves. What JSON cannot
hold is an object with one member, whose name begins with `$`:

    {"$bytes": "AAEC"}      bytes, base64
    {"$float": "inf"}       inf, -inf or nan
    {"$text": "/w=="}       text that is not valid in its encoding: its bytes, base64

Integers have at most 64 bits; wider ones and decimals are strings in a column of type `decimal`. -0.0 and the last bit
of a float survive, because floats are written in the shortest form that reads back as the same float.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from reprlib import Repr

import orjson

from pipeline.domain.errors import DamagedError
from pipeline.domain.keys import Key, KeyValue, RawText

JsonValue = None | bool | int | float | str | dict[str, str]
_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


_BRIEF = Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 80
_BRIEF.maxlevel = 3


def brief(value: object) -> str:
    """Return a text of `value` for a message, short however large or deeply nested the value is."""
    text = _BRIEF.repr(value)
    return text if len(text) <= 120 else f"{text[:119]}…"


def to_json(value: KeyValue) -> JsonValue:
    """Return `value` as orjson can write it."""
    match value:
        case bytes():
            return {"$bytes": b64encode(value).decode()}
        case RawText():
            return {"$text": b64encode(value.data).decode()}
        case float() if not math.isfinite(value):
            return {"$float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
        case _:
            return value


def from_json(value: object) -> KeyValue:
    """Return the value that `to_json` wrote. DamagedError for an array, or for an object that is no tagged value."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case {"$bytes": str(text), **rest} if not rest:
            return _decode(text)
        case {"$text": str(text), **rest} if not rest:
            return RawText(_decode(text))
        case {"$float": str(text), **rest} if not rest and text in _FLOATS:
            return _FLOATS[text]
        case _:
            raise DamagedError(f"not a value of this format: {brief(value)}")


def _decode(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise DamagedError(f"not base64: {brief(text)}") from error


def key_to_json(key: Key) -> list[JsonValue]:
    """Return a key as a JSON array of its values."""
    return [to_json(value) for value in key]


def key_from_json(values: object) -> Key:
    """Return the key that `key_to_json` wrote."""
    if not isinstance(values, list):
        raise DamagedError(f"not a key: {str(values)[:80]}")
    return tuple([from_json(value) for value in values])


def key_text(key: Key) -> str:
    """Return a key as compact JSON text, for messages and reports."""
    return orjson.dumps(key_to_json(key)).decode()


def parse_line(line: bytes, what: str) -> dict[str, object]:
    """Return the JSON object in `line`; DamagedError that names `what` otherwise."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DamagedError(f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DamagedError(f"{what} is not a JSON object but {brief(value)}")
    return value
