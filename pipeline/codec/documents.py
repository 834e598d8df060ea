"""The JSON documents of the bucket: flow.json, movement.json, failures, messages, and the entries of File Lists.

Each is one JSON object with a `formatVersion`. A version this release does not know is refused by name: a newer release
wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TypeVar

import orjson

from pipeline.codec.values import parse_line
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import FORMAT_VERSION, Encoding, FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, StreamName
from pipeline.domain.movement import Flow, Movement, Status, Totals

T = TypeVar("T")


def check_version(document: Mapping[str, object], what: str) -> None:
    """DamagedError when `what` has another format version than ours."""
    version = document.get("formatVersion")
    if version != FORMAT_VERSION:
        raise DamagedError(
            f"{what} has format version {version!r}; this release reads version {FORMAT_VERSION}. Use a newer release."
        )


def reading(what: str, read: Callable[[dict[str, object]], T], data: bytes) -> T:
    """Parse `data` as a versioned document and read it; whatever is missing or of a wrong type is DamagedError."""
    document = parse_line(data, what)
    check_version(document, what)
    try:
        return read(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(f"{what} is not as its format says: {type(error).__name__}: {error}") from error


def _text(document: Mapping[str, object], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, not text")
    return value


def _whole(document: Mapping[str, object], name: str) -> int:
    value = document[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{name} is {value!r}, not a whole number")
    return value


def _mapping(document: Mapping[str, object], name: str) -> dict[str, str]:
    value = document[name]
    if not isinstance(value, dict):
        raise TypeError(f"{name} is {value!r}, not an object")
    return {str(key): str(item) for key, item in value.items()}


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = document[name]
    if not isinstance(value, list):
        raise TypeError(f"{name} is {value!r}, not an array")
    return tuple(str(item) for item in value)


def encode_flow(flow: Flow) -> bytes:
    """Return flow.json."""
    return orjson.dumps(
        {
            "formatVersion": FORMAT_VERSION,
            "name": flow.name,
            "source": flow.source,
            "destination": flow.destination,
            "created": flow.created,
            "movements": flow.movements,
        },
        option=orjson.OPT_INDENT_2,
    )


def decode_flow(data: bytes, what: str) -> Flow:
    """Read flow.json."""
    return reading(
        what,
        lambda document: Flow(
            name=FlowName(_text(document, "name")),
            source=_text(document, "source"),
            destination=_text(document, "destination"),
            created=datetime.fromisoformat(_text(document, "created")),
            movements=_whole(document, "movements"),
        ),
        data,
    )


def encode_movement(movement: Movement) -> bytes:
    """Return movement.json."""
    return orjson.dumps(
        {
            "formatVersion": FORMAT_VERSION,
            "flow": movement.flow,
            "number": movement.number,
            "status": movement.status.value,
            "created": movement.created,
            "updated": movement.updated,
            "attempts": movement.attempts,
            "only": movement.only,
            "exclude": movement.exclude,
            "fileLists": dict(movement.file_lists),
            "states": dict(movement.states),
            "exported": movement.exported,
            "totals": asdict(movement.totals),
            "problems": movement.problems,
        },
        option=orjson.OPT_INDENT_2,
    )


def _read_movement(document: dict[str, object]) -> Movement:
    totals = document["totals"]
    if not isinstance(totals, dict):
        raise TypeError("totals is not an object")
    return Movement(
        flow=FlowName(_text(document, "flow")),
        number=_whole(document, "number"),
        status=Status(_text(document, "status")),
        created=datetime.fromisoformat(_text(document, "created")),
        updated=datetime.fromisoformat(_text(document, "updated")),
        attempts=_whole(document, "attempts"),
        only=_texts(document, "only"),
        exclude=_texts(document, "exclude"),
        file_lists={Label(label): ObjectKey(key) for label, key in _mapping(document, "fileLists").items()},
        states={StreamName(stream): ObjectKey(key) for stream, key in _mapping(document, "states").items()},
        exported=document["exported"] is True,
        totals=Totals(**totals),
        problems=_texts(document, "problems"),
    )


def decode_movement(data: bytes, what: str) -> Movement:
    """Read movement.json."""
    return reading(what, _read_movement, data)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record (`line`, `key`), or with both None a whole Event File, could not be applied."""

    file: EventFileId
    line: int | None
    key: str | None
    column: str | None
    reason: str


def encode_failures(failures: list[Failure]) -> bytes:
    """Return the failures of one Event File."""
    return orjson.dumps(
        {
            "formatVersion": FORMAT_VERSION,
            "failures": [
                {"file": str(f.file), "line": f.line, "key": f.key, "column": f.column, "reason": f.reason}
                for f in failures
            ],
        },
        option=orjson.OPT_INDENT_2,
    )


def _read_failures(document: dict[str, object]) -> list[Failure]:
    items = document["failures"]
    if not isinstance(items, list):
        raise TypeError("failures is not an array")
    return [
        Failure(EventFileId.parse(item["file"]), item["line"], item["key"], item["column"], item["reason"])
        for item in items
    ]


def decode_failures(data: bytes, what: str) -> list[Failure]:
    """Read the failures of one Event File."""
    return reading(what, _read_failures, data)


@dataclass(frozen=True, slots=True)
class GroupCompleted:
    """The message that rings when a File Group is complete: where its File List lies."""

    flow: FlowName
    movement: int
    label: Label
    key: ObjectKey


EVENT_FILE_LIST_UPLOADED = "event-file-list-uploaded"
"""The public platform's name of the event (SAM documentation, "eventType")."""


def encode_message(message: GroupCompleted) -> bytes:
    """Return the body of a message."""
    return orjson.dumps(
        {
            "formatVersion": FORMAT_VERSION,
            "eventType": EVENT_FILE_LIST_UPLOADED,
            "flow": message.flow,
            "movement": message.movement,
            "label": message.label,
            "key": message.key,
        }
    )


def decode_message(body: bytes) -> GroupCompleted:
    """Read the body of a message; DamagedError when it is not ours."""

    def read(document: dict[str, object]) -> GroupCompleted:
        if document["eventType"] != EVENT_FILE_LIST_UPLOADED:
            raise ValueError(f"unknown eventType {document['eventType']!r}")
        return GroupCompleted(
            flow=FlowName(_text(document, "flow")),
            movement=_whole(document, "movement"),
            label=Label(_text(document, "label")),
            key=ObjectKey(_text(document, "key")),
        )

    return reading("the message", read, body)


def encode_file_list(flow: FlowName, label: Label, entries: list[FileEntry]) -> bytes:
    """Return a File List: a header line, then one line an Event File, in the order they are to be applied."""
    head = {"metadata": True, "formatVersion": FORMAT_VERSION, "flow": flow, "label": label, "files": len(entries)}
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
        return [_read_entry(orjson.loads(line), label) for line in lines[1:-1]]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{what} is not as its format says: {type(error).__name__}: {error}") from error


def _read_entry(document: dict[str, object], label: Label) -> FileEntry:
    return FileEntry(
        id=EventFileId.parse(_text(document, "fileId")),
        label=label,
        key=ObjectKey(_text(document, "key")),
        encoding=Encoding(_text(document, "encoding")),
        size=_whole(document, "size"),
        checksum=_text(document, "checksum"),
        upserts=_whole(document, "upserts"),
        deletes=_whole(document, "deletes"),
    )
