"""Rows that were stored before the author changed the row type, in the form that rows have now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipeline.codec.values import from_json
from pipeline.domain.schema import StreamSchema
from pipeline.kit.reading.encoding import EncodedRow, rejected_line


class StoredForm:
    """The form of stored lines. `columns` are their names and types, None where an earlier release stored the lines."""

    def __init__(self, schema: StreamSchema, columns: Sequence[tuple[str, str]] | None, lines: Sequence[bytes]) -> None:
        self._key = schema.primary_keys
        self._types = {column.name: column.type for column in schema.columns}
        if columns is None:
            columns = [(name, self._types.get(name, "")) for name in _names_in(lines)] or list(self._types.items())
        self._stored = dict(columns)
        self.is_present = list(columns) == list(self._types.items())
        self._missing = next((name for name, type_ in self._types.items() if self._stored.get(name) != type_), None)
        self._has_key = all(self._stored.get(name) == self._types[name] for name in self._key)

    def row(self, line: bytes) -> EncodedRow | None:
        """Return the row of a line; None where its key is not the present one, with which it is another row.

        A row that lacks a column of today is a rejected one.
        """
        record = orjson.loads(line)
        body: Mapping[str, Any] = next(iter(record.values()))
        if not self._has_key:
            return None
        key: Any = tuple([from_json(body[name]) for name in self._key])
        if self.is_present or ("upsert" not in record and "absent" not in record):
            return EncodedRow(key, line)
        if self._missing is not None:
            reason = f"it has not come since its row type changed, and has no value in the column {self._missing!r}"
            names = {name: body[name] for name in self._key}
            return EncodedRow(key, rejected_line(names, reason, self._missing, absent="absent" in record))
        kind = next(iter(record))
        return EncodedRow(key, orjson.dumps({kind: {name: body[name] for name in self._types}}))


def _names_in(lines: Sequence[bytes]) -> Sequence[str]:
    """Return the names of the columns of the first row that is an upsert."""
    line = next((line for line in lines if line.startswith(b'{"upsert":')), None)
    return [] if line is None else list(orjson.loads(line)["upsert"])
