"""The message that announces a complete File Group."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from pipeline.codec.documents import reading, text_of, whole_of
from pipeline.domain.event_file import FORMAT_VERSION
from pipeline.domain.ids import FlowName, Label, ObjectKey


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
            flow=FlowName(text_of(document, "flow")),
            movement=whole_of(document, "movement"),
            label=Label(text_of(document, "label")),
            key=ObjectKey(text_of(document, "key")),
        )

    return reading("the message", read, body)
