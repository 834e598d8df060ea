"""The JSON documents of the bucket that are changed by compare-and-set: flow.json and movement.json.

Each is one JSON object with a `formatVersion`. A version this release does not know is refused by name: a newer release
wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TypeVar

import orjson

from pipeline.codec.values import parse_line
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import FORMAT_VERSION
from pipeline.domain.ids import FlowName, Label, ObjectKey, StreamName
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


def text_of(document: Mapping[str, object], name: str) -> str:
    """Return a member that must be text; KeyError or TypeError otherwise."""
    value = document[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, not text")
    return value


def whole_of(document: Mapping[str, object], name: str) -> int:
    """Return a member that must be a whole number from 0 on; KeyError or TypeError otherwise."""
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
            "shares": flow.shares,
            "pruning": flow.pruning,
        },
        option=orjson.OPT_INDENT_2,
    )


def decode_flow(data: bytes, what: str) -> Flow:
    """Read flow.json."""
    return reading(
        what,
        lambda document: Flow(
            name=FlowName(text_of(document, "name")),
            source=text_of(document, "source"),
            destination=text_of(document, "destination"),
            created=datetime.fromisoformat(text_of(document, "created")),
            movements=whole_of(document, "movements"),
            shares=None if document.get("shares") is None else FlowName(text_of(document, "shares")),
            pruning=None if document.get("pruning") is None else text_of(document, "pruning"),
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
            "groups": movement.groups,
            "exporter": movement.exporter,
            "totals": asdict(movement.totals),
            "problems": movement.problems,
            "shares": movement.shares,
            "compaction": movement.compaction,
        },
        option=orjson.OPT_INDENT_2,
    )


def _read_movement(document: dict[str, object]) -> Movement:
    totals = document["totals"]
    if not isinstance(totals, dict):
        raise TypeError("totals is not an object")
    return Movement(
        flow=FlowName(text_of(document, "flow")),
        number=whole_of(document, "number"),
        status=Status(text_of(document, "status")),
        created=datetime.fromisoformat(text_of(document, "created")),
        updated=datetime.fromisoformat(text_of(document, "updated")),
        attempts=whole_of(document, "attempts"),
        only=_texts(document, "only"),
        exclude=_texts(document, "exclude"),
        file_lists={Label(label): ObjectKey(key) for label, key in _mapping(document, "fileLists").items()},
        states={StreamName(stream): ObjectKey(key) for stream, key in _mapping(document, "states").items()},
        exported=document["exported"] is True,
        groups=tuple(Label(label) for label in _texts(document, "groups")) if "groups" in document else (),
        exporter=text_of(document, "exporter") if "exporter" in document else "",
        totals=Totals(**totals),
        problems=_texts(document, "problems"),
        shares=None if document.get("shares") is None else FlowName(text_of(document, "shares")),
        compaction=document.get("compaction") is True,
    )


def decode_movement(data: bytes, what: str) -> Movement:
    """Read movement.json."""
    return reading(what, _read_movement, data)
