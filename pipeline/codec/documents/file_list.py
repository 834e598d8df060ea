"""File Lists: JSON lines that name all Event Files of one label, in the order they are to be applied."""

from __future__ import annotations

from io import BytesIO

import orjson

from pipeline.codec.documents.flow import (
    PARSE_ERRORS,
    check_version,
    get_str,
    get_strs,
    get_uint,
    invalid_document,
    key_of,
)
from pipeline.codec.values import parse_line, shorten
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import FORMAT_VERSION, Encoding, FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, StreamName

_MAX_NUMBER = 2**63 - 1
"""The largest number of a Movement or chunk: what an SQL database holds."""


def encode_file_list(flow: FlowName, label: Label, entries: list[FileEntry]) -> bytes:
    """Return a File List: a header line, then one line an Event File, in the order they are to be applied."""
    head: dict[str, object] = {"metadata": True, "formatVersion": FORMAT_VERSION}
    head |= {"flow": flow, "label": label, "files": len(entries)}
    if compactions := _compactions(entries):
        head["compactions"] = compactions
    lines = [orjson.dumps(head)]
    lines += [
        orjson.dumps(
            {
                "fileId": str(entry.id),
                "key": entry.key,
                "encoding": entry.encoding.value,
                "size": entry.size,
                "checksum": entry.checksum,
                "upserts": entry.upserts,
                "deletes": entry.deletes,
            }
        )
        for entry in entries
    ]
    return b"\n".join(lines) + b"\n"


def decode_file_list(data: bytes, what: str) -> list[FileEntry]:
    """Read a File List; DamagedError names `what` when it is cut short or otherwise not as it was written."""
    if not data.endswith(b"\n"):
        raise DamagedError(f"{what} is truncated: its last line has no end")
    lines = BytesIO(data)  # not split: a list of lines may be larger by far than the lines
    head = parse_line(lines.readline(), what)
    check_version(head, what)
    named = data.count(b"\n") - 1
    if head.get("files") != named:
        raise DamagedError(f"{what} announces {shorten(head.get('files'))} files and names {named}")
    try:
        label, replaced = Label(get_str(head, "label")), _read_compactions(head)
        return [_read_entry(parse_line(line, f"line {at}"), label, replaced) for at, line in enumerate(lines, start=2)]
    except PARSE_ERRORS as error:
        raise invalid_document(what, error) from error


_Replaced = dict[tuple[StreamName, int], tuple[EventFileId, ...]]
"""What the compaction of a stream, known by the number of its Movement, replaces."""


def _compactions(entries: list[FileEntry]) -> list[dict[str, object]]:
    """Return the head's member: once for each compaction, not once for each of its files."""
    replaced: _Replaced = {(entry.id.stream, entry.id.movement): entry.replaces for entry in entries if entry.replaces}
    return [
        {"table": stream, "movement": movement, "replaces": [str(file) for file in files]}
        for (stream, movement), files in replaced.items()
    ]


def _read_compactions(head: dict[str, object]) -> _Replaced:
    replaced: _Replaced = {}
    found = head.get("compactions", [])
    if not isinstance(found, list):
        raise TypeError("compactions is not an array")
    for one in found:
        files = tuple(_file_id(file) for file in get_strs(one, "replaces"))
        replaced[StreamName(get_str(one, "table")), get_uint(one, "movement")] = files
    return replaced


def _file_id(text: str) -> EventFileId:
    """Return the id that is written `text` and no other way, and whose parts every place can hold."""
    file = EventFileId.parse(text)
    file.stream.encode()  # a text that is no Unicode comes to an end in some log or document
    if str(file) != text or max(file.movement, file.chunk) > _MAX_NUMBER:
        raise ValueError(f"not an Event File id as it is written: {shorten(text)}")
    return file


def _read_entry(document: dict[str, object], label: Label, replaced: _Replaced) -> FileEntry:
    file = _file_id(get_str(document, "fileId"))
    return FileEntry(
        id=file,
        label=label,
        key=key_of(document, "key"),
        encoding=Encoding(get_str(document, "encoding")),
        size=get_uint(document, "size"),
        checksum=get_str(document, "checksum"),
        upserts=get_uint(document, "upserts"),
        deletes=get_uint(document, "deletes"),
        replaces=replaced.get((file.stream, file.movement), ()),
    )
