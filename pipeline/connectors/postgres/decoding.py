"""The bytes of binary COPY rows as hashes, keys, places and upsert lines: a block at a time, with little work for a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from struct import Struct
from typing import Any

import orjson
from xxhash import xxh3_64_digest, xxh3_64_intdigest, xxh3_128_digest

from pipeline.connectors.postgres.selects import KeyPart, KeyTerm
from pipeline.connectors.postgres.tables import Table
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.keys import Key, KeyValue

Place = tuple[int, int, int]
"""Where a row lies: the table's object id, the block and the position in it."""

_PLACE = Struct(">2xi I i IH".replace(" ", ""))
"""Number of fields; length and value of `tableoid`; length and value of `ctid`."""
_LENGTH = Struct(">i")
_LINE = 2 + _LENGTH.size

ReadKey = Callable[[Any, int], Key]


def hash_seed(table: Table) -> int:
    """Return the seed of a table's row hashes: equal content under other names, or of another type, is another row."""
    named = [[column.name, column.base_type or column.native_type] for column in table.data_columns]
    return xxh3_64_intdigest(orjson.dumps([table.key, named]))


def key_reader(terms: Sequence[KeyTerm]) -> ReadKey:
    """Return a function that reads the key from a row, given where the row's content begins."""
    codes = [term.part.value for term in terms]
    if all(len(code) == 1 and term.part is not KeyPart.FLOAT8 for code, term in zip(codes, terms, strict=True)):
        return Struct(">" + "".join("4x" + code for code in codes)).unpack_from
    readers = [_READERS.get(term.part) or _fixed(term.part.value) for term in terms]

    def read(row: memoryview, at: int) -> Key:
        values: list[KeyValue] = []
        for reader in readers:
            (size,) = _LENGTH.unpack_from(row, at)
            at += _LENGTH.size
            values.append(reader(row[at : at + size]))
            at += size
        return tuple(values)

    return read


def _fixed(code: str) -> Callable[[memoryview], KeyValue]:
    unpack = Struct(">" + code).unpack

    def read(data: memoryview) -> KeyValue:
        value: KeyValue = unpack(data)[0]
        return value

    return read


def _text(data: memoryview) -> KeyValue:
    return str(data, "utf-8")


def _float(data: memoryview) -> KeyValue:
    (value,) = _FLOAT.unpack(data)
    if math.isnan(value):
        raise ConfigurationError("NaN stands in a key, where it has no order; give the table another key")
    return float(value)


_FLOAT = Struct(">d")
_READERS: dict[KeyPart, Callable[[memoryview], KeyValue]] = {
    KeyPart.TEXT: _text,
    KeyPart.BYTES: bytes,
    KeyPart.FLOAT8: _float,
}


@dataclass(frozen=True, slots=True)
class RowReading:
    """How the rows of one table are read: what their hashes begin with, how a key is made; `place` names the table."""

    place: str
    seed: int
    read_key: ReadKey

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the table in an error about a key."""
        try:
            yield
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.place}: {error}") from None


class Decoded:
    """The rows of a block: their content's bytes, and what is made of them when asked.

    Fields tell their lengths, so contents one after the other can be read in one way only, and be digested as one.
    """

    def __init__(self, rows: Sequence[memoryview], starts: Sequence[int], how: RowReading) -> None:
        """Take rows whose contents begin at `starts`."""
        self._rows, self._starts, self._how = rows, starts, how
        self._contents = [row[start:] for row, start in zip(rows, starts, strict=True)]

    def digest(self) -> bytes:
        """Return the digest of the contents, one after the other."""
        return xxh3_128_digest(b"".join(self._contents), self._how.seed)

    def row_hashes(self) -> bytes:
        """Return the hash of each content."""
        return b"".join(map(xxh3_64_digest, self._contents, repeat(self._how.seed)))

    def keys(self) -> list[Key]:
        """Return the keys. ConfigurationError when one has no order."""
        with self._how.named():
            return list(map(self._how.read_key, self._rows, self._starts))

    def key(self, at: int) -> Key:
        """Return the key of the row at one position. ConfigurationError when it has no order."""
        with self._how.named():
            return self._how.read_key(self._rows[at], self._starts[at])


def decode_located(rows: Sequence[memoryview], how: RowReading) -> Decoded:
    """Take rows that were read with their places."""
    return Decoded(rows, [_PLACE.size] * len(rows), how)


def decode_with_lines(rows: Sequence[memoryview], how: RowReading) -> tuple[Decoded, list[memoryview]]:
    """Take rows that were read with their lines; return the lines too."""
    size = _LENGTH.unpack_from
    ends = [size(row, 2)[0] + _LINE for row in rows]
    return Decoded(rows, ends, how), [row[_LINE:end] for row, end in zip(rows, ends, strict=True)]


def place(row: memoryview) -> Place:
    """Return where a row lies that was read with its place."""
    _, table, _, block, position = _PLACE.unpack_from(row)
    return table, block, position


_PLACED_LINE = Struct(">2xiIHi")


def placed_line(row: memoryview) -> tuple[tuple[int, int], memoryview]:
    """Return block, position and line of a row that `TableSelect.lines` gave."""
    _, block, position, _ = _PLACED_LINE.unpack_from(row)
    return (block, position), row[_PLACED_LINE.size :]
