"""What it means when SQLite, or what stands before it, refuses one record."""

from __future__ import annotations

import math

import apsw

from pipeline.codec.values import from_json
from pipeline.connectors.sqlite.loading.records import NOT_A_NUMBER, InvalidRecordError
from pipeline.domain.errors import DamagedError
from pipeline.domain.keys import RawText

REFUSALS: tuple[type[Exception], ...] = (apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError, InvalidRecordError)
"""What is raised for a record that the table will not have. Everything else is about the whole file."""

UNBINDABLE: tuple[type[Exception], ...] = (TypeError, OverflowError)
"""What apsw raises for a value that is none of SQLite's: an array, an integer of more than 64 bits."""

_BLOCKED_BY_ROW = (
    apsw.SQLITE_CONSTRAINT_UNIQUE,
    apsw.SQLITE_CONSTRAINT_PRIMARYKEY,
    apsw.SQLITE_CONSTRAINT_ROWID,
)


def is_blocked(refusal: Exception) -> bool:
    """Whether it was another row that stood in the way."""
    return getattr(refusal, "extendedresult", None) in _BLOCKED_BY_ROW


def column_in(words: str, table: str) -> str | None:
    """Return the one column that the words about `table` name, if they do."""
    _, found, rest = words.partition(f"{table}.")
    if found and ", " not in rest:
        return rest
    _, found, rest = words.partition("column ")
    return rest.partition(":")[0] if found and ":" in rest else None


def bind_tagged(_cursor: apsw.Cursor, _number: int, value: object) -> bool | int | float | str | bytes | None:
    """Give apsw the value of a tagged object (`pipeline.codec.values`) as it binds it, on the quick way."""
    try:
        found = from_json(value)
    except DamagedError as error:
        raise InvalidRecordError(str(error)) from error
    if isinstance(found, RawText):
        raise InvalidRecordError("text that is not valid in its encoding needs a statement of its own")
    if isinstance(found, float) and math.isnan(found):
        raise InvalidRecordError(NOT_A_NUMBER)
    return found
