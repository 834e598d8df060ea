"""Staged rows as blocks of upsert lines, in key order, with the contents of the binary files that they name."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from pipeline.codec.event_files.hashed_lines import HashedLines
from pipeline.connectors.sam.reading.column_types import Convert, plain
from pipeline.connectors.sam.reading.contents import ContentError, Contents
from pipeline.connectors.sam.reading.staged_stream import StagedStream
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.ports.source import UpsertSink

BLOCK_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its key, its values by column, or why it is rejected and at which column."""

    key: Key
    values: Mapping[str, Any]
    reason: str = ""
    column: str | None = None


class SamBlock(HashedLines):
    """Consecutive rows in key order: a RowBlock."""

    def __init__(self, rows: Sequence[Row], contents: Contents | None) -> None:
        super().__init__([row.key for row in rows], [_compared(row, contents) for row in rows])
        self._rows, self._contents = rows, contents

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        lines = []
        for position in positions:
            row = self._rows[position]
            if row.reason:
                sink.reject(position, row.reason, row.column)
                continue
            line = self._lines[position]
            if self._contents is not None:  # whose line also has their versions
                try:
                    values = await self._contents.complete(row.values, sink.store_binary)
                except ContentError as error:
                    sink.reject(position, error.reason, error.column)
                    continue
                line = orjson.dumps({"upsert": values})
            lines.append(line + b"\n")
        return b"".join(lines)


def _compared(row: Row, contents: Contents | None) -> bytes:
    """Return what a row is compared by: its upsert line without the line feed, and the versions of its contents."""
    if row.reason:
        return orjson.dumps([*row.key, row.reason])
    line = orjson.dumps({"upsert": row.values})
    return line if contents is None else line + contents.version(row.values)


def read_rows(stream: StagedStream, schema: StreamSchema) -> Generator[list[Row], None, None]:
    """Yield the rows of a stream in batches, in key order."""
    columns = stream.conversions(schema)
    decimals = {it.name for it in schema.columns if it.type == "decimal"}
    as_key = [(at, name) for at, name in enumerate(schema.primary_keys) if name in decimals]
    rows = (_row(found, columns, as_key) for found in stream.rows())
    while batch := list(islice(rows, BLOCK_ROWS)):
        yield batch


def _row(found: tuple[Any, ...], columns: Sequence[tuple[str, int, Convert]], as_key: Sequence[tuple[int, str]]) -> Row:
    """Return a row. Columns `as_key` have the digits of the key: 2.50 and 2.5 are one number and two texts."""
    *key, data, reason, column = found
    if reason:
        return Row(tuple(key), {}, reason, column)
    staged = orjson.loads(data)
    there = len(staged)
    values: dict[str, Any] = {}
    for name, at, convert in columns:
        value = staged[at] if 0 <= at < there else None
        values[name] = value if value is None or (type(value) is str and convert is plain) else convert(value)
    for at, name in as_key:
        values[name] = key[at]
    return Row(tuple(key), values)
