"""Handmade Event Files, for loads that no source would cause."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from pipeline.domain.ids import FlowName, Label, Phase, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.destination import FileToLoad
from tests.contracts.destination import file_to_load

FLOW = FlowName("crm")


def schema(
    columns: Mapping[str, str], *key: str, stream: str = "item", native: Mapping[str, object] | None = None
) -> StreamSchema:
    """Return a stream with these columns and types; by default, the first column is the key."""
    described = tuple(Column(name, kind) for name, kind in columns.items())
    keys = key or (described[0].name,)
    return StreamSchema(StreamName(stream), Label(stream), described, keys, native or {})


def upsert(**row: object) -> bytes:
    """Return an upsert line."""
    return orjson.dumps({"upsert": row}) + b"\n"


def as_arrays(stream: StreamSchema, lines: Iterable[bytes]) -> list[bytes]:
    """Return the lines with the values of each upsert in an array."""
    records = map(orjson.loads, lines)
    arrays = [{"upsert": list(map(it["upsert"].get, stream.column_names))} if "upsert" in it else it for it in records]
    return [orjson.dumps(record) + b"\n" for record in arrays]


def delete(**key: object) -> bytes:
    """Return a delete line."""
    return orjson.dumps({"delete": key}) + b"\n"


def file(
    stream: StreamSchema, lines: Iterable[bytes], chunk: int = 0, *, full: bool = False, movement: int = 1
) -> FileToLoad:
    """Return an Event File of one block."""
    phase = Phase.FULL if full else Phase.INCREMENTAL
    return file_to_load(stream, [b"".join(lines)], chunk=chunk, movement=movement, phase=phase)
