"""Queue messages: a Movement is to be exported, a File Group is complete or has grown, a Movement may be settled."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import orjson
from msgspec import UNSET, Struct, UnsetType

from pipeline.codec.wire import Count, check_version, parsing, to_document
from pipeline.domain.ids import FlowName, Label, ObjectKey, parse_object_key
from pipeline.domain.planning.import_plan import WHOLE, Shard


class _Message(Struct, frozen=True, rename="camel", tag_field="eventType"):
    flow: FlowName
    movement: Count


class MovementStarted(_Message, frozen=True, tag="movement-started"):
    """For exporters: there is a Movement to export."""


class MovementExported(_Message, frozen=True, tag="movement-exported"):
    """For importers: no more groups follow; an importer that finds all files imported may settle the Movement."""


@dataclass(frozen=True, slots=True)
class GroupCompleted:
    """For importers: a File Group is complete, and its File List is stored at `key`. Import this shard of it.

    With `grown_from` the group is not complete yet: the files that the list names from that position on are stored and
    can be imported already. `traceparent` is the span of the export, as W3C Trace Context writes it, if it is traced.
    """

    flow: FlowName
    movement: int
    label: Label
    key: ObjectKey
    shard: Shard = WHOLE
    grown_from: int | None = None
    traceparent: str = field(default="", compare=False)


QueueMessage = MovementStarted | GroupCompleted | MovementExported


class _Share(Struct, frozen=True):
    index: Count
    of: Count


class _Listed(_Message, frozen=True):
    label: Label
    key: ObjectKey

    def __post_init__(self) -> None:
        parse_object_key(self.key)


class _Uploaded(_Listed, frozen=True, tag="event-file-list-uploaded"):
    """The public platform's event of this name (SAM documentation, "eventType")."""

    share: _Share | UnsetType = UNSET
    traceparent: str | UnsetType = UNSET


class _Grown(_Listed, frozen=True, tag="event-file-list-grown"):
    """Not an event of the public platform: a consumer that does not know it loses only time."""

    grown_from: Count
    traceparent: str | UnsetType = UNSET


_WireMessage = MovementStarted | MovementExported | _Uploaded | _Grown
_DECODER = msgspec.json.Decoder(_WireMessage)


def encode_message(message: QueueMessage) -> bytes:
    """Return the body of a message."""
    return orjson.dumps(to_document(_to_wire(message)))


def _to_wire(message: QueueMessage) -> _WireMessage:
    if not isinstance(message, GroupCompleted):
        return message
    place = (message.flow, message.movement, message.label, message.key)
    trace = message.traceparent or UNSET
    if message.grown_from is not None:
        return _Grown(*place, message.grown_from, trace)
    return _Uploaded(*place, UNSET if message.shard == WHOLE else _Share(message.shard.index, message.shard.of), trace)


def decode_message(body: bytes) -> QueueMessage:
    """Read the body of a message. DamagedError when it is not ours, or has another format version."""
    check_version(body, "the message")
    with parsing("the message"):
        found: _WireMessage = _DECODER.decode(body)
    match found:
        case _Uploaded(flow, movement, label, key, share, trace):
            shard = WHOLE if isinstance(share, UnsetType) else Shard(share.index, share.of)
            return GroupCompleted(flow, movement, label, key, shard, traceparent=trace or "")
        case _Grown(flow, movement, label, key, grown_from, trace):
            return GroupCompleted(flow, movement, label, key, grown_from=grown_from, traceparent=trace or "")
    return found
