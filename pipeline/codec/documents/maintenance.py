"""What the maintenance of a Flow has done, and who is at it: the document `maintenance.json`."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from pipeline.codec.wire import Count, Time, decode_document, to_document


@dataclass(frozen=True, slots=True)
class MaintenanceState:
    """The maintenance of a Flow so far.

    `worker` is at it `since` then; empty: nobody is. It was looked at last after Movement `movement`; `compacted` is the
    latest Movement that was a compaction by itself; `unpruned`: a compaction was begun, and what it may have replaced is not
    pruned yet. `pruned` is the latest one at the last pruning, at the time `at`, when
    `objects` of `stored_bytes` were deleted. `waits` says why something that is due is not done yet, `left` why a stream
    cannot be compacted.
    """

    worker: str = ""
    since: Time | None = None
    movement: Count = 0
    compacted: Count = 0
    unpruned: bool = False
    pruned: Count = 0
    at: Time | None = None
    objects: Count = 0
    stored_bytes: Count = 0
    waits: str = ""
    left: dict[str, str] = field(default_factory=dict)


def encode_maintenance(state: MaintenanceState) -> bytes:
    """Return the document."""
    return orjson.dumps(to_document(state), option=orjson.OPT_INDENT_2)


def decode_maintenance(data: bytes, what: str) -> MaintenanceState:
    """Read the document. DamagedError names `what`."""
    return decode_document(data, MaintenanceState, what)
