"""The first line of an Event File: bytes to `Header` and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC

import orjson

from pipeline.codec.documents.flow import get_datetime, get_str, get_strs, get_uint, reading
from pipeline.codec.values import key_from_json, key_to_json, shorten
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
    columns, native = document["columns"], document.get("native", {})
    if not isinstance(columns, list) or not isinstance(native, dict):
        raise TypeError("columns or native are of a wrong type")
    orjson.dumps(native)  # TypeError when it is nested too deep to be written down again
    schema = StreamSchema(
        stream=StreamName(get_str(document, "table")),
        label=Label(get_str(document, "label")),
        columns=tuple(_read_column(column) for column in columns),
        primary_keys=get_strs(document, "primaryKeys"),
        native=native,
    )
    names, keys = schema.column_names, schema.primary_keys
    if len(set(names)) != len(names) or len(set(keys)) != len(keys):
        raise ValueError("a column is named twice")
    if not keys or not set(keys) <= set(names):
        raise ValueError(f"primaryKeys {shorten(list(keys))} are not among the columns")
    return schema


def _read_column(column: Mapping[str, object]) -> Column:
    size = column.get("size", -1)
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError(f"size is {shorten(size)}, not a whole number")
    return Column(
        name=get_str(column, "name"),
        type=get_str(column, "type"),
        nullable=column.get("nullable", True) is True,
        native_type=get_str(column, "nativeType") if "nativeType" in column else "",
        default=None if column.get("default") is None else get_str(column, "default"),
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
    covers = document.get("covers") or {}
    if not isinstance(covers, dict):
        raise TypeError("covers is not an object")
    after, until = covers.get("after"), covers.get("until")
    schema = schema_from_json(document)
    return Header(
        flow=FlowName(get_str(document, "flow")),
        id=EventFileId(
            get_uint(document, "movement"),
            schema.stream,
            Phase(get_str(document, "phase")),
            get_uint(document, "chunk"),
        ),
        schema=schema,
        row_count=get_uint(document, "rowCount"),
        export_time=get_datetime(document, "exportTime"),
        covers=KeyRange(
            after=None if after is None else key_from_json(after),
            until=None if until is None else key_from_json(until),
        ),
        state=None if document.get("state") is None else get_str(document, "state"),
    )
