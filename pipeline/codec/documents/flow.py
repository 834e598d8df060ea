"""The JSON documents of the bucket that are changed by compare-and-set: flow.json and movement.json.

Each is one JSON object with a `formatVersion`. A version this release does not know is refused by name: a newer release
wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TypeVar

import orjson

from pipeline.codec.values import parse_line, shorten
from pipeline.domain.errors import DamagedError
from pipeline.domain.event_file import FORMAT_VERSION
from pipeline.domain.ids import FlowName, Label, ObjectKey, StreamName
from pipeline.domain.movement import Flow, Movement, Status, Totals

T = TypeVar("T")


PARSE_ERRORS = (KeyError, TypeError, ValueError, AttributeError, OverflowError, DamagedError)
"""What reading the members of a document raises when one is missing, or is something else than it should be."""

_MAX_KEY_BYTES = 1024
_MAX_REASON_CHARACTERS = 300


def invalid_document(what: str, error: Exception) -> DamagedError:
    """Return the error that tells, in few words, what of `what` cannot be read."""
    reason = str(error) if isinstance(error, DamagedError) else f"{type(error).__name__}: {error}"
    if len(reason) > _MAX_REASON_CHARACTERS:
        reason = f"{reason[:_MAX_REASON_CHARACTERS]}…"
    return DamagedError(f"{what} is not as its format says: {reason}")


def check_version(document: Mapping[str, object], what: str) -> None:
    """DamagedError when `what` has another format version than ours."""
    version = document.get("formatVersion")
    if version != FORMAT_VERSION:
        raise DamagedError(
            f"{what} has format version {shorten(version)}; this release reads version {FORMAT_VERSION}. Use a newer release."
        )


def reading(what: str, read: Callable[[dict[str, object]], T], data: bytes) -> T:
    """Parse `data` as a versioned document and read it; whatever is missing or of a wrong type is DamagedError."""
    document = parse_line(data, what)
    check_version(document, what)
    try:
        return read(document)
    except PARSE_ERRORS as error:
        raise invalid_document(what, error) from error


def get_str(document: Mapping[str, object], name: str) -> str:
    """Return a member that must be text; KeyError or TypeError otherwise."""
    value = document[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {shorten(value)}, not text")
    return value


def get_uint(document: Mapping[str, object], name: str) -> int:
    """Return a member that must be a whole number from 0 on; KeyError or TypeError otherwise."""
    value = document[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{name} is {shorten(value)}, not a whole number")
    return value


def get_datetime(document: Mapping[str, object], name: str) -> datetime:
    """Return a member that must be a time with its zone, as UTC; an exception of `PARSE_ERRORS` otherwise."""
    moment = datetime.fromisoformat(get_str(document, name))
    if moment.tzinfo is None:
        raise ValueError(f"{name} is a time without a zone")
    return moment.astimezone(UTC)


def key_of(document: Mapping[str, object], name: str) -> ObjectKey:
    """Return a member that must be the key of an object that a store can hold; TypeError or ValueError otherwise."""
    key = get_str(document, name)
    segments = key.split("/")
    if "\0" in key or not {"", ".", ".."}.isdisjoint(segments) or len(key.encode()) > _MAX_KEY_BYTES:
        raise ValueError(f"{name} is {shorten(key)}, which is no object's key")
    return ObjectKey(key)


def _keys(document: Mapping[str, object], name: str) -> dict[str, ObjectKey]:
    value = document[name]
    if not isinstance(value, dict):
        raise TypeError(f"{name} is {shorten(value)}, not an object")
    return {label: key_of(value, label) for label in value}


def get_strs(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    """Return a member that must be an array of texts; KeyError or TypeError otherwise."""
    value = document[name]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{name} is {shorten(value)}, not an array of texts")
    return tuple(value)


def _optional_text(document: Mapping[str, object], name: str) -> str | None:
    return None if document.get(name) is None else get_str(document, name)


def _read_share(document: Mapping[str, object]) -> FlowName | None:
    origin = _optional_text(document, "shares")
    return None if origin is None else FlowName(origin)


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
            "shares": flow.origin,
            "pruning": flow.pruning,
        },
        option=orjson.OPT_INDENT_2,
    )


def decode_flow(data: bytes, what: str) -> Flow:
    """Read flow.json."""
    return reading(
        what,
        lambda document: Flow(
            name=FlowName(get_str(document, "name")),
            source=get_str(document, "source"),
            destination=get_str(document, "destination"),
            created=get_datetime(document, "created"),
            movements=get_uint(document, "movements"),
            origin=_read_share(document),
            pruning=_optional_text(document, "pruning"),
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
            "unfinished": dict(movement.unfinished),
            "exported": movement.exported,
            "groups": movement.groups,
            "exporter": movement.exporter,
            "totals": _totals_to_json(movement.totals),
            "problems": movement.problems,
            "shares": movement.origin,
            "sharesMovement": movement.origin_movement,
            "compaction": movement.compaction,
        },
        option=orjson.OPT_INDENT_2,
    )


def _totals_to_json(totals: Totals) -> dict[str, object]:
    return {"quarantined" if name == "rejected" else name: count for name, count in asdict(totals).items()}


def _read_totals(totals: object) -> Totals:
    if not isinstance(totals, dict):
        raise TypeError("totals is not an object")
    seconds = totals.get("seconds", 0.0)
    if not isinstance(seconds, int | float):
        raise TypeError(f"seconds is {shorten(seconds)}, not a number")
    counts = {
        "rejected" if name == "quarantined" else name: get_uint(totals, name) for name in totals if name != "seconds"
    }
    return Totals(**counts, seconds=seconds)


def _read_unfinished(document: Mapping[str, object]) -> dict[StreamName, int]:
    value = document.get("unfinished", {})
    if not isinstance(value, dict):
        raise TypeError(f"unfinished is {shorten(value)}, not an object")
    return {StreamName(stream): get_uint(value, stream) for stream in value}


def _read_movement(document: dict[str, object]) -> Movement:
    return Movement(
        flow=FlowName(get_str(document, "flow")),
        number=get_uint(document, "number"),
        status=Status(get_str(document, "status")),
        created=get_datetime(document, "created"),
        updated=get_datetime(document, "updated"),
        attempts=get_uint(document, "attempts"),
        only=get_strs(document, "only"),
        exclude=get_strs(document, "exclude"),
        file_lists={Label(label): key for label, key in _keys(document, "fileLists").items()},
        states={StreamName(stream): key for stream, key in _keys(document, "states").items()},
        exported=document["exported"] is True,
        groups=tuple(Label(label) for label in get_strs(document, "groups")) if "groups" in document else (),
        exporter=get_str(document, "exporter") if "exporter" in document else "",
        totals=_read_totals(document["totals"]),
        problems=get_strs(document, "problems"),
        origin=_read_share(document),
        origin_movement=get_uint(document, "sharesMovement") if "sharesMovement" in document else 0,
        compaction=document.get("compaction") is True,
        unfinished=_read_unfinished(document),
    )


def decode_movement(data: bytes, what: str) -> Movement:
    """Read movement.json."""
    return reading(what, _read_movement, data)
