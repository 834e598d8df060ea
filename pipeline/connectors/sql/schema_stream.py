"""The stream `@schema`: the schema objects of a database as rows, so that they are diffed and moved like any other rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from xxhash import xxh3_64_digest, xxh3_128_digest

from pipeline.connectors.sql.schema_objects import ObjectId, SchemaObject
from pipeline.domain.ids import Label
from pipeline.domain.keys import Key
from pipeline.domain.schema import SCHEMA_STREAM, Column, StreamSchema
from pipeline.ports.source import UpsertSink

_MEMBER = "schema_objects"
_BLOCK_OBJECTS = 1000
_COLUMNS = (
    Column("kind", "text", False),
    Column("name", "text", False),
    Column("rank", "integer", False),
    Column("definition", "json", False),
)


def schema_stream(technology: str, search_path: str = "") -> StreamSchema:
    """Return the stream. Its definitions are in the SQL of `technology`, and rely on `search_path` where it has one."""
    native = {_MEMBER: {"version": 1, "technology": technology, "search_path": search_path}}
    return StreamSchema(SCHEMA_STREAM, Label(SCHEMA_STREAM), _COLUMNS, ("kind", "name"), native)


def object_technology(schema: StreamSchema) -> str | None:
    """Return the technology whose schema objects a stream holds; None for a stream of other rows."""
    native: Any = schema.native.get(_MEMBER)
    return str(native["technology"]) if isinstance(native, dict) and "technology" in native else None


@dataclass(frozen=True, slots=True)
class SchemaObjectBlock:
    """Schema objects, ascending by kind and name, as a RowBlock."""

    objects: Sequence[SchemaObject]

    def __len__(self) -> int:
        return len(self.objects)

    def _lines(self) -> list[bytes]:
        return [_line(one) for one in self.objects]

    def digest(self) -> bytes:
        return xxh3_128_digest(b"".join(self._lines()))

    def last_key(self) -> Key:
        return self.objects[-1].id

    def keys(self) -> Sequence[Key]:
        return [one.id for one in self.objects]

    def row_hashes(self) -> bytes:
        return b"".join(map(xxh3_64_digest, self._lines()))

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        lines = self._lines()
        return b"".join(lines[position] for position in positions)


async def blocks_of(objects: Sequence[SchemaObject]) -> AsyncIterator[SchemaObjectBlock]:
    """Yield the objects in blocks, in key order."""
    ordered = sorted(objects, key=lambda one: tuple(part.encode() for part in one.id))
    for start in range(0, len(ordered), _BLOCK_OBJECTS):
        yield SchemaObjectBlock(ordered[start : start + _BLOCK_OBJECTS])


def encode_object(one: SchemaObject) -> str:
    """Return the definition of an object as JSON text."""
    definition = {"create": one.create, "remove": one.remove, "facts": one.facts, "reason": one.reason}
    return orjson.dumps(definition, option=orjson.OPT_SORT_KEYS).decode()


def decode_object(kind: str, name: str, rank: int, definition: str) -> SchemaObject:
    """Return the object that a row of the stream holds. ValueError when it is not one."""
    read = orjson.loads(definition)
    try:
        create = tuple(map(str, read["create"]))
        return SchemaObject(kind, name, rank, create, read["remove"], dict(read["facts"]), str(read["reason"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the definition of a schema object: {error}") from error


def read_records(block: bytes) -> Iterator[tuple[ObjectId, SchemaObject | None]]:
    """Yield the records in a block of lines: the id, and the object or None if it is deleted. ValueError when damaged."""
    for line in block.splitlines():
        try:
            ((action, row),) = orjson.loads(line).items()
            identity = str(row["kind"]), str(row["name"])
            upsert = action == "upsert"
            yield identity, decode_object(*identity, int(row["rank"]), row["definition"]) if upsert else None
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record of a schema object: {error}") from error


def _line(one: SchemaObject) -> bytes:
    row = {"kind": one.kind, "name": one.name, "rank": one.rank, "definition": encode_object(one)}
    return orjson.dumps({"upsert": row}, option=orjson.OPT_APPEND_NEWLINE)
