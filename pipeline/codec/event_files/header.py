"""The first line of an Event File, and the schema that it holds: JSON to values and back."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta, Struct, field

from pipeline.codec.values import key_from_json, key_to_json, shorten
from pipeline.codec.wire import Count, Time, decode_document, parsing, to_document
from pipeline.domain.event_file import ARRAYS_VERSION, FORMAT_VERSION, Header, KeyRange
from pipeline.domain.ids import EventFileId, FlowName, Label, Phase, StreamName
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema


class _Column(Struct, rename="camel"):
    name: str
    type: str
    nullable: bool = True
    native_type: str = ""
    default: str | None = None
    size: Annotated[int, Meta(ge=-1, le=2**63 - 1)] = -1


class _Schema(Struct, rename="camel", kw_only=True):
    label: Label
    stream: StreamName = field(name="table")
    columns: list[_Column]
    primary_keys: list[str]
    native: dict[str, Any] = field(default_factory=dict)
    identities: list[str] = field(default_factory=list)
    key_basis: str = ""

    def __post_init__(self) -> None:
        names, keys = [column.name for column in self.columns], self.primary_keys
        if len(set(names)) != len(names) or len(set(keys)) != len(keys):
            raise ValueError("a column is named twice")
        if not keys or not set(keys) <= set(names):
            raise ValueError(f"primaryKeys {shorten(keys)} are not among the columns")
        orjson.dumps(self.native)  # TypeError when it is nested too deeply to be written again


class _Covers(Struct, frozen=True):
    after: list[Any] | None = None
    until: list[Any] | None = None


class _Header(_Schema):
    metadata: bool
    flow: FlowName
    movement: Count
    phase: Phase
    chunk: Count
    row_count: Count
    export_time: Time
    covers: _Covers | None = None
    state: str | None = None
    format_version: int = FORMAT_VERSION


def schema_to_json(schema: StreamSchema) -> dict[str, Any]:
    """Return the members of a header that describe its stream."""
    document: dict[str, Any] = msgspec.to_builtins(msgspec.convert(schema, _Schema, from_attributes=True))
    return document


def encode_schema(schema: StreamSchema) -> bytes:
    """Return the members of a header that describe its stream, as one JSON object."""
    return orjson.dumps(schema_to_json(schema))


def decode_schema(data: str | bytes, what: str) -> StreamSchema:
    """Read what `encode_schema` returned. DamagedError names `what`."""
    with parsing(what):
        return _to_schema(msgspec.json.decode(data, type=_Schema))


def _to_schema(document: _Schema) -> StreamSchema:
    return msgspec.convert(document, StreamSchema, from_attributes=True)


def encode_header(header: Header) -> bytes:
    """Return the header line with its line feed."""
    found = _Header(
        **msgspec.structs.asdict(msgspec.convert(header.schema, _Schema, from_attributes=True)),
        metadata=True,
        flow=header.flow,
        movement=header.id.movement,
        phase=header.id.phase,
        chunk=header.id.chunk,
        row_count=header.row_count,
        export_time=header.export_time.astimezone(UTC),
        covers=_Covers(_bound(header.covers.after), _bound(header.covers.until)),
        state=header.state,
        format_version=ARRAYS_VERSION if header.arrays else FORMAT_VERSION,
    )
    return orjson.dumps(to_document(found), option=orjson.OPT_APPEND_NEWLINE)


def _bound(key: Key | None) -> list[Any] | None:
    return None if key is None else list(key_to_json(key))


def decode_header(line: bytes, what: str) -> Header:
    """Read a header line. DamagedError names `what` and the member that is wrong."""
    found = decode_document(line, _Header, what, ARRAYS_VERSION)
    with parsing(what):
        if not found.metadata:
            raise ValueError("the first line is no header: `metadata` is not true")
        covers = found.covers or _Covers()
        return Header(
            flow=found.flow,
            id=EventFileId(found.movement, found.stream, found.phase, found.chunk),
            schema=_to_schema(found),
            row_count=found.row_count,
            export_time=found.export_time.astimezone(UTC),
            covers=KeyRange(
                after=None if covers.after is None else key_from_json(covers.after),
                until=None if covers.until is None else key_from_json(covers.until),
            ),
            state=found.state,
            arrays=found.format_version == ARRAYS_VERSION,
        )
