"""The first line of a file of an export: table, columns, key, number of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import orjson

from pipeline.codec.event_files.header import decode_schema, schema_to_json
from pipeline.codec.values import shorten
from pipeline.domain.errors import DamagedError, UnreadableError
from pipeline.domain.event_file import Header
from pipeline.domain.schema import StreamSchema

_MEMBER = "pipeline"
"""A member that this software adds: the schema of the stream as Event Files have it."""
_TYPES = {
    "integer": "integer", "real": "number", "decimal": "number", "boolean": "boolean", "timestamp": "timestamp",
    "timestamptz": "timestamp",
}  # fmt: skip
"""The dialect's types for those of Event Files. All others are varchar."""


@dataclass(frozen=True, slots=True)
class SamHeader:
    """A header as it was read: columns with their declared types, and None or empty for what it does not state.

    `schema` is that of a file that this software wrote.
    """

    table: str
    columns: Mapping[str, str]
    not_null: frozenset[str]
    primary_keys: tuple[str, ...]
    row_count: int | None
    schema: StreamSchema | None = None
    export_time: str = field(default="", compare=False)


def parse_header(line: bytes, name: str) -> SamHeader:
    """Read a header line, tolerantly. UnreadableError names the file when it is none."""
    try:
        value: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise UnreadableError(
            f"the first line of the file {name} is no header, since it is not JSON: {error}"
        ) from None
    if not isinstance(value, dict) or not _is_header(value):
        raise UnreadableError(
            f"the first line of the file {name} is no header: it has neither `metadata` nor `columns`: {shorten(value)}"
        )
    columns = [_column(one) for one in value["columns"]] if isinstance(value.get("columns"), list) else []
    keys = value.get("primaryKeys")
    count = value.get("rowCount")
    return SamHeader(
        table=value["table"] if isinstance(value.get("table"), str) else "",
        columns={name: type_ for name, type_, _ in columns if name},
        not_null=frozenset(name for name, _, nullable in columns if not nullable),
        primary_keys=tuple(key for key in keys if isinstance(key, str)) if isinstance(keys, list) else (),
        row_count=count if type(count) is int else None,
        schema=_schema(value.get(_MEMBER), name),
        export_time=str(value.get("exportTime", "")),
    )


def encode_header(header: Header, options: Mapping[str, str]) -> bytes:
    """Return the header line of a file, with its line feed. `options` names the columns `deleted` and `sequence`."""
    schema = header.schema
    columns: list[dict[str, object]] = [
        {
            "name": it.name,
            "type": _TYPES.get(it.type, "varchar"),
            "size": it.size,
            "nullable": it.nullable and it.name not in schema.primary_keys,
        }
        for it in schema.columns
    ]
    for option, type_ in (("deleted", "boolean"), ("sequence", "integer")):
        if options[option]:
            columns.append({"name": options[option], "type": type_, "size": -1, "nullable": False})
    line = {
        "table": schema.stream,
        "columns": columns,
        "primaryKeys": list(schema.primary_keys),
        "rowCount": header.row_count,
        "exportTime": header.export_time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "metadata": True,
        _MEMBER: schema_to_json(schema),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _is_header(value: Mapping[str, object]) -> bool:
    return value.get("metadata") is True or value.get("TYPE") == "METADATA" or isinstance(value.get("columns"), list)


def _column(value: object) -> tuple[str, str, bool]:
    """Return name, type and whether it may be null; an empty name for what is no column."""
    if isinstance(value, str):
        return value, "", True
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return "", "", True
    return value["name"], str(value.get("type") or ""), value.get("nullable") is not False


def _schema(value: object, name: str) -> StreamSchema | None:
    if not isinstance(value, dict):
        return None
    try:
        return decode_schema(orjson.dumps(value), f"the header of the file {name}")
    except DamagedError as error:
        raise UnreadableError(str(error)) from error
