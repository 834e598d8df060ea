"""A line as a row, losslessly: each number keeps its digits, and no member is lost because its name comes twice."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

INTEGERS = range(-(2**63), 2**63)
_MAX_DIGITS = 20


class LineError(ValueError):
    """A line that is no JSON object, or a value that cannot be JSON again, and why."""


class Number:
    """A number whose text is not that of an integer of 64 bits, nor the shortest of a double."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def is_double(self) -> bool:
        """Whether a double has exactly this decimal value, as it is written in the shortest form."""
        try:
            return Decimal(self.text) == Decimal(repr(float(self.text)))
        except InvalidOperation:
            return False


class Members(dict[str, Any]):
    """An object. `twice` are the names that come twice in it, with different values.

    `repeated` are those, and the names of values that hold an object in which a name comes twice.
    """

    __slots__ = ("repeated", "twice")

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated: set[str] = set()
        self.twice: set[str] = set()
        seen: dict[str, Any] = {}
        for name, value in pairs:
            if name in seen and not _same(seen[name], value):
                self.twice.add(name)
            seen[name] = value
            if has_repeated(value):
                self.repeated.add(name)
        self.repeated |= self.twice


def has_repeated(value: object) -> bool:
    """Whether a value has an object in which a name comes twice."""
    if isinstance(value, Members):
        return bool(value.repeated)
    return isinstance(value, list) and any(map(has_repeated, value))


def parse_row(line: bytes) -> tuple[dict[str, Any], bool]:
    """Return the object in a line, and whether it is plain: orjson reads and writes it without a change.

    Most lines are plain, and are read fast. One that is not is read again, with the exact text of each number. An integer
    of a plain line may be as large as 2**64 - 1, since orjson reads such.
    """
    try:
        row = orjson.loads(line)
        if isinstance(row, dict) and orjson.dumps(row) == line.strip():
            return row, True
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass  # such as NaN, which the exact reading accepts; what it does not is an error
    return _parse_exactly(line), False


def check_names(row: dict[str, Any]) -> None:
    """Raise LineError when the name of a member is not Unicode: no column has such a name."""
    for name in row:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise LineError(f"the name {name!r} is not Unicode") from None


def dumps(value: object) -> bytes:
    """Return a value as JSON, with the text of each number as it was read. LineError when that is not possible."""
    try:
        return orjson.dumps(value, default=_fragment)
    except orjson.JSONEncodeError:
        raise LineError("its JSON is nested too deeply, or has text that is not Unicode") from None


def _fragment(value: object) -> object:
    if isinstance(value, Number):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def _parse_exactly(line: bytes) -> Members:
    try:
        row = json.loads(line.decode(), parse_int=_integer, parse_float=_fraction, object_pairs_hook=Members)
    except UnicodeDecodeError as error:
        raise LineError(f"it is not UTF-8 ({error.reason} at byte {error.start})") from None
    except RecursionError:
        raise LineError("it is nested too deeply") from None
    except ValueError as error:
        raise LineError(f"it is not JSON ({error})") from None
    if not isinstance(row, Members):
        raise LineError("it is not a JSON object")
    return row


def _integer(text: str) -> int | Number:
    if len(text) > _MAX_DIGITS:
        return Number(text)
    value = int(text)
    return value if value in INTEGERS else Number(text)


def _fraction(text: str) -> float | Number:
    value = float(text)
    return value if orjson.dumps(value) == text.encode() else Number(text)


def _same(one: object, other: object) -> bool:
    if isinstance(one, Number) and isinstance(other, Number):
        return one.text == other.text
    return type(one) is type(other) and one == other
