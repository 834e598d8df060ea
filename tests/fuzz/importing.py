"""Altered File Lists and Event Files in a store, imported by the engine into a real place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio
from blake3 import blake3

from pipeline.codec.documents.failures import Failure
from pipeline.codec.documents.file_list import encode_file_list
from pipeline.codec.documents.message import GroupCompleted
from pipeline.domain import object_keys
from pipeline.domain.errors import PipelineError
from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, Label, ObjectKey
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.movements.context import EngineContext, Limits
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.ports.destination import Destination, Mark
from pipeline.ports.object_store import PutCondition
from pipeline.ports.reporter import Event
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.fuzz.holding import check_message, in_time
from tests.fuzz.samples import FLOW, LABEL, LIST_KEY, MOMENT


@dataclass(frozen=True)
class Stored:
    """A stored Event File: its bytes and its entry."""

    entry: FileEntry
    data: bytes

    @classmethod
    def honest(cls, file: EventFileId, encoding: str, data: bytes, *, label: Label = LABEL) -> Stored:
        """Return one whose entry has the right size and checksum, as an attacker could write it."""
        key = ObjectKey(f"flows/crm/events/{file}.jsonl.zst")
        checksum = blake3(data).hexdigest()
        return cls(FileEntry(file, label, key, Encoding(encoding), len(data), checksum, 1, 0), data)


@dataclass
class Outcome:
    """The outcome of an import: the marked files, the failed files, and the error that ended it."""

    marks: Mapping[EventFileId, Mark] = field(default_factory=dict)
    failed: Mapping[EventFileId, str] = field(default_factory=dict)
    failures: Sequence[Failure] = ()
    error: PipelineError | None = None


class _Nowhere:
    def report(self, event: Event) -> None:
        """Ignore the event."""


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


async def _import(
    destination: Destination, files: Sequence[Stored], binaries: Sequence[bytes], file_list: bytes | None
) -> Outcome:
    store, clock = MemoryObjectStore(), _Clock()
    for stored in files:
        await store.put(stored.entry.key, stored.data, PutCondition.NONE)
    for content in binaries:
        key = object_keys.binary_key(FLOW, BinaryId(blake3(content).hexdigest()))
        await store.put(key, content, PutCondition.NONE)
    if file_list is None:
        file_list = encode_file_list(FLOW, LABEL, [stored.entry for stored in files])
    await store.put(LIST_KEY, file_list, PutCondition.NONE)
    flows = FlowStore(store, clock)
    parts = EngineContext(store, MemoryEventQueue(visibility_seconds=30.0), clock, _Nowhere(), flows, Limits())
    movement = Movement(FLOW, 1, MOMENT, MOMENT)
    await flows.add(Flow(FlowName(FLOW), "app:source", "app:destination", MOMENT))
    await flows.create(movement, None)
    outcome = Outcome()
    try:
        with unwrap_exception_group():
            async with destination.open(FlowName(FLOW)) as session:
                importing = MovementImport(parts, movement, session)
                await importing.refresh()
                try:
                    await importing.import_group(GroupCompleted(FLOW, 1, LABEL, LIST_KEY))
                    await session.retry_rejected()
                    await session.finish(sorted({stored.entry.id.stream for stored in files}))
                finally:
                    outcome.marks = dict(await session.marks())
                    outcome.failed = dict(importing.failed)
    except PipelineError as error:
        outcome.error = error
    outcome.failures = await flows.read_failures(FLOW, 1)
    return outcome


def import_altered(
    open_destination: Callable[[], Destination],
    files: Sequence[Stored],
    *,
    binaries: Sequence[bytes] = (),
    file_list: bytes | None = None,
) -> Outcome:
    """Import twice; check both outcomes, and return the first one."""
    with in_time():
        outcome = anyio.run(_import, open_destination(), files, binaries, file_list)
        again = anyio.run(_import, open_destination(), files, binaries, file_list)
    assert again.marks == outcome.marks or set(again.marks) >= set(outcome.marks)
    assert not set(outcome.marks) & set(outcome.failed)
    if outcome.error is not None:
        check_message(outcome.error)
    for reason in outcome.failed.values():
        check_message(PipelineError(reason))
    for failure in outcome.failures:
        assert failure.reason
    return outcome
