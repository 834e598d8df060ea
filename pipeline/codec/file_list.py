"""File Lists: JSON lines that name all Event Files of one label, in the order they are to be applied."""

from __future__ import annotations

import orjson

from pipeline.codec.documents import check_version, text_of, whole_of
from pipeline.codec.values import parse_line
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import FORMAT_VERSION, Encoding, FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, StreamName


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
    lines = data.split(b"\n")
    if lines[-1] != b"":
        raise DamagedError(f"{what} is truncated: its last line has no end")
    head = parse_line(lines[0], what)
    check_version(head, what)
    if head.get("files") != len(lines) - 2:
        raise DamagedError(f"{what} announces {head.get('files')!r} files and names {len(lines) - 2}")
    label = Label(str(head.get("label")))
    try:
        replaced = _read_compactions(head)
        return [_read_entry(orjson.loads(line), label, replaced) for line in lines[1:-1]]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{what} is not as its format says: {type(error).__name__}: {error}") from error


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
        files = tuple(EventFileId.parse(file) for file in one["replaces"])
        replaced[StreamName(text_of(one, "table")), whole_of(one, "movement")] = files
    return replaced


def _read_entry(document: dict[str, object], label: Label, replaced: _Replaced) -> FileEntry:
    file = EventFileId.parse(text_of(document, "fileId"))
    return FileEntry(
        id=file,
        label=label,
        key=ObjectKey(text_of(document, "key")),
        encoding=Encoding(text_of(document, "encoding")),
        size=whole_of(document, "size"),
        checksum=text_of(document, "checksum"),
        upserts=whole_of(document, "upserts"),
        deletes=whole_of(document, "deletes"),
        replaces=replaced.get((file.stream, file.movement), ()),
    )
