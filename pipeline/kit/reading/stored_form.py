"""Rows that were stored before the author changed the row type, in the form that rows have now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipeline.codec.values import from_json
from pipeline.domain.schema import StreamSchema
from pipeline.kit.reading.encoding import EncodedRow, rejected_line

_NEVER_NULL = " not null"


def stored_columns(schema: StreamSchema) -> list[tuple[str, str]]:
    """Return the names and types of columns as pages have them. A type says whether values may be NULL; a key's never are."""
    keys = schema.primary_keys
    return [
        (one.name, one.type if one.nullable and one.name not in keys else f"{one.type}{_NEVER_NULL}")
        for one in schema.columns
    ]


class StoredForm:
    """The form of stored lines. `columns` are as of `stored_columns`, None where an earlier release stored the lines.

    Pages of an earlier release do not say which columns are never NULL: then those of today count.
    """

    def __init__(self, schema: StreamSchema, columns: Sequence[tuple[str, str]] | None, lines: Sequence[bytes]) -> None:
        self._key = schema.primary_keys
        self._types = {column.name: column.type for column in schema.columns}
        if columns is None:
            columns = [(name, self._types.get(name, "")) for name in _names_in(lines)] or list(self._types.items())
        never_null = {name for name, type_ in columns if type_.endswith(_NEVER_NULL)}
        wanted = {name for name, type_ in stored_columns(schema) if type_.endswith(_NEVER_NULL)}
        self._may_lack = wanted - never_null if never_null else set[str]()
        self._stored = {name: type_.removesuffix(_NEVER_NULL) for name, type_ in columns}
        self.is_present = list(self._stored.items()) == list(self._types.items()) and not self._may_lack
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
        missing = self._missing or next((name for name in self._may_lack if body.get(name) is None), None)
        if missing is not None:
            reason = f"it has not come since its row type changed, and has no value in the column {missing!r}"
            names = {name: body[name] for name in self._key}
            return EncodedRow(key, rejected_line(names, reason, missing, absent="absent" in record))
        kind = next(iter(record))
        return EncodedRow(key, orjson.dumps({kind: {name: body[name] for name in self._types}}))


def _names_in(lines: Sequence[bytes]) -> Sequence[str]:
    """Return the names of the columns of the first row that is an upsert."""
    line = next((line for line in lines if line.startswith(b'{"upsert":')), None)
    return [] if line is None else list(orjson.loads(line)["upsert"])
