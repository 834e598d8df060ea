"""The first line of an Event File: bytes to `Header` and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

from pipeline.codec.documents import reading
from pipeline.codec.values import key_from_json, key_to_json
from pipeline.domain.event_file import FORMAT_VERSION, Header, KeyRange
from pipeline.domain.ids import EventFileId, FlowName, Label, Phase, StreamName
from pipeline.domain.keys import Key
from pipeline.domain.schema import Column, StreamSchema


def schema_to_json(schema: StreamSchema) -> dict[str, object]:
    """Return the members of a header that describe its stream."""
    return {
        "label": schema.label,
        "table": schema.stream,
        "columns": [
            {
                "name": column.name,
                "type": column.type,
                "nullable": column.nullable,
                "nativeType": column.native_type,
                "default": column.default,
                "size": column.size,
            }
            for column in schema.columns
        ],
        "primaryKeys": schema.primary_keys,
        "native": dict(schema.native),
    }


def schema_from_json(document: Mapping[str, object]) -> StreamSchema:
    """Read what `schema_to_json` wrote; KeyError, TypeError or ValueError when it is something else."""
    columns, keys, native = document["columns"], document["primaryKeys"], document.get("native", {})
    if not isinstance(columns, list) or not isinstance(keys, list) or not isinstance(native, dict):
        raise TypeError("columns, primaryKeys or native are of a wrong type")
    schema = StreamSchema(
        stream=StreamName(str(document["table"])),
        label=Label(str(document["label"])),
        columns=tuple(_read_column(column) for column in columns),
        primary_keys=tuple(str(key) for key in keys),
        native=native,
    )
    names = schema.column_names
    if len(set(names)) != len(names):
        raise ValueError("a column is named twice")
    if not schema.primary_keys or not set(schema.primary_keys) <= set(names):
        raise ValueError(f"primaryKeys {list(schema.primary_keys)} are not among the columns")
    return schema


def _read_column(column: Mapping[str, object]) -> Column:
    default, size = column.get("default"), column.get("size", -1)
    if not isinstance(size, int):
        raise TypeError(f"size is {size!r}")
    return Column(
        name=str(column["name"]),
        type=str(column["type"]),
        nullable=column.get("nullable", True) is True,
        native_type=str(column.get("nativeType", "")),
        default=None if default is None else str(default),
        size=size,
    )


def encode_header(header: Header) -> bytes:
    """Return the header line with its line feed."""
    moment = header.export_time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    document = {
        "metadata": True,
        "formatVersion": FORMAT_VERSION,
        "flow": header.flow,
        "movement": header.id.movement,
        "phase": header.id.phase.value,
        "chunk": header.id.chunk,
        **schema_to_json(header.schema),
        "rowCount": header.row_count,
        "exportTime": moment,
        "covers": {"after": _bound(header.covers.after), "until": _bound(header.covers.until)},
        "state": header.state,
    }
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _bound(key: Key | None) -> list[object] | None:
    return None if key is None else list(key_to_json(key))


def decode_header(line: bytes, what: str) -> Header:
    """Read a header line; DamagedError names `what` and what is wrong with it."""
    return reading(what, _read_header, line)


def _read_header(document: dict[str, object]) -> Header:
    if document.get("metadata") is not True:
        raise ValueError("the first line is no header: it has no `metadata: true`")
    movement, chunk, rows = document["movement"], document["chunk"], document["rowCount"]
    if not isinstance(movement, int) or not isinstance(chunk, int) or not isinstance(rows, int):
        raise TypeError("movement, chunk or rowCount is not a whole number")
    covers = document.get("covers") or {}
    if not isinstance(covers, dict):
        raise TypeError("covers is not an object")
    after, until, state = covers.get("after"), covers.get("until"), document.get("state")
    schema = schema_from_json(document)
    return Header(
        flow=FlowName(str(document["flow"])),
        id=EventFileId(movement, schema.stream, Phase(str(document["phase"])), chunk),
        schema=schema,
        row_count=rows,
        export_time=datetime.fromisoformat(str(document["exportTime"])),
        covers=KeyRange(
            after=None if after is None else key_from_json(after),
            until=None if until is None else key_from_json(until),
        ),
        state=None if state is None else str(state),
    )
