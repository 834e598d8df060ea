"""Rebuilding: makes the memory of a Flow from its source and its destination, after stored objects were taken away.

The new memory is a Movement that moves nothing, with a snapshot state for each stream that can be compared: the keys and
hashes of the source's rows, with those that differ at the destination invalidated, as a repair does it. So the next
Movement moves just what differs. That Movement is stored as one create-only put. Before it, a Movement under way is
cancelled, and flow.json gets the number.

The history before it is given up: its Event Files are in no File List any more. So other destinations cannot be added.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from shlex import quote

from pipeline.domain import object_keys
from pipeline.domain.comparison.diff import StateRange
from pipeline.domain.comparison.report import StreamReport
from pipeline.domain.comparison.values import pair_columns, why_not_comparable
from pipeline.domain.errors import AbsentError, ConfigurationError, UnreadableError
from pipeline.domain.flows.groups import grouped
from pipeline.domain.ids import FlowName, ObjectKey, StreamName
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.movement import Flow, Movement, Status
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema
from pipeline.engine.control.early_end import EarlyEnd
from pipeline.engine.movements.derived_flows import derived_flows
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import ensure_not_pruned, next_movement
from pipeline.engine.verify.repair import InvalidatedStreams, store_invalidated
from pipeline.engine.verify.scope import counterpart
from pipeline.engine.verify.stream_comparison import DifferenceSink, StreamComparison
from pipeline.engine.verify.verifier import aligned
from pipeline.ports.object_store import ObjectStore, list_pages
from pipeline.ports.ranged_source import open_rows_along
from pipeline.ports.source import Snapshot, Source, UnreadRows


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """The result: the Movement that holds the new memory, the differing keys, and the streams that are moved as a whole."""

    movement: Movement
    differences: Mapping[StreamName, int] = field(default_factory=dict)
    whole: Mapping[StreamName, str] = field(default_factory=dict)


class Rebuilder:
    """Rebuilds one Flow. `source` and `copy`, the destination, are read as a Movement reads them. `early_end` ends one.

    `copy` is None for an app: its streams are moved as a whole.
    """

    def __init__(
        self,
        store: ObjectStore,
        flows: FlowStore,
        name: FlowName,
        source: Source,
        copy: Source | None,
        early_end: EarlyEnd,
    ) -> None:
        self._store, self._flows, self._name, self._early_end = store, flows, name, early_end
        self._source, self._copy = source, copy
        self._whole: dict[StreamName, str] = {}
        self._differences: dict[StreamName, int] = {}

    async def run(self, imported: int) -> Rebuilding:
        """Rebuild. `imported` is the highest number of a Movement of which the destination has marks.

        ConfigurationError for a derived Flow and for one from which others derive.
        """
        flow = await self._ready()
        number = max(imported, flow.movements, await self._highest("movements/"), await self._highest("events/")) + 1
        async with AsyncExitStack() as stack:
            here = await stack.enter_async_context(self._source.open_snapshot())
            streams, states = grouped(await here.streams(), flow.declared), dict[StreamName, ObjectKey]()
            if self._copy is None:
                self._whole = {schema.stream: "the destination is an app" for schema in streams}
                return Rebuilding(await self._commit(flow, number, states), self._differences, self._whole)
            copy = await stack.enter_async_context(self._copy.open_snapshot())
            there = await copy.streams()
            invalidated = stack.enter_context(InvalidatedStreams())
            for schema in streams:
                other = counterpart(schema.stream, there)
                if other is None:
                    self._whole[schema.stream] = "the destination does not have it"
                    continue
                try:
                    if await self._compare(here, copy, schema, other, invalidated):
                        key = object_keys.state_key(self._name, schema.stream, number, 0)
                        states[schema.stream] = await self._store_state(here, schema, invalidated, key)
                except UnreadableError as error:
                    self._differences.pop(schema.stream, None)
                    self._whole[schema.stream] = str(error)
        return Rebuilding(await self._commit(flow, number, states), self._differences, self._whole)

    async def _ready(self) -> Flow:
        flow = await self._flows.read_flow(self._name)
        if flow.origin is not None:
            raise ConfigurationError(
                f"Flow {flow.name!r} is derived and has no memory of its own. Rebuild {flow.origin!r}."
            )
        if derived := await derived_flows(self._flows, flow.name):
            names = ", ".join(repr(one.name) for one in derived)
            raise ConfigurationError(
                f"Flow {flow.name!r} cannot be rebuilt, since its history would be given up, and these derived Flows import "
                f"it: {names}. Remove them (pipeline flow remove NAME), and move to their destinations with Flows of their own."
            )
        ensure_not_pruned(flow)
        with suppress(AbsentError):
            latest = await self._flows.latest(flow)
            if latest is not None and not latest.settled:
                await self._early_end.end(latest, Status.CANCELLED, Reason.REPLACED)
        return flow

    async def _highest(self, below: str) -> int:
        """Return the highest number of a Movement with an object in this part of the Flow."""
        folders = await self._store.list_folders(f"{object_keys.flow_prefix(self._name)}{below}")
        return max([int(folder) for folder in folders if folder.isdigit()], default=0)

    async def _compare(
        self, here: Snapshot, copy: Snapshot, schema: StreamSchema, other: StreamSchema, invalidated: InvalidatedStreams
    ) -> bool:
        """Collect the keys that differ; return whether the stream can be compared."""
        pairing = pair_columns(schema, other)
        if reason := why_not_comparable(schema, other, pairing):
            self._whole[schema.stream] = reason
            return False
        sink = DifferenceSink(0, partial(invalidated.note, schema.stream))
        copied = partial(open_rows_along, copy, aligned(schema, other, pairing))
        report = await StreamComparison(StreamReport(schema.stream), pairing, sink).run(here.open_rows(schema), copied)
        if report.incomparable:  # rows that one side cannot read may differ
            self._whole[schema.stream] = report.incomparable
            return False
        if report.differences:
            self._differences[schema.stream] = report.differences
        return True

    async def _store_state(
        self, here: Snapshot, schema: StreamSchema, invalidated: InvalidatedStreams, key: ObjectKey
    ) -> ObjectKey:
        forget = schema.stream in SPECIAL_STREAMS  # the destination's ledger must know each of these
        return await store_invalidated(
            self._store, SourceState(here, schema, forget=forget), invalidated.of(schema.stream), key
        )

    async def _commit(self, flow: Flow, number: int, states: Mapping[StreamName, ObjectKey]) -> Movement:
        """Store the Movement, after flow.json says that its history is given up."""
        differ = bool(self._differences or self._whole)
        problem = (
            "The memory of the Flow was rebuilt, and the destination differs: "
            f"`pipeline move --flow {quote(flow.name)}` moves what differs."
        )
        await self._flows.update_flow(flow.name, lambda now: replace(now, rebuilt=number))
        await self._forget_contents()
        movement = replace(
            next_movement(self._flows, flow, None),
            number=number,
            outcome=Status.INCOMPLETE if differ else Status.SUCCESS,
            because=Reason.REBUILT,
            exported=True,
            states=states,
            problems=(problem,) if differ else (),
        )
        await self._flows.create(movement, None)
        return movement

    async def _forget_contents(self) -> None:
        """Forget which contents are stored: Binary Files may have been taken away."""
        async for page in list_pages(self._store, f"{object_keys.flow_prefix(self._name)}contents/"):
            for info in page:
                await self._store.delete(info.key)


@dataclass(frozen=True, slots=True)
class SourceState:
    """The rows of a stream of the source as if they had been stored; with `forget`, with hashes that no row has."""

    snapshot: Snapshot
    described: StreamSchema
    forget: bool = False

    @property
    def stream(self) -> StreamName:
        """The name of the stream."""
        return self.described.stream

    async def schema(self) -> StreamSchema | None:
        """The schema of the stream."""
        return self.described

    async def ranges(self) -> AsyncGenerator[StateRange, None]:
        """Yield a range for each block of rows."""
        async with self.snapshot.open_rows(self.described) as blocks:
            async for block in blocks:
                if isinstance(block, UnreadRows):
                    continue  # they are new to the next Movement that can read them
                keys, hashes = list(block.keys()), block.row_hashes()
                if self.forget:
                    hashes = bytes(byte ^ 0xFF for byte in hashes)
                yield StateRange(keys[-1], hashes, partial(list, keys), None, None if self.forget else block.digest())
