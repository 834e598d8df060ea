"""The fields of a row as COPY writes them, and the upsert lines made of them.

In PostgreSQL's CSV with the escape character `\\`, quotes around every text and `null` for NULL, a value is its own JSON,
except that CSV does not escape control characters (docs/decisions/0008). So most fields go into a line unchanged.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import unhexlify
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import orjson

from pipeline.codec.event_files.array_lines import joined, joined_each
from pipeline.codec.values import count_lines
from pipeline.connectors.postgres.schema.tables import Table, TableColumn
from pipeline.connectors.postgres.schema.types import Form
from pipeline.connectors.sql.identifiers import quoted

Rewrite = Callable[[Sequence[bytes]], Sequence[bytes]]
"""Turns the texts of one column of several rows into JSON."""

_UNQUOTED = (Form.NUMBER, Form.FLOAT, Form.BOOLEAN)
SEPARATOR = b"\x01"
"""The delimiter of fields: hardly any text contains it, and quotes surround it there."""


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a stream's records: its name, the SQL of its value, and its form in JSON."""

    name: str
    sql: str
    form: Form


def fields_of(table: Table) -> tuple[Field, ...]:
    """Return the fields of a table's rows, in the order of the records' members."""
    row, dup = table.row_key
    row_key = () if table.key else (Field(row, quoted(row), Form.PLAIN), Field(dup, quoted(dup), Form.NUMBER))
    return (*row_key, *map(_field, table.data_columns))


def _field(column: TableColumn) -> Field:
    cast = "::numeric" if column.wire.form is Form.MONEY else ""
    return Field(column.name, quoted(column.name) + cast, column.wire.form)


