"""Values for the fields of an author's rows. There are few of each type, so that old ones come back, and rows look alike."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Literal, get_args, get_origin
from uuid import UUID

from pipeline.domain.errors import ConfigurationError
from pipeline.kit.row_types import Field, is_typeddict, row_type
from pipeline.kit.values import Binary

_SOME: Mapping[Any, Sequence[Any]] = {
    bool: (False, True),
    int: (0, 1, 2, 7),
    float: (0.0, 0.5, -1.25),
    str: ("a", "b", "c d", "it's"),
    bytes: (b"", b"\x00\xff"),
    Decimal: (Decimal("0.1"), Decimal("12.50")),
    datetime: (datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)),
    date: (date(2026, 1, 2), date(2000, 2, 29)),
    time: (time(1, 2, 3), time(23, 59, 59, 999999)),
    timedelta: (timedelta(0), timedelta(days=1, seconds=2)),
    UUID: (UUID(int=1), UUID(int=2)),
    Binary: (Binary(b"content", version="1"), Binary(b"other content", version="2")),
}
_KEYS: Mapping[Any, Callable[[int], Any]] = {
    int: lambda number: number,
    str: lambda number: f"k{number}",
    bytes: lambda number: bytes([number]),
    float: lambda number: number + 0.5,
    UUID: lambda number: UUID(int=number),
    Decimal: Decimal,
    date: lambda number: date(2026, 1, number),
    datetime: lambda number: datetime(2026, 1, number, tzinfo=UTC),
}


def key_value(field: Field, number: int, where: str) -> Any:
    """Return the key value with this number, from 1 on. ConfigurationError when the type of the field has too few."""
    make = _KEYS.get(field.python)
    if make is None:
        raise ConfigurationError(
            f"{where}: the field {field.column.name!r} cannot be a key for torture: it is no number, text or time."
        )
    return make(number)


def is_key_type(field: Field) -> bool:
    """Whether a field can be a key for torture."""
    return field.python in _KEYS


def some_value(field: Field, random: Random) -> Any:
    """Return a value for a field, None now and then where it may be."""
    if field.column.nullable and random.random() < 0.2:
        return None
    if field.column.type == "timestamp":
        return random.choice(_SOME[datetime]).replace(tzinfo=None)
    return _some(field.python, random)


def _some(python: Any, random: Random) -> Any:
    if python in _SOME:
        return random.choice(_SOME[python])
    if get_origin(python) is Literal:
        return random.choice(get_args(python))
    if isinstance(python, type) and issubclass(python, enum.Enum):
        return random.choice(list(python))
    plain = get_origin(python) or python
    if plain in (list, tuple, set, frozenset):
        return plain()
    if _is_row(plain):
        type_ = row_type(plain, None, "a nested row")
        return type_.make({field.column.name: some_value(field, random) for field in type_.fields})
    return random.choice(({}, {"a": 1, "b": [None, "c"]})) if plain in (Any, object) else {}


def _is_row(plain: Any) -> bool:
    known = hasattr(plain, "model_fields") or hasattr(plain, "__struct_fields__")
    return dataclasses.is_dataclass(plain) or is_typeddict(plain) or known
