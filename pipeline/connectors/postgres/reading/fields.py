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

from pipeline.codec.event_files.array_lines import joined
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


def split(rows: Rows, width: int) -> list[bytes]:
    """Return the `width` fields of each row, all in one list: JSON, except for those that `UpsertLines` rewrites."""
    text = rows.text.translate(_SEPARATED)
    found = text.split(SEPARATOR)
    found.pop()  # after the end of the last row
    if _ODD in text or len(found) != width * len(rows):
        found = _escaped(rows, width * len(rows)).split(SEPARATOR)
        found.pop()
    return found


def _comma_separated(rows: Rows, width: int) -> bytes | None:
    """Return the rows with commas between their fields; None if a text has a control character, which JSON escapes."""
    text = rows.text.translate(_COMMAS)
    is_plain = _ODD not in text and count_lines(text) == len(rows)
    return text if is_plain and rows.text.count(SEPARATOR) == (width - 1) * len(rows) else None


_ODD = b"\0"
"""Replaces control characters within texts. No text of PostgreSQL contains it."""
_SEPARATED = bytes(1 if byte in b"\n\x01" else 0 if byte < 32 else byte for byte in range(256))
"""Turns the end of a row into a separator. A separator within a text shows in the number of fields."""
_COMMAS = bytes(44 if byte == 1 else 0 if byte < 32 and byte != 10 else byte for byte in range(256))
"""Turns separators into commas."""
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
        self._array = b'{"upsert":[%b]}\n' % b",".join([b"%b"] * len(fields))
        self._rewrites = [
            (place, _REWRITES[field.form]) for place, field in enumerate(fields) if field.form in _REWRITES
        ]

    def of(self, rows: Rows) -> bytes:
        """Return their lines, in order, each with its line feed."""
        return self._filled(self._template, split(rows, self.width))

    def arrays(self, rows: Rows) -> bytes:
        """Return their lines as arrays."""
        unsplit = self.arrays_unsplit(rows)
        return self.arrays_of(split(rows, self.width)) if unsplit is None else unsplit

    def arrays_unsplit(self, rows: Rows) -> bytes | None:
        """Return their lines as arrays if no value has to be rewritten."""
        text = None if self._rewrites else _comma_separated(rows, self.width)
        return None if text is None else joined(text)

    def arrays_of(self, values: list[bytes]) -> bytes:
        """Return the lines of rows that are split, as arrays. The list is changed."""
        return self._filled(self._array, values)

    def _filled(self, template: bytes, values: list[bytes]) -> bytes:
        for place, rewrite in self._rewrites:
            values[place :: self.width] = rewrite(values[place :: self.width])
        return template * (len(values) // self.width) % tuple(values)


def bytes_of(text: bytes) -> bytes:
    """Return the value of a field of bytes that is not NULL: hexadecimal digits after `\\\\x`, in quotes."""
    return unhexlify(text[4:-1])


def _tagged_bytes(texts: Sequence[bytes]) -> Sequence[bytes]:
    return [b'{"$bytes":"%b"}' % b64encode(bytes_of(text)) if text != b"null" else text for text in texts]


def _floats(texts: Sequence[bytes]) -> Sequence[bytes]:
    return [text if b"." in text else _float(text) for text in texts]


def _float(text: bytes) -> bytes:
    """Return a float as JSON. A whole number gets `.0`, so that it stays a float."""
    return text + b".0" if text.removeprefix(b"-").isdigit() else _NOT_FINITE.get(text, text)


_NOT_FINITE = {b"NaN": b'{"$float":"nan"}', b"Infinity": b'{"$float":"inf"}', b"-Infinity": b'{"$float":"-inf"}'}
_BOOLEANS = {b"t": b"true", b"f": b"false", b"null": b"null"}


def _booleans(texts: Sequence[bytes]) -> Sequence[bytes]:
    return [_BOOLEANS[text] for text in texts]


_REWRITES: dict[Form, Rewrite] = {Form.FLOAT: _floats, Form.BOOLEAN: _booleans, Form.BYTES: _tagged_bytes}
