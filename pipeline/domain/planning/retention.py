"""Retention: which stored objects of a Flow are not needed any more, and why.

The latest Movement and the latest whose export has ended are needed: their File Lists, the Event Files in those, the
Binary Files that these reference, and the snapshot states. They suffice for any destination, new or half-way, and for
the next export. Reports and events stay for a while. An object with any other kind of key is never deleted.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import date
from enum import Enum

from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.object_keys import DAY, flow_prefix, is_pack


class Reason(Enum):
    """Why an object is not needed; the value is shown to the user."""

    FILE_LIST = "File Lists that later ones have replaced"
    EVENT_FILE = "Event Files that no File List names: compacted, or of an attempt that did not end"
    STATE = "snapshot states that later ones have replaced"
    STATE_PART = "parts of snapshot states, which the whole states include"
    BINARY_FILE = "Binary Files that no listed Event File references"
    REPORT = "progress, failures and feedback of Movements that settled long ago"
    EVENT = "events, history and log of Movements that settled longer ago"


@dataclass(frozen=True, slots=True)
class Needed:
    """What must stay. `latest` is the latest Movement; objects of a higher one are work in progress.

    `keys` includes the packs with a needed content, `binaries` holds digests as bytes. Reports stay from the Movement
    `reports_from` on, events from `events_from` on, and those of no Movement from the day `events_since` on. `parts`: parts of
    states are needed, because an export has not ended.
    """

    flow: FlowName
    latest: int
    keys: Container[ObjectKey]
    binaries: Container[bytes]
    reports_from: int
    events_from: int
    events_since: date
    parts: bool = False


def reason_to_delete(key: ObjectKey, needed: Needed) -> Reason | None:
    """Return why the object is not needed, or None when it must stay."""
    prefix = flow_prefix(needed.flow)
    if not key.startswith(prefix) or key in needed.keys:
        return None
    match key.removeprefix(prefix).split("/"):
        case ["movements", number, "groups", _, name] if name.startswith("files."):
            return Reason.FILE_LIST if _is_old(number, needed) else None
        case ["movements", number, "progress" | "failures" | "errors" | "feedback", _]:
            return Reason.REPORT if _is_before(number, needed.reports_from) else None
        case ["outbox", part, _] if part.startswith(DAY):
            return Reason.EVENT if part < f"{DAY}{needed.events_since.isoformat()}" else None
        case ["outbox" | "log", number, _] | ["history", number]:
            return Reason.EVENT if _is_before(number.partition(".")[0], needed.events_from) else None
        case ["movements", number, "parts", _, _]:
            return Reason.STATE_PART if _is_old(number, needed) and not needed.parts else None
        case ["events", number, _, "full" | "incremental", _]:
            return Reason.EVENT_FILE if _is_old(number, needed) else None
        case ["snapshots", _, "parts", _]:
            return None if needed.parts else Reason.STATE_PART
        case ["snapshots", _, name]:
            return Reason.STATE if _is_old(name.partition(".")[0], needed) else None
        case ["binaries", "packs", _]:
            return Reason.BINARY_FILE if is_pack(needed.flow, key) else None
        case ["binaries", _, digest]:
            return Reason.BINARY_FILE if _is_unused(digest, needed) else None
        case _:
            return None


def _is_old(number: str, needed: Needed) -> bool:
    return _is_before(number, needed.latest + 1)


def _is_before(number: str, first: int) -> bool:
    return number.isdecimal() and int(number) < first


def _is_unused(digest: str, needed: Needed) -> bool:
    try:
        return bytes.fromhex(digest) not in needed.binaries
    except ValueError:
        return False
