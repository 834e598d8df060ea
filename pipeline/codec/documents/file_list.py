"""File Lists: JSON lines that name all Event Files of one label, in the order in which they apply.

A list names its first Event Files by naming earlier lists, so that it grows with what is new and not with all before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import msgspec
import orjson
from msgspec import Struct, field

from pipeline.codec.values import shorten
from pipeline.codec.wire import PARSE_ERRORS, Count, check_version, damaged, damaged_as, parsing, to_document
from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, StreamName, parse_object_key


class _Compaction(Struct):
    """A stream that the Movement `movement` compacted, and the Event Files that its files replace."""

    table: StreamName
    movement: Count
    replaces: list[str]


class _Part(Struct):
    key: str
    files: Count


class _Head(Struct):
    label: Label
    files: Any = None
    parts: list[_Part] = field(default_factory=list)
    compactions: list[_Compaction] = field(default_factory=list)
    traceparent: str = ""


class _Entry(Struct, rename="camel"):
    file_id: str
    key: str
    encoding: Encoding
    size: Count
    checksum: str
    upserts: Count
    deletes: Count


@dataclass(frozen=True, slots=True)
class ListPart:
    """An earlier File List, whose own lines, `files` in number, are a part of another list."""

    key: ObjectKey
    files: int


@dataclass(frozen=True, slots=True)
class FileListDocument:
    """A File List as it is stored: the own lines of `parts`, in this order, then its own `entries`.

    `traceparent` is the span of the export that stored it, if it was traced.
    """

    label: Label
    parts: Sequence[ListPart]
    entries: Sequence[FileEntry]
    traceparent: str = ""


_Replaced = dict[tuple[StreamName, int], tuple[EventFileId, ...]]


def encode_file_list(
    flow: FlowName, label: Label, entries: Sequence[FileEntry], parts: Sequence[ListPart] = (), traceparent: str = ""
) -> bytes:
    """Return a File List: a head line, then one line for each Event File that no part names, as they apply."""
    files = len(entries) + sum(part.files for part in parts)
    head: dict[str, object] = {"metadata": True} | to_document({"flow": flow, "label": label, "files": files})
    if parts:
        head["parts"] = [{"key": part.key, "files": part.files} for part in parts]
    if traceparent:
        head["traceparent"] = traceparent
    replaced: _Replaced = {(entry.id.stream, entry.id.movement): entry.replaces for entry in entries if entry.replaces}
    if replaced:  # in the head once for each compaction, not once for each of its files
        compactions = [_Compaction(*compacted, list(map(str, files))) for compacted, files in replaced.items()]
        head["compactions"] = msgspec.to_builtins(compactions)
    lines = [orjson.dumps(head), *map(msgspec.json.encode, map(_to_wire, entries))]
    return b"\n".join([*lines, b""])


def _to_wire(entry: FileEntry) -> _Entry:
    return _Entry(
        str(entry.id), entry.key, entry.encoding, entry.size, entry.checksum, entry.upserts, entry.deletes
    )  # fmt: skip


def decode_file_list(data: bytes, what: str) -> FileListDocument:
    """Read a File List. DamagedError names `what`, and the line, when it is cut short or altered."""
    if not data.endswith(b"\n"):
        raise damaged_as(what, "is truncated: its last line has no end")
    lines = BytesIO(data)  # not split: a list of lines would take far more memory than the data
    line = lines.readline()
    check_version(line, what)
    with parsing(what):
        head = msgspec.json.decode(line, type=_Head)
        replaced = {(one.table, one.movement): tuple(map(EventFileId.parse, one.replaces)) for one in head.compactions}
        parts = [ListPart(parse_object_key(part.key), part.files) for part in head.parts]
    named = data.count(b"\n") - 1 + sum(part.files for part in parts)
    if head.files != named:
        raise damaged_as(what, f"announces {shorten(head.files)} files and names {named}")
    return FileListDocument(head.label, parts, list(_read_entries(lines, head.label, replaced, what)), head.traceparent)


def _read_entries(lines: BytesIO, label: Label, replaced: _Replaced, what: str) -> Iterator[FileEntry]:
    decoder = msgspec.json.Decoder(_Entry)
    for number, line in enumerate(lines, start=2):
        try:
            entry = decoder.decode(line)
            file, key = EventFileId.parse(entry.file_id), parse_object_key(entry.key)
        except PARSE_ERRORS as error:
            raise damaged(f"{what}, line {number}", error) from error
        replaces = replaced.get((file.stream, file.movement), ())
        yield FileEntry(
            file, label, key, entry.encoding, entry.size, entry.checksum, entry.upserts, entry.deletes, replaces
        )  # fmt: skip
