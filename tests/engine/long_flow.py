"""A Flow with many Movements and Event Files, stored as workers would store it, without moving anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from pipeline.domain import object_keys
from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.domain.movement import Flow, GroupCounts, Movement, Status, Totals
from pipeline.domain.outbox.transitions import group_exported, group_imported
from pipeline.domain.planning.group_counts import with_list
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import next_movement
from pipeline.ports.object_store import ObjectInfo, ObjectStore, OpenBody, PutCondition, StoredObject, Version
from pipeline.testing.simulated.clock import ManualClock

FLOW = FlowName("long")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
STREAMS = tuple(StreamName(f"table {number}") for number in range(10))


@dataclass
class CountingStore:
    """Counts the requests of one process, by method."""

    inner: ObjectStore
    requests: Counter[str] = field(default_factory=Counter)

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        self.requests["put"] += 1
        return await self.inner.put(key, body, condition)

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        self.requests["get"] += 1
        return await self.inner.get(key, max_bytes=max_bytes)

    def open_stream(self, key: ObjectKey, *, start: int = 0) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
        self.requests["get"] += 1
        return self.inner.open_stream(key, start=start)

    async def stat(self, key: ObjectKey) -> ObjectInfo | None:
        self.requests["head"] += 1
        return await self.inner.stat(key)

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        self.requests["list"] += 1
        return await self.inner.list_page(prefix, after=after, limit=limit)

    async def list_folders(self, prefix: str) -> Sequence[str]:
        self.requests["list"] += 1
        return await self.inner.list_folders(prefix)

    async def delete(self, key: ObjectKey) -> None:
        self.requests["delete"] += 1
        await self.inner.delete(key)


async def build(store: ObjectStore, movements: int, files: int, source: str, destination: str) -> FlowStore:
    """Store a Flow with this number of Movements, and of Event Files in all: each stream has an equal part of them.

    A Movement has the latest File Lists with what it and those before it may have stored, so that early ones have few files.
    """
    clock = ManualClock(BEGAN)
    flows = FlowStore(store, clock)
    flow = await flows.add(Flow(FLOW, source, destination, clock.now()))
    entries = {stream: _entries(stream, movements, files // len(STREAMS)) for stream in STREAMS}
    stored = {Label(stream): await _store_lists(flows, stream, entries[stream]) for stream in STREAMS}
    for number in range(1, movements + 1):
        clock.moment += timedelta(hours=1)
        latest = await flows.read_movement(FLOW, number - 1) if number > 1 else None
        so_far = files // len(STREAMS) * number // movements
        found = {
            label: max(one for one in lists.items() if one[0] <= max(so_far, min(lists)))
            for label, lists in stored.items()
        }
        lists = {label: key for label, (_, key) in found.items()}
        counts = {
            label: GroupCounts(listed, listed, 10 * listed, 1000 * listed) for label, (listed, _) in found.items()
        }
        begun = replace(next_movement(flows, flow, latest), attempts=1, exported=True, file_lists=lists, counts=counts)
        await flows.create(begun, latest)
        label = Label(STREAMS[number % len(STREAMS)])
        key = object_keys.file_list_key(FLOW, number, label, 1)
        exported = group_exported(begun, label, key, entries[STREAMS[0]][:1], clock.now())
        await flows.outbox.put([*exported, *group_imported(begun, label, [number], clock.now())])
        clock.moment += timedelta(minutes=1)
        totals = Totals(files_exported=100, files_imported=100, upserts=1000, seconds=60.0)
        settled = await flows.update(
            FLOW,
            number,
            lambda now, totals=totals: replace(now.to(Status.SUCCESS, clock.now()), totals=totals),  # type: ignore[misc]
        )
        await flows.store_history(settled)
    return flows


async def begin_next(flows: FlowStore, new: int) -> Movement:
    """Begin a Movement, of which workers have exported this number of Event Files to each group; return it."""
    flow = await flows.read_flow(FLOW)
    latest = await flows.read_movement(FLOW, flow.movements)
    movement = replace(next_movement(flows, flow, latest), attempts=1)
    await flows.create(movement, latest)
    for label, before in latest.file_lists.items():
        entries = list(await flows.read_file_list(before))
        for chunk in range(new):
            file = EventFileId(movement.number, StreamName(label), Phase.INCREMENTAL, chunk)
            entries.append(replace(entries[-1], id=file, key=object_keys.event_file_key(FLOW, file)))
        key = object_keys.growing_list_key(FLOW, movement.number, label, 1, len(entries))
        await flows.file_lists.store(key, FLOW, label, entries, before)
        movement = with_list(movement, label, key, entries)
    return await flows.update(FLOW, movement.number, lambda _: movement)


def _entries(stream: StreamName, movements: int, files: int) -> Sequence[FileEntry]:
    """Return the entries of a stream: in the first Movement a snapshot of one file, then incremental files."""
    found = []
    for at in range(files):
        phase = Phase.INCREMENTAL if at else Phase.FULL
        file = EventFileId(1 + at * movements // files, stream, phase, at)
        key = object_keys.event_file_key(FLOW, file)
        found.append(FileEntry(file, Label(stream), key, Encoding.ZSTD, 1000, f"{at:064x}", 10, 0))
    return found


async def _store_lists(flows: FlowStore, stream: StreamName, entries: Sequence[FileEntry]) -> dict[int, ObjectKey]:
    """Store the File Lists of a stream as they grow in the course of time; return them by how many files they name.

    The early ones have a tenth of the next one. Of the others, each has two thirds of what the one before lacks: then the
    last one has as many parts as it may.
    """
    stages = [len(entries) // 10**power for power in range(4, 0, -1)]
    while stages[-1] < len(entries):
        stages.append(stages[-1] + -(-(len(entries) - stages[-1]) * 2 // 3))
    before, found = None, dict[int, ObjectKey]()
    for listed in stages:
        if listed:
            key = object_keys.growing_list_key(FLOW, 1, Label(stream), 1, listed)
            await flows.file_lists.store(key, FLOW, Label(stream), entries[:listed], before)
            before = found[listed] = key
    return found
