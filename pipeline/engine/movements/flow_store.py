"""Flows and Movements as the bucket holds them: created once, changed by compare-and-set, read by anybody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from pipeline.codec.documents.failures import Failure, decode_failures, encode_failures
from pipeline.codec.documents.file_list import decode_file_list
from pipeline.codec.documents.flow import decode_flow, decode_movement, encode_flow, encode_movement
from pipeline.codec.documents.progress import Progress, decode_progress
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError, ConfigurationError, ConflictError, LeaseLostError, TransientError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, FlowName, ObjectKey, decode_name
from pipeline.domain.movement import Flow, Movement, Status
from pipeline.ports.clock import Clock
from pipeline.ports.object_store import ObjectStore, PutCondition

COMPARE_AND_SET_TRIES = 20
"""A document is changed by few processes a few times a second; whoever loses this often is up against a defect."""

MAX_KEPT_ENTRIES = 20_000
"""Entries of File Lists that are kept in memory: some 10 MB."""


class FlowStore:
    """Reads and changes the documents of Flows."""

    def __init__(self, store: ObjectStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._file_lists: dict[ObjectKey, Sequence[FileEntry]] = {}

    async def list_names(self) -> Sequence[FlowName]:
        """Return the names of all Flows, sorted. Costs a request per Flow: it jumps over what lies below each."""
        names: list[FlowName] = []
        after: ObjectKey | None = None
        while page := await self._store.list_page(object_keys.FLOWS, after=after, limit=1):
            names.append(FlowName(decode_name(page[0].key.split("/")[1])))
            after = ObjectKey(object_keys.flow_prefix(names[-1])[:-1] + "0")  # "0" sorts right after "/"
        return sorted(names)

    async def list_flows(self) -> Sequence[Flow]:
        """Return all Flows, by name."""
        return [await self.read_flow(name) for name in await self.list_names()]

    async def read_flow(self, name: FlowName) -> Flow:
        """Return a Flow. AbsentError when there is none of this name."""
        key = object_keys.flow_key(name)
        try:
            return decode_flow((await self._store.get(key)).data, key)
        except AbsentError as error:
            raise AbsentError(f"There is no Flow named {name!r} here. `pipeline status` lists the Flows.") from error

    async def read_movement(self, flow: FlowName, number: int) -> Movement:
        """Return a Movement. AbsentError when there is none of this number."""
        key = object_keys.movement_key(flow, number)
        return decode_movement((await self._store.get(key)).data, key)

    async def read_file_list(self, key: ObjectKey) -> Sequence[FileEntry]:
        """Return a File List in its order. It never changes, so the last ones read are kept."""
        if key not in self._file_lists:
            entries = decode_file_list((await self._store.get(key)).data, key)
            if sum(map(len, self._file_lists.values())) + len(entries) > MAX_KEPT_ENTRIES:
                self._file_lists.clear()
            self._file_lists[key] = entries
        return self._file_lists[key]

    async def read_failures(self, flow: FlowName, number: int) -> Sequence[Failure]:
        """Return all failures of a Movement."""
        failures: list[Failure] = []
        after: ObjectKey | None = None
        while page := await self._store.list_page(object_keys.failures_prefix(flow, number), after=after):
            for info in page:
                with suppress(AbsentError):  # the file has been imported since it was listed
                    failures += decode_failures((await self._store.get(info.key)).data, info.key)
            after = page[-1].key
        return failures

    async def read_progress(self, flow: FlowName, number: int) -> Sequence[Progress]:
        """Return what each worker has written down of its progress in a Movement."""
        page = await self._store.list_page(object_keys.progress_prefix(flow, number))
        return [decode_progress((await self._store.get(info.key)).data, info.key) for info in page]

    async def write_failures(self, flow: FlowName, number: int, file: EventFileId, failures: list[Failure]) -> None:
        """Write down why an Event File, or records of it, could not be applied. The latest attempt's word counts."""
        key = object_keys.failure_key(flow, number, file)
        await self._store.put(key, encode_failures(failures), PutCondition.NONE)

    async def clear_failures(self, flow: FlowName, number: int, file: EventFileId) -> None:
        """Forget the failures of an Event File that has been imported after all."""
        await self._store.delete(object_keys.failure_key(flow, number, file))

    async def created_or_now(self, name: FlowName) -> datetime:
        """Return when a Flow was created; the present moment if it does not exist yet."""
        try:
            return (await self.read_flow(name)).created
        except AbsentError:
            return self._clock.now()

    async def connect(self, name: FlowName, source: str, destination: str, *, created: datetime | None = None) -> Flow:
        """Return the Flow; create it if it does not exist. ConfigurationError when it connects other places.

        TransientError when it exists and was not created at `created`: another process has created it meanwhile.
        """
        flow = await self.add(Flow(name, source, destination, created or self._clock.now()))
        if created is not None and flow.created != created:
            raise TransientError(f"Flow {name!r} has just been created by another process. Run the command again.")
        if flow.origin is not None:
            raise ConfigurationError(
                f"Flow {name!r} exports nothing of its own: it imports what Flow {flow.origin!r} has stored. "
                f"Move that one, or bring this one up to date with `pipeline flow import {name}`."
            )
        if (flow.source, flow.destination) != (source, destination):
            raise ConfigurationError(
                f"Flow {name!r} connects {flow.source} to {flow.destination}, not {source} to {destination}. "
                "Give this connection a name of its own with --flow."
            )
        return flow

    async def add(self, flow: Flow) -> Flow:
        """Store a new Flow and return it, or the one that has its name already."""
        try:
            await self._store.put(object_keys.flow_key(flow.name), encode_flow(flow), PutCondition.ABSENT)
        except ConflictError:
            return await self.read_flow(flow.name)
        return flow

    async def begin(self, flow: Flow, only: tuple[str, ...], exclude: tuple[str, ...]) -> tuple[Movement, bool]:
        """Return the Movement to work on and whether it is resumed: the latest if it has not settled, else a new one."""
        refuse_while_pruned(flow)
        for _ in range(COMPARE_AND_SET_TRIES):
            latest = await self.latest_but_compacting(flow)
            if latest is None or latest.settled:
                begun, resumed = self._next(flow, latest, only, exclude), False
                if not await self.create(begun):
                    continue  # somebody else just created it
            else:
                begun, resumed = await self._resume(latest, only, exclude), True
                if begun.settled:
                    continue  # somebody else settled it meanwhile
            refuse_while_pruned(await self.read_flow(flow.name))
            return begun, resumed
        raise TransientError(f"Movements of Flow {flow.name!r} are begun by others all the time. Try again.")

    async def _resume(self, movement: Movement, only: tuple[str, ...], exclude: tuple[str, ...]) -> Movement:
        return await self.update(
            movement.flow,
            movement.number,
            lambda now: (
                now
                if now.settled
                else replace(
                    now.to(Status.IN_PROGRESS, now.updated),
                    attempts=now.attempts + 1,
                    only=only,
                    exclude=exclude,
                    exported=False,
                )
            ),
        )

    async def start(self, flow: Flow, only: tuple[str, ...], exclude: tuple[str, ...]) -> tuple[Movement, bool]:
        """Return a Movement for workers to take up, and whether it is new: the latest if it has not settled."""
        refuse_while_pruned(flow)
        for _ in range(COMPARE_AND_SET_TRIES):
            latest = await self.latest_but_compacting(flow)
            if latest is not None and not latest.settled:
                return latest, False
            started = self._next(flow, latest, only, exclude, Status.READY)
            if await self.create(started):
                refuse_while_pruned(await self.read_flow(flow.name))
                return started, True
        raise TransientError(f"Movements of Flow {flow.name!r} are begun by others all the time. Try again.")

    async def claim(self, seen: Movement, worker: str) -> Movement:
        """Begin an attempt to export a Movement. From here on, no exporter of an earlier attempt changes it.

        LeaseLostError when another attempt has begun since it was `seen`, or it has settled. TransientError while the Flow
        is pruned: the Movement may have been started meanwhile, and whoever started it has gone.
        """

        def begun(now: Movement) -> Movement:
            if now.settled or now.attempts != seen.attempts:
                raise LeaseLostError(
                    f"Movement {now.number} of Flow {now.flow!r} is {now.status}, taken up by {now.exporter}."
                )
            if now.compaction:
                raise LeaseLostError(f"Movement {now.number} of Flow {now.flow!r} is a compaction: it exports nothing.")
            taken = now.to(Status.IN_PROGRESS, now.updated)
            return replace(taken, attempts=now.attempts + 1, exporter=worker, exported=False)

        claimed = await self.update(seen.flow, seen.number, begun)
        refuse_while_pruned(await self.read_flow(seen.flow))
        return claimed

    async def latest_but_compacting(self, flow: Flow) -> Movement | None:
        """Return the latest Movement; a compaction that is not at its end is ended.

        It may be dead or at work: it has changed nothing yet, and gives way to whatever is begun.
        """
        latest = await self.latest(flow)
        if latest is None or latest.settled or not latest.compaction:
            return latest
        moment = self._clock.now()

        def cancelled(now: Movement) -> Movement:
            return now if now.settled else now.to(Status.CANCELLATION_REQUESTED, moment).to(Status.CANCELLED, moment)

        return await self.update(latest.flow, latest.number, cancelled)

    async def latest(self, flow: Flow) -> Movement | None:
        """Return the latest Movement, whether or not `flow` knows of it; None when there is none."""
        latest: Movement | None = None
        number = max(flow.movements, 1)
        while await self._store.stat(object_keys.movement_key(flow.name, number)):
            latest = await self.read_movement(flow.name, number)
            number += 1
        return latest

    def _next(
        self,
        flow: Flow,
        before: Movement | None,
        only: tuple[str, ...],
        exclude: tuple[str, ...],
        status: Status = Status.IN_PROGRESS,
    ) -> Movement:
        moment = self._clock.now()
        return Movement(
            flow=flow.name,
            number=(before.number if before else 0) + 1,
            status=status,
            created=moment,
            updated=moment,
            attempts=0 if status is Status.READY else 1,
            only=only,
            exclude=exclude,
            file_lists=before.file_lists if before else {},
            states=before.states if before else {},
            unfinished=before.unfinished if before else {},
        )

    async def create(self, movement: Movement) -> bool:
        """Store a Movement under a new number; False when somebody else has taken the number.

        flow.json then names it: a short cut for readers, which look further by themselves.
        """
        key = object_keys.movement_key(movement.flow, movement.number)
        try:
            await self._store.put(key, encode_movement(movement), PutCondition.ABSENT)
        except ConflictError:
            return False
        await self.update_flow(
            movement.flow, lambda flow: replace(flow, movements=max(flow.movements, movement.number))
        )
        return True

    async def update_flow(self, name: FlowName, change: Callable[[Flow], Flow]) -> Flow:
        """Change flow.json by compare-and-set and return it; `change` may be called more than once."""
        key = object_keys.flow_key(name)
        for _ in range(COMPARE_AND_SET_TRIES):
            stored = await self._store.get(key)
            before = decode_flow(stored.data, key)
            flow = change(before)
            if flow == before:
                return flow
            try:
                await self._store.put(key, encode_flow(flow), stored.version)
            except ConflictError:
                continue
            return flow
        raise TransientError(f"{key} is changed by others all the time. Try again.")

    async def update(self, flow: FlowName, number: int, change: Callable[[Movement], Movement]) -> Movement:
        """Change a Movement by compare-and-set and return it; `change` may be called more than once.

        When `change` returns what it was given, nothing is written.

        ConflictError when it has settled and `change` would have it name other File Lists or states: whoever comes that
        late has been replaced, and what he stored may be gone.
        """
        key = object_keys.movement_key(flow, number)
        for _ in range(COMPARE_AND_SET_TRIES):
            stored = await self._store.get(key)
            before = decode_movement(stored.data, key)
            changed = change(before)
            if changed is before:
                return before
            movement = replace(changed, updated=self._clock.now())
            if before.settled and (before.file_lists, before.states) != (movement.file_lists, movement.states):
                raise ConflictError(f"{key} has settled meanwhile: another process has taken over. Run it again.")
            try:
                await self._store.put(key, encode_movement(movement), stored.version)
            except ConflictError:
                continue
            return movement
        raise TransientError(f"{key} is changed by others all the time. Try again.")


def refuse_while_pruned(flow: Flow) -> None:
    """TransientError while somebody deletes what the Flow needs no more."""
    if flow.pruning is not None:
        raise TransientError(
            f"Flow {flow.name!r} is being pruned, by {flow.pruning}. Wait for it to end. If that process is gone, "
            f"`pipeline prune {flow.name} --yes` finishes its work."
        )