def copy_statement(fields: Sequence[Field], from_item: str) -> str:
    """Return the COPY of these fields of all rows of `from_item`."""
    values = ", ".join(f"{field.sql} AS {quoted(field.name)}" for field in fields)
    texts = [quoted(field.name) for field in fields if field.form not in _UNQUOTED]
    force = f", FORCE_QUOTE ({', '.join(texts)})" if texts else ""
    options = f"FORMAT csv, DELIMITER E'\\x01', ESCAPE '\\', NULL 'null'{force}"
    return f"COPY (SELECT {values} FROM {from_item}) TO STDOUT ({options})"


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows as COPY writes them, and the length of each in bytes."""

    text: bytes
    sizes: Sequence[int]

    def __len__(self) -> int:
        return len(self.sizes)

    def each(self) -> list[bytes]:
        """Return the rows, each with its line feed."""
        starts = accumulate(self.sizes, initial=0)
        return [self.text[start : start + size] for start, size in zip(starts, self.sizes, strict=False)]

    def picked(self, positions: Sequence[int]) -> Rows:
        """Return the rows at these positions."""
        each = self.each()
        rows = [each[at] for at in positions]
        return Rows(b"".join(rows), list(map(len, rows)))


@dataclass(frozen=True, slots=True)
class SplitRows:
    """The fields of each row, all in one list: JSON, except for those that `UpsertLines` rewrites.

    `commas`: the rows with commas between their fields, if no text has a control character, which JSON escapes.
    """

    values: list[bytes]
    commas: bytes | None


def split(rows: Rows, width: int) -> SplitRows:
    """Return the `width` fields of each row."""
    commas = _comma_separated(rows)
    if commas is not None:
        values = rows.text.replace(b"\n", SEPARATOR).split(SEPARATOR)
        if len(values) == width * len(rows) + 1:
            values.pop()  # after the end of the last row
            return SplitRows(values, commas)
    values = _escaped(rows, width * len(rows)).split(SEPARATOR)
    values.pop()
    return SplitRows(values, None)


def _comma_separated(rows: Rows) -> bytes | None:
    text = rows.text.translate(_COMMAS)
    return text if _ODD not in text and count_lines(text) == len(rows) else None


_ODD = b"\0"
"""Replaces control characters within texts. No text of PostgreSQL contains it."""
_SEPARATED = bytes(1 if byte in b"\n\x01" else 0 if byte < 32 else byte for byte in range(256))
"""Turns the end of a row into a separator. A separator within a text shows in the number of fields."""
_COMMAS = bytes(44 if byte == 1 else 0 if byte < 32 and byte != 10 else byte for byte in range(256))
"""Turns separators into commas. A separator within a text shows in the number of fields."""
_COMMON = ((b"\n", rb"\n"), (b"\r", rb"\r"), (b"\t", rb"\t"))
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_CONTROL = re.compile(rb"[\x01-\x1f]")


def _escaped(rows: Rows, count: int) -> bytes:
    """Return the rows with a separator at the end of each, `count` separators in all, and control characters escaped."""
    text = SEPARATOR.join([*(row[:-1] for row in rows.each()), b""])
    for control, escape in _COMMON:
        text = text.replace(control, escape)
    if _ODD in text.translate(_SEPARATED) or text.count(SEPARATOR) != count:
        text = _TEXT.sub(lambda found: _CONTROL.sub(_escape, found[0]), text)
    return text


def _escape(control: re.Match[bytes]) -> bytes:
    return orjson.dumps(control[0].decode())[1:-1]


class UpsertLines:
    """Makes upsert lines of rows with these fields, with names or as arrays."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.width = len(fields)
        names = [orjson.dumps(field.name).replace(b"%", b"%%") for field in fields]
        self._template = b'{"upsert":{%b}}\n' % b",".join([name + b":%b" for name in names])
        self._rewrites = [
            (place, _REWRITES[field.form]) for place, field in enumerate(fields) if field.form in _REWRITES
        ]

    def of(self, rows: Rows) -> bytes:
        """Return their lines, in order, each with its line feed."""
        values = split(rows, self.width).values
        self._rewrite(values)
        return self._template * (len(values) // self.width) % tuple(values)

    def arrays(self, rows: Rows) -> bytes:
        """Return their lines as arrays."""
        unsplit = self.arrays_unsplit(rows)
        return self.arrays_of(split(rows, self.width)) if unsplit is None else unsplit

    def arrays_unsplit(self, rows: Rows) -> bytes | None:
        """Return their lines as arrays if no value has to be rewritten."""
        if self._rewrites or rows.text.count(SEPARATOR) != (self.width - 1) * len(rows):
            return None
        text = _comma_separated(rows)
        return None if text is None else joined(text)

    def arrays_of(self, rows: SplitRows) -> bytes:
        """Return the lines of rows that are split, as arrays. Their values are changed."""
        if not self._rewrite(rows.values) and rows.commas is not None:
            return joined(rows.commas)
        return joined_each(map(b",".join, zip(*[iter(rows.values)] * self.width, strict=True)))

    def _rewrite(self, values: list[bytes]) -> bool:
        """Turn values into JSON; return whether any was none."""
        changed = False
        for place, rewrite in self._rewrites:
            texts = values[place :: self.width]
            found = rewrite(texts)
            if found is not texts:
                values[place :: self.width] = found
                changed = True
        return changed


def bytes_of(text: bytes) -> bytes:
    """Return the value of a field of bytes that is not NULL: hexadecimal digits after `\\\\x`, in quotes."""
    return unhexlify(text[4:-1])


def _tagged_bytes(texts: Sequence[bytes]) -> Sequence[bytes]:
    return [b'{"$bytes":"%b"}' % b64encode(bytes_of(text)) if text != b"null" else text for text in texts]


def _floats(texts: Sequence[bytes]) -> Sequence[bytes]:
    together = b" ".join(texts)
    if together.count(b".") + together.count(b"null") == len(texts):  # none of them is whole, as is usual
        return texts
    return [text if b"." in text else _float(text) for text in texts]


def _float(text: bytes) -> bytes:
    """Return a float as JSON. A whole number gets `.0`, so that it stays a float."""
    return text + b".0" if text.removeprefix(b"-").isdigit() else _NOT_FINITE.get(text, text)


_NOT_FINITE = {b"NaN": b'{"$float":"nan"}', b"Infinity": b'{"$float":"inf"}', b"-Infinity": b'{"$float":"-inf"}'}
_BOOLEANS = {b"t": b"true", b"f": b"false", b"null": b"null"}


def _booleans(texts: Sequence[bytes]) -> Sequence[bytes]:
    return [_BOOLEANS[text] for text in texts]


_REWRITES: dict[Form, Rewrite] = {Form.FLOAT: _floats, Form.BOOLEAN: _booleans, Form.BYTES: _tagged_bytes}
