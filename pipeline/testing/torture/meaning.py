"""Whether two values mean the same, though an app may keep a time as text, or a truth value as a number."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import msgspec

from pipeline.kit.values import Binary


def same(expected: object, found: object) -> bool:
    """Whether a value that an app holds is the expected one."""
    if isinstance(expected, enum.Enum):
        expected = expected.value
    if isinstance(found, enum.Enum):
        found = found.value
    if expected is None or found is None:
        return expected is found
    if isinstance(expected, Binary):
        return not isinstance(found, bytes) or expected.open == found
    try:
        return _same(expected, found)
    except (ValueError, TypeError, InvalidOperation, msgspec.MsgspecError):
        return False


def _same(expected: Any, found: Any) -> bool:
    if isinstance(expected, bool | int | float | Decimal):
        if isinstance(expected, float) and isinstance(found, float):
            return repr(expected) == repr(found)  # -0.0 is not 0.0, and NaN is NaN
        return bool(expected == found) or Decimal(str(_number(expected))) == Decimal(str(_number(found)))
    if isinstance(expected, datetime):
        return _moment(expected) == _moment(found if isinstance(found, datetime) else datetime.fromisoformat(found))
    if isinstance(expected, date):
        return expected == (found if isinstance(found, date) else date.fromisoformat(found))
    if isinstance(expected, time):
        return expected == (found if isinstance(found, time) else time.fromisoformat(found))
    if isinstance(expected, timedelta):
        return expected == (found if isinstance(found, timedelta) else timedelta(seconds=float(found)))
    if isinstance(expected, UUID | str):
        return str(expected) == str(found)
    if isinstance(expected, bytes):
        return expected == bytes(found)
    return bool(_plain(expected) == _plain(found))


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _moment(value: datetime) -> datetime:
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def _plain(value: Any) -> Any:
    """Return a nested value as JSON has it."""
    if isinstance(value, str):
        value = json.loads(value)
    dumped = getattr(value, "model_dump", None)
    return json.loads(msgspec.json.encode(dumped("json") if dumped is not None else value))


def differing(expected: Mapping[str, object], found: Mapping[str, object], known: Mapping[str, set[str]]) -> str | None:
    """Return the first column of a row that an app holds in another way than expected; columns it does not give count not.

    `known` are the ids at the destination of ids of the source: either may be there.
    """
    for name, value in expected.items():
        if name in found and not same(value, found[name]) and str(found[name]) not in known.get(str(value), ()):
            return f"{name} is {found[name]!r} in place of {value!r}"
    return None
