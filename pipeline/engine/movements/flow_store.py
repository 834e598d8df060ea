"""The documents of Flows and Movements in the store: created once, changed by compare-and-set, read by anybody."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from shlex import quote

import anyio

from pipeline.codec.documents.failures import Failure, decode_failures, encode_failures
from pipeline.codec.documents.flow import decode_flow, decode_movement, encode_flow, encode_movement
from pipeline.codec.documents.progress import Progress, decode_progress
from pipeline.domain import object_keys
from pipeline.domain.errors import (
    TAKEN_AWAY,
    AbsentError,
    ConfigurationError,
    ConflictError,
    DamagedError,
    PipelineError,
    TransientError,
)
from pipeline.domain.event_file import FileEntry
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.flows.declaration import NOTHING_DECLARED, Declaration
from pipeline.domain.ids import EventFileId, FlowName, ObjectKey, decode_name
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.outbox.event import OutboxEvent
from pipeline.domain.outbox.transitions import due_of, last_due, started, told
from pipeline.engine.movements.file_lists import FileLists
from pipeline.engine.movements.retries import LostRaceError, compare_and_set
from pipeline.engine.movements.store_clock import StoreClock
from pipeline.engine.outbox.history import History
from pipeline.engine.outbox.outbox import Outbox
from pipeline.engine.storage.concurrently import concurrently
from pipeline.log_events import log
from pipeline.ports.clock import Clock
from pipeline.ports.object_store import ObjectInfo, ObjectStore, PutCondition, StoredObject, Version, list_pages

FLOWS_AT_ONCE = 32
MAX_SKEW_SECONDS = 60.0
"""A process whose clock differs more from that of the store has the time of creation of its Movements corrected."""


@dataclass(frozen=True, slots=True)
class WorkerSign:
    """The progress of a worker, and when the document was stored, by the clock of the store."""

    progress: Progress
    stored: datetime

    @property
    def moved(self) -> datetime:
        """When something last moved there, by the clock of the store: one clock measures how long before."""
        return self.stored - timedelta(seconds=self.progress.idle_seconds)


class FlowStore:
    """Reads and changes the documents of Flows in `store`. A change of a Movement's status becomes an event in `outbox`."""

    def __init__(self, store: ObjectStore, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.store_clock = StoreClock(store)
        self.file_lists = FileLists(store)
        self.outbox = Outbox(store)
        self._written: tuple[Movement, Version] | None = None
        self._read: dict[ObjectKey, tuple[Version, Movement]] = {}
        """The Movement that was read or written last: with an entry a table, it takes long to decode."""

    async def list_names(self) -> Sequence[FlowName]:
        """Return the names of all Flows, sorted. Costs a request for each thousand."""
        return sorted(FlowName(decode_name(folder)) for folder in await self.store.list_folders(object_keys.FLOWS))

    async def list_flows(self) -> Sequence[Flow]:
        """Return all Flows, by name."""
        return await self.read_flows(await self.list_names())

    async def read_flows(self, names: Sequence[FlowName]) -> Sequence[Flow]:
        """Return these Flows; one that was removed meanwhile is left out."""

        async def read(name: FlowName) -> Flow | None:
            with suppress(AbsentError):
                return await self.read_flow(name)
            return None

        found = await concurrently(read, names, FLOWS_AT_ONCE)
        return [flow for flow in found if flow is not None]

    async def read_flow(self, name: FlowName) -> Flow:
        """Return a Flow. AbsentError when there is none of this name."""
        return (await self._read_flow(name))[0]

    async def _read_flow(self, name: FlowName) -> tuple[Flow, Version]:
        key = object_keys.flow_key(name)
        try:
            stored = await self.store.get(key)
        except AbsentError as error:
            raise AbsentError(f"There is no Flow named {name!r} here. `pipeline status` lists the Flows.") from error
        return decode_flow(stored.data, key), stored.version

    async def read_movement(self, flow: FlowName, number: int) -> Movement:
        """Return a Movement. AbsentError when there is none of this number."""
        key = object_keys.movement_key(flow, number)
        try:
            return self._decoded(key, await self.store.get(key))
        except AbsentError as error:
            raise AbsentError(f"The Movement {key} is missing from the store. {TAKEN_AWAY}") from error

    def _decoded(self, key: ObjectKey, stored: StoredObject) -> Movement:
        version, movement = self._read.get(key, (None, None))
        if movement is None or version != stored.version:
            movement = decode_movement(stored.data, key)
            self._read = {key: (stored.version, movement)}
        return movement

    async def read_file_list(self, key: ObjectKey) -> Sequence[FileEntry]:
        """Return all entries of a File List, in the order in which they apply."""
        return await self.file_lists.read(key)

    async def read_of(self, flow: Flow, number: int) -> Movement:
        """Return a Movement that a person names. AbsentError says which is the latest when the Flow has had none such."""
        try:
            return await self.read_movement(flow.name, number)
        except AbsentError:
            if max(flow.rebuilt, 1) <= number <= flow.movements:
                raise  # it was there
            raise AbsentError(f"Flow {flow.name!r} has no Movement {number}; its latest is {flow.movements}.") from None

    async def read_progress(self, flow: FlowName, number: int) -> Sequence[Progress]:
        """Return the progress of each worker in a Movement."""
        return [sign.progress for sign in await self.read_signs(flow, number)]

    async def read_signs(self, flow: FlowName, number: int) -> Sequence[WorkerSign]:
        """Return the progress of each worker in a Movement, and when it was stored."""
        return [await self.read_sign(info) for info in await self.list_signs(flow, number)]

    async def list_signs(self, flow: FlowName, number: int, after: str = "", limit: int = 1000) -> Sequence[ObjectInfo]:
        """Return where the progress of each worker in a Movement is, by worker, behind the worker `after`."""
        prefix = object_keys.progress_prefix(flow, number)
        behind = object_keys.progress_key(flow, number, after) if after else None
        return await self.store.list_page(prefix, after=behind, limit=limit)

    async def read_sign(self, info: ObjectInfo) -> WorkerSign:
        """Return the progress of a worker that is stored there."""
        return WorkerSign(decode_progress((await self.store.get(info.key)).data, info.key), info.modified)

    async def modified(self, movement: Movement) -> datetime:
        """Return when movement.json was stored last, by the clock of the store."""
        info = await self.store.stat(object_keys.movement_key(movement.flow, movement.number))
        return movement.updated if info is None else info.modified

    async def read_failures(self, flow: FlowName, number: int, at_most: int | None = None) -> Sequence[Failure]:
        """Return all failures of a Movement, or those of the first `at_most` Event Files with failures."""
        failures: list[Failure] = []
        files = 0
        async with aclosing(self.failures_from(flow, number)) as each:
            async for found in each:
                failures += found
                files += 1
                if files == at_most:
                    break
        return failures

    async def failures_from(
        self, flow: FlowName, number: int, file: EventFileId | None = None
    ) -> AsyncGenerator[Sequence[Failure], None]:
        """Yield the failures of each Event File of a Movement, from those of `file` on. Each is read when it is asked for."""
        after: ObjectKey | None = None
        if file is not None:
            after = object_keys.failure_key(flow, number, file)
            yield await self.read_failures_of(flow, number, file)
        async for page in list_pages(self.store, object_keys.failures_prefix(flow, number), after=after):
            for info in page:
                try:
                    data = (await self.store.get(info.key)).data
                except AbsentError:  # the file has been imported since it was listed
                    continue
                yield decode_failures(data, info.key)

    async def read_failures_of(self, flow: FlowName, number: int, file: EventFileId) -> Sequence[Failure]:
        """Return the failures of one Event File in a Movement; none if there are none."""
        key = object_keys.failure_key(flow, number, file)
        try:
            return decode_failures((await self.store.get(key)).data, key)
        except (AbsentError, DamagedError):
            return []

    async def write_failures(self, flow: FlowName, number: int, file: EventFileId, failures: list[Failure]) -> None:
        """Store why an Event File, or records of it, could not be applied. Replaces the failures of earlier attempts."""
        key = object_keys.failure_key(flow, number, file)
        await self.store.put(key, encode_failures(failures), PutCondition.NONE)

    async def clear_failures(self, flow: FlowName, number: int, file: EventFileId) -> None:
        """Delete the failures of an Event File that is imported now."""
        await self.store.delete(object_keys.failure_key(flow, number, file))

    async def exists(self, name: FlowName) -> bool:
        """Return whether there is a Flow of this name."""
        return await self.store.stat(object_keys.flow_key(name)) is not None

    async def find_or_new(
        self, name: FlowName, source: str, destination: str, declared: Declaration = NOTHING_DECLARED
    ) -> Flow:
        """Return the Flow; one that is not stored, created now as `declared`, if there is none of this name."""
        try:
            return await self.read_flow(name)
        except AbsentError:
            return Flow(name, source, destination, self.clock.now(), declared=declared)

    async def connect(
        self,
        name: FlowName,
        source: str,
        destination: str,
        *,
        created: datetime | None = None,
        declared: Declaration = NOTHING_DECLARED,
    ) -> Flow:
        """Return the Flow; create it as `declared` if it does not exist. ConfigurationError when it connects other places.

        TransientError when it exists and was not created at `created`: another process has created it meanwhile.
        """
        flow = await self.add(Flow(name, source, destination, created or self.clock.now(), declared=declared))
        if created is not None and flow.created != created:
            raise TransientError(f"Flow {name!r} has just been created by another process. Run the command again.")
        if flow.origin is not None:
            raise ConfigurationError(
                f"Flow {name!r} exports nothing of its own: it imports what Flow {flow.origin!r} has stored. "
                f"Move that one, or bring this one up to date with `pipeline flow import {quote(name)}`."
            )
        if (flow.source, flow.destination) != (source, destination):
            raise ConfigurationError(
                f"Flow {name!r} connects {flow.source} to {flow.destination}, not {source} to {destination}. "
                "Give this connection a name of its own with --flow."
            )
        return flow

    async def add(self, flow: Flow) -> Flow:
        """Store a new Flow and return it; if one of this name exists, return that one."""
        if flow.origin is None and flow.derived is None:
            flow = replace(flow, derived=())
        try:
            await self.store.put(object_keys.flow_key(flow.name), encode_flow(flow), PutCondition.ABSENT)
        except ConflictError:
            return await self.read_flow(flow.name)
        return flow

    async def accept_missing(self, name: FlowName, kinds: Sequence[str]) -> Flow:
        """Let these kinds of objects be missing at the destination of a Flow, besides those accepted before."""
        return await self.update_flow(
            name, lambda flow: replace(flow, accepted_missing=tuple(sorted({*flow.accepted_missing, *kinds})))
        )

    async def latest(self, flow: Flow) -> Movement | None:
        """Return the latest Movement, even if `flow` does not name it yet; None when there is none.

        AbsentError when `flow` names one that is gone: a new one would compare with nothing.
        """
        latest = await self.read_movement(flow.name, flow.movements) if flow.movements else None
        number = flow.movements + 1
        while await self.store.stat(object_keys.movement_key(flow.name, number)):
            latest = await self.read_movement(flow.name, number)
            number += 1
        return latest

    async def create(self, movement: Movement, before: Movement | None) -> None:
        """Store a Movement under a new number. LostRaceError when the number is in use.

        flow.json names the number afterwards, and forgets the queued start that has begun. That is a shortcut: `latest`
        looks further by itself. `before` is the Movement before this one, if any: its last event is stored if the process
        that settled it died too early.
        """
        await self.outbox.put(last_due(before))
        key = object_keys.movement_key(movement.flow, movement.number)
        try:
            await self.store.put(key, encode_movement(movement), PutCondition.ABSENT)
        except ConflictError as error:
            raise LostRaceError(
                f"Another process has just begun Movement {movement.number} of Flow {movement.flow!r}. "
                "Run the command again when it has ended."
            ) from error

        def named(flow: Flow) -> Flow:
            waits = flow.queued is not None and flow.queued.when != movement.last_queued
            number = max(flow.movements, movement.number)
            return replace(flow, movements=number, queued=flow.queued if waits else None)

        with unwrap_exception_group():
            async with anyio.create_task_group() as both:
                both.start_soon(self.outbox.put, [started(movement), *last_due(movement)], name="outbox")
                both.start_soon(self._correct_clock, movement, name="clock")
                await self.update_flow(movement.flow, named)

    async def _correct_clock(self, movement: Movement) -> None:
        """Give a Movement that was just created the store's time of creation, if this process's clock is wrong."""
        stored = await self.modified(movement)
        if abs((stored - movement.created).total_seconds()) > MAX_SKEW_SECONDS:
            await self.update(movement.flow, movement.number, lambda now: replace(now, created=stored))

    async def update_flow(self, name: FlowName, change: Callable[[Flow], Flow]) -> Flow:
        """Change flow.json by compare-and-set and return it; `change` may be called more than once. AbsentError as `read_flow`."""
        key = object_keys.flow_key(name)

        async def attempt() -> Flow:
            before, version = await self._read_flow(name)
            flow = change(before)
            if flow != before:
                await self._replace(key, encode_flow(flow), version)
            return flow

        return await compare_and_set(attempt, key)

    async def update(
        self, flow: FlowName, number: int, change: Callable[[Movement], Movement], after: Movement | None = None
    ) -> Movement:
        """Change movement.json by compare-and-set and return it; `change` may be called more than once.

        `after` is what an earlier call returned: if it was the last one to write, and nobody else has written since, the
        document is not read. Nothing is written when `change` returns its argument. ConflictError when the Movement has
        settled and `change` names other File Lists or states: the caller has been replaced, and what it stored may be
        deleted already.
        """
        key = object_keys.movement_key(flow, number)

        async def attempt() -> Movement:
            known, self._written = self._written, None
            if known is None or known[0] is not after or (changed := change(after)) is after:
                stored = await self.store.get(key)
                known = self._decoded(key, stored), stored.version
                changed = change(known[0])
            before, version = known
            if changed is before:
                return before
            movement = replace(changed, updated=before.updated if before.settled else self.clock.now())
            if before.settled and (before.file_lists, before.states) != (movement.file_lists, movement.states):
                raise ConflictError(f"{key} has settled meanwhile: another process has taken over. Run it again.")
            if due := due_of(before, movement):
                await self.outbox.put(told(before))  # they are forgotten here
                movement = replace(movement, due=due)
            self._written = movement, await self._replace(key, encode_movement(movement), version)
            self._read = {key: (self._written[1], movement)}
            if movement.settled and not before.settled:
                # That it has begun may not be stored yet: the disk was full, for example.
                await self.outbox.note([started(movement), *last_due(movement)])
            elif due:
                await self.outbox.note(told(movement))
            return movement

        return await compare_and_set(attempt, key)

    async def note_unsettled(self, movement: Movement, events: Sequence[OutboxEvent]) -> None:
        """Note events of what happens in a Movement, as `Outbox.note` does; nothing if it has settled meanwhile."""
        if all(map(self.outbox.is_stored, events)):
            return
        try:
            if (await self.read_movement(movement.flow, movement.number)).settled:
                return
        except PipelineError as error:
            log.warning("event_not_stored", reason=str(error))
            return
        await self.outbox.note(events)

    async def store_history(self, settled: Movement) -> None:
        """Store the block of history of a Movement. If that fails, it is logged: history is read from the events then."""
        try:
            await History(self.store, settled.flow).store_block(settled.number, self.outbox)
        except PipelineError as error:
            log.warning("history_not_stored", flow=settled.flow, movement=settled.number, reason=str(error))

    async def _replace(self, key: ObjectKey, data: bytes, version: Version) -> Version:
        try:
            return await self.store.put(key, data, version)
        except ConflictError as error:
            raise LostRaceError(str(error)) from error
