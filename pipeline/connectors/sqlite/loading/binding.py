"""The values of one record as those of a statement, and the reasons to reject a record."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import apsw

from pipeline.codec.values import from_json
from pipeline.connectors.sqlite.loading.target import Target
from pipeline.domain.errors import DamagedError
from pipeline.domain.keys import KeyValue, RawText

SqlValue = bool | int | float | str | bytes | None

_UTF16 = {"UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}
_NUMBER = re.compile(r"[ \t\n\v\f\r]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ \t\n\v\f\r]*", re.ASCII)
"""Text that SQLite takes for a number where the column has the affinity for it."""
_CODE = re.compile(r"\s|\+|-?0\d|.*\s$", re.DOTALL)
"""A number that is written like a code, such as 007: it is not the same as the number."""
_BLOCKED = (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_ROWID)
_LASTING = (apsw.SQLITE_CONSTRAINT_CHECK, apsw.SQLITE_CONSTRAINT_NOTNULL, apsw.SQLITE_CONSTRAINT_DATATYPE)


class InvalidRecordError(Exception):
    """A record that cannot become a statement; the text says why."""


REJECTING_ERRORS: tuple[type[Exception], ...] = (
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    InvalidRecordError,
)
"""Errors that reject one record. All others concern the whole file."""

UNBINDABLE: tuple[type[Exception], ...] = (TypeError, OverflowError)
"""Errors of apsw for a value that SQLite does not have: an array, an integer of more than 64 bits."""


def is_blocked(reason: Exception) -> bool:
    """Whether another row is the reason, so that the record may be accepted once that row has changed."""
    return getattr(reason, "extendedresult", None) in _BLOCKED


def is_lasting(reason: Exception) -> bool:
    """Whether the record and the definition of its table are all that the reason depends on."""
    if isinstance(reason, apsw.ConstraintError):
        return getattr(reason, "extendedresult", None) in _LASTING
    return isinstance(reason, REJECTING_ERRORS)


def column_in(message: str, table: str) -> str | None:
    """Return the column of `table` that a message names, if it names exactly one."""
    _, found, rest = message.partition(f"{table}.")
    if found and ", " not in rest:
        return rest
    _, found, rest = message.partition("column ")
    return rest.partition(":")[0] if found and ":" in rest else None


def bind_tagged(_cursor: apsw.Cursor, _number: int, value: object) -> SqlValue:
    """Return the value of a tagged object (`pipeline.codec.values`) when apsw binds it, on the fast path."""
    found = _value(value)
    if isinstance(found, RawText):
        raise InvalidRecordError("text that is not valid in its encoding needs a statement of its own")
    return found


@dataclass(frozen=True, slots=True)
class Bound:
    """Values for the columns of one statement; those at the positions `raw` are the bytes of a text."""

    columns: tuple[str, ...]
    values: tuple[SqlValue, ...]
    raw: frozenset[int]


def bind(body: object, names: Sequence[str], target: Target) -> Bound:
    """Return the values in `body` of those columns `names` that it has. InvalidRecordError for a value SQLite cannot hold."""
    if not isinstance(body, dict):
        raise InvalidRecordError("not an object of columns and values")
    columns = tuple(name for name in names if name in body)
    for name in target.key:
        if body.get(name) is None:
            raise InvalidRecordError(f"the key column {name} is {'NULL' if name in body else 'missing'}")
    values: list[SqlValue] = []
    raw = set()
    for position, name in enumerate(columns):
        try:
            value = _in_encoding(_value(body[name]), target)
            if name in target.numeric:
                _ensure_same_number(value, target.numeric[name])
        except InvalidRecordError as error:
            raise InvalidRecordError(f"column {name}: {error}") from error
        if isinstance(value, RawText):
            raw.add(position)
            value = value.data
        values.append(value)
    return Bound(columns, tuple(values), frozenset(raw))


def _value(written: object) -> KeyValue:
    try:
        value = from_json(written)
    except DamagedError as error:
        raise InvalidRecordError(str(error)) from error
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise InvalidRecordError("an integer of more than 64 bits")
    if isinstance(value, float) and math.isnan(value):
        raise InvalidRecordError("NaN, which SQLite stores as NULL")
    return value


def _ensure_same_number(value: KeyValue, affinity: str) -> None:
    """InvalidRecordError for a value that the column would keep as another one: '007' as 7, or with fewer digits."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        if _CODE.match(value) or not _is_kept(value, affinity):
            raise InvalidRecordError(f"the table would keep the text {value[:80]!r} as another number")
    elif isinstance(value, int) and not _is_kept(value, affinity):
        raise InvalidRecordError(f"the table would keep {value} as a number with fewer digits")


def _is_kept(value: str | int, affinity: str) -> bool:
    try:
        number = Decimal(value)
    except InvalidOperation:  # its exponent has more digits than any number here
        return False
    return number == _stored_number(number, affinity)


def _stored_number(number: Decimal, affinity: str) -> Decimal:
    """Return what a column of this affinity makes of a number (https://www.sqlite.org/datatype3.html, section 3)."""
    if affinity != "real" and number == number.to_integral_value() and -(1 << 63) <= number < 1 << 63:
        return number
    return Decimal(repr(float(number)))


def _in_encoding(value: KeyValue, target: Target) -> KeyValue:
    match value:
        case RawText() if target.source_encoding != target.encoding:
            raise InvalidRecordError(
                f"text that is not valid {target.source_encoding} cannot be held by a database in {target.encoding}"
            )
        case str() if target.encoding in _UTF16 and ("\ufffe" in value or "\uffff" in value):
            # SQLite's conversion from UTF-8 to UTF-16 replaces these two characters.
            return RawText(value.encode(_UTF16[target.encoding]))
        case _:
            return value
