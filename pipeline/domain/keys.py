"""Primary keys as values, and their one order.

A source reads its rows in exactly this order, whatever the collation of its own indexes; the diff of two exports
(`diff.py`) compares range boundaries by it. The order is SQLite's BINARY order, which is also PostgreSQL's under
`COLLATE "C"`: absent values first, then numbers, text by its UTF-8 bytes, bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import lt


@dataclass(frozen=True, slots=True)
class RawText:
    """Text whose bytes are not valid in its encoding, kept as they are."""

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
    """Return a value that sorts as `key` does. Keys compare column by column; NaN is never part of a key."""
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
