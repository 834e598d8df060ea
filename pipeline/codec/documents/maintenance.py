"""What the maintenance of a Flow has done, and which process is doing it: the document `maintenance.json`."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from pipeline.codec.wire import Count, Time, decode_document, to_document


@dataclass(frozen=True, slots=True)
class MaintenanceState:
    """The automatic maintenance of a Flow so far.

    `worker` maintains it, `since` this time; empty if none does. `movement` was the latest one at the last look.
    `compacted` is the latest Movement that was an automatic compaction. `unpruned`: the objects that it replaced are not
    deleted yet. `pruned` was the latest Movement at the last pruning, which ended `at` and deleted `objects` of
    `stored_bytes`. `waits` says why something that is due is not done yet; `left` says it for each stream that cannot
    be compacted.
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
