"""The messages that ring: a Movement is to be exported, a File Group is complete or has grown, a Movement may be settled."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from pipeline.codec.documents.flow import get_str, get_uint, key_of, reading
from pipeline.codec.values import shorten
from pipeline.domain.event_file import FORMAT_VERSION
from pipeline.domain.ids import FlowName, Label, ObjectKey
from pipeline.domain.planning.import_plan import WHOLE, Shard


@dataclass(frozen=True, slots=True)
class MovementStarted:
    """Rings for exporters: there is a Movement to export."""

    flow: FlowName
    movement: int


@dataclass(frozen=True, slots=True)
class GroupCompleted:
    """Rings for importers: a File Group is complete, its File List lies at `key`, and this is about a share of it.

    With `grown_from` it is not complete yet: what the list names from that position on, and nothing before it, is stored
    and can be imported already.
    """

    flow: FlowName
    movement: int
    label: Label
    key: ObjectKey
    shard: Shard = WHOLE
    grown_from: int | None = None


@dataclass(frozen=True, slots=True)
class MovementExported:
    """Rings for importers: there will be no more groups; who finds that all is imported may settle the Movement."""

    flow: FlowName
    movement: int


QueueMessage = MovementStarted | GroupCompleted | MovementExported

EVENT_FILE_LIST_UPLOADED = "event-file-list-uploaded"
"""The public platform's name of the event (SAM documentation, "eventType")."""
EVENT_FILE_LIST_GROWN = "event-file-list-grown"
"""Not of the public platform: whoever does not know it may pass it over, and loses nothing but time."""
MOVEMENT_STARTED = "movement-started"
MOVEMENT_EXPORTED = "movement-exported"


def encode_message(message: QueueMessage) -> bytes:
    """Return the body of a message."""
    document: dict[str, object] = {"formatVersion": FORMAT_VERSION, "eventType": _event_type(message)}
    document |= {"flow": message.flow, "movement": message.movement}
    if isinstance(message, GroupCompleted):
        document |= {"label": message.label, "key": message.key}
        if message.shard != WHOLE:
            document["share"] = {"index": message.shard.index, "of": message.shard.of}
        if message.grown_from is not None:
            document["grownFrom"] = message.grown_from
    return orjson.dumps(document)


def _event_type(message: QueueMessage) -> str:
    match message:
        case MovementStarted():
            return MOVEMENT_STARTED
        case GroupCompleted(grown_from=None):
            return EVENT_FILE_LIST_UPLOADED
        case GroupCompleted():
            return EVENT_FILE_LIST_GROWN
        case MovementExported():
            return MOVEMENT_EXPORTED


def decode_message(body: bytes) -> QueueMessage:
    """Read the body of a message; DamagedError when it is not ours, or of a version that this release does not know."""
    return reading("the message", _read, body)


def _read(document: dict[str, object]) -> QueueMessage:
    flow, movement = FlowName(get_str(document, "flow")), get_uint(document, "movement")
    match document["eventType"]:
        case "movement-started":
            return MovementStarted(flow, movement)
        case "movement-exported":
            return MovementExported(flow, movement)
        case "event-file-list-uploaded":
            label, key = Label(get_str(document, "label")), key_of(document, "key")
            return GroupCompleted(flow, movement, label, key, _read_share(document))
        case "event-file-list-grown":
            label, key = Label(get_str(document, "label")), key_of(document, "key")
            return GroupCompleted(flow, movement, label, key, grown_from=get_uint(document, "grownFrom"))
        case other:
            raise ValueError(f"unknown eventType {shorten(other)}")


def _read_share(document: dict[str, object]) -> Shard:
    shard = document.get("share")
    if shard is None:
        return WHOLE
    if not isinstance(shard, dict):
        raise TypeError("share is not an object")
    return Shard(get_uint(shard, "index"), get_uint(shard, "of"))
