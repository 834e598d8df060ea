"""Retention: what of a Flow's stored objects nobody can need any more, and why.

Needed is what the latest Movement names, and the latest whose export has ended: their File Lists, the Event Files in
those, the Binary Files that these refer to, and the states of streams. From it any destination, old, new or half-way, gets
all there is, and the next Movement knows what to compare with. A key of any other kind is never touched.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from enum import Enum

from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.object_keys import flow_prefix, is_pack


class Reason(Enum):
    """Why an object is needed no more; the value is told to people."""

    FILE_LIST = "File Lists that later ones have replaced"
    EVENT_FILE = "Event Files that no File List names: compacted since, or left behind by an attempt"
    STATE = "snapshot states that later ones have replaced"
    STATE_PART = "parts of snapshot states, which are in the whole by now"
    BINARY_FILE = "Binary Files that no listed Event File refers to"
    REPORT = "progress and failures of Movements that settled long ago"


@dataclass(frozen=True, slots=True)
class Needed:
    """What must stay. `latest` is the latest Movement: whatever has a higher number is somebody's work in progress.

    `keys` also holds the packs with anything needed in them, `binaries` digests as bytes, `reports` the Movements whose
    progress and failures are kept. `parts` says that parts of states are needed: those of an export that was not ended
    are in no whole yet.
    """

    flow: FlowName
    latest: int
    keys: Container[ObjectKey]
    binaries: Container[bytes]
    reports: Container[int]
    parts: bool = False


def reason_to_delete(key: ObjectKey, needed: Needed) -> Reason | None:
    """Return why nobody needs the object any more, or None when it stays."""
    prefix = flow_prefix(needed.flow)
    if not key.startswith(prefix) or key in needed.keys:
        return None
    match key.removeprefix(prefix).split("/"):
        case ["movements", number, "groups", _, name] if name.startswith("files."):
            return Reason.FILE_LIST if _is_old(number, needed) else None
        case ["movements", number, "progress" | "failures", _]:
            return Reason.REPORT if _is_old(number, needed) and int(number) not in needed.reports else None
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
    return number.isdecimal() and int(number) <= needed.latest


def _is_unused(digest: str, needed: Needed) -> bool:
    try:
        return bytes.fromhex(digest) not in needed.binaries
    except ValueError:
        return False
