"""Primary keys as values, and their order.

Every source reads its rows in this order, whatever the collation of its indexes, and diffs compare keys by it. It is
the BINARY order of SQLite and, under `COLLATE "C"`, that of PostgreSQL: NULL, then numbers, then text by its UTF-8
bytes, then bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import lt


@dataclass(frozen=True, slots=True)
class RawText:
    """Text whose bytes are not valid in its encoding."""

    data: bytes


KeyValue = None | bool | int | float | str | bytes | RawText
Key = tuple[KeyValue, ...]
OrderedKey = tuple[tuple[int, int | float | bytes], ...]


def _ordered(value: KeyValue) -> tuple[int, int | float | bytes]:
    match value:
        case None:
            return (0, 0)
        case bool() | int() | float():
            return (1, value)
        case str():
            return (2, value.encode("utf-8", "surrogatepass"))
        case RawText():
            return (2, value.data)
        case bytes():
            return (3, value)


def order(key: Key) -> OrderedKey:
    """Return a value to sort `key` by. Keys compare column by column; NaN is never part of a key."""
    return tuple([_ordered(value) for value in key])


def first_out_of_order(keys: Sequence[Key]) -> int | None:
    """Return the position of the first key that is not after the one before it; None when the keys ascend strictly.

    Keys of one type compare as Python compares them, in some 40 ns a key; only others need `order`, in 1 µs.
    """
    try:
        if all(map(lt, keys, islice(keys, 1, None))):
            return None
    except TypeError:  # absent values, RawText, or values of several types
        pass
    ordered = [order(key) for key in keys]
    return next((at for at in range(1, len(keys)) if ordered[at] <= ordered[at - 1]), None)
