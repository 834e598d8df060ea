"""The stream `@large_objects`: the large objects of a database as rows, each with its content as a Binary File."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from pipeline.connectors.sql.schema_objects import ObjectId, SchemaObject
from pipeline.domain.ids import BinaryId, Label
from pipeline.domain.schema import LARGE_OBJECT_STREAM, Column, StreamSchema

KIND = "large object"
_MEMBER = "large_objects"
_COLUMNS = (Column("oid", "integer", False), Column("content", "binary", False))


def large_object_stream(technology: str) -> StreamSchema:
    """Return the stream of the large objects of a database of `technology`."""
    native = {_MEMBER: {"version": 1, "technology": technology}}
    return StreamSchema(LARGE_OBJECT_STREAM, Label(LARGE_OBJECT_STREAM), _COLUMNS, ("oid",), native)


def large_object_technology(schema: StreamSchema) -> str | None:
    """Return the technology whose large objects a stream holds; None for a stream of other rows."""
    native: Any = schema.native.get(_MEMBER)
    return str(native["technology"]) if isinstance(native, dict) and "technology" in native else None


def upsert_line(oid: int, content: BinaryId) -> bytes:
    """Return the line of an upsert."""
    return orjson.dumps({"upsert": {"oid": oid, "content": content}}, option=orjson.OPT_APPEND_NEWLINE)


def read_line(line: bytes) -> tuple[int, BinaryId | None]:
    """Return the oid of a record, and its content or None if it is deleted. ValueError when damaged."""
    try:
        ((action, row),) = orjson.loads(line).items()
        return int(row["oid"]), BinaryId(str(row["content"])) if action == "upsert" else None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a record of a large object: {error}") from error


def as_schema_objects(block: bytes) -> Iterator[tuple[ObjectId, SchemaObject | None]]:
    """Yield the records in a block as schema objects, so that a database without large objects can name them."""
    for line in block.splitlines():
        oid, content = read_line(line)
        yield (KIND, str(oid)), None if content is None else SchemaObject(KIND, str(oid), 0, ())
