"""Compaction: replaces the history of each stream by a fresh snapshot, without reading the source.

A compaction is a Movement with a number of its own that moves nothing. Commit order: the Movement, which announces the
compaction; the Event Files; the File Lists; then, by compare-and-set, the end of the Movement, which names the lists.
Until then nothing has changed, and a process that starts a Movement meanwhile cancels the compaction.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio

from pipeline.domain import object_keys
from pipeline.domain.errors import ConfigurationError, ConflictError, PipelineError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import FlowName, Label, ObjectKey, StreamName
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.movement import Flow, GroupCounts, Movement, Status, Totals
from pipeline.domain.planning.compaction import by_stream, is_compact, last_step
from pipeline.domain.planning.group_counts import count_group
from pipeline.domain.planning.selection import selected
from pipeline.engine.maintenance.stream_compaction import StreamCompactor
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.lifecycle import cancel_compaction, ensure_not_pruned, ensure_settled, next_movement
from pipeline.log_events import log

Wanted = Callable[[StreamName, Sequence[FileEntry]], bool]
"""Whether a stream with this history is to be compacted."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The size of a stream in the store: Event Files, the records in them, and bytes."""

    files: int
    records: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class CompactedStream:
    """The size of one stream before and after its compaction."""

    stream: StreamName
    before: Extent
    after: Extent


@dataclass(frozen=True, slots=True)
class Compaction:
    """The result of a compaction. `movement` is its number, None when there was nothing to do.

    `left` gives, by stream, the reason why it was not compacted.
    """

    flow: FlowName
    movement: int | None
    streams: tuple[CompactedStream, ...] = ()
    left: Mapping[StreamName, str] = field(default_factory=dict)


def extent_of(entries: Sequence[FileEntry]) -> Extent:
    """Return the total size of these Event Files."""
    return Extent(
        len(entries), sum(entry.upserts + entry.deletes for entry in entries), sum(entry.size for entry in entries)
    )


class Compactor:
    """Compacts one Flow."""

    def __init__(self, context: EngineContext, flow: FlowName) -> None:
        self._context = context
        self._flow = flow

    async def run(self, streams: Sequence[str] = ()) -> Compaction:
        """Compact the streams that match one of the patterns `streams` (by default all) and have a history.

        Errors as of `run_where`.
        """
        return await self.run_where(lambda stream, history: selected(stream, streams, ()))

    async def run_where(self, wanted: Wanted) -> Compaction:
        """Compact the streams that are `wanted` and have a history.

        ConfigurationError while a Movement has not settled; ConflictError when one started meanwhile.
        """
        started = anyio.current_time()
        flow, latest = await self._ready()
        lists = {label: await self._context.flows.read_file_list(key) for label, key in latest.file_lists.items()}
        histories = {label: _select(entries, wanted, latest.unfinished) for label, entries in lists.items()}
        if not any(histories.values()):
            return Compaction(self._flow, None)
        movement = await self._claim(flow, latest)
        log.info("compaction_started", flow=self._flow, movement=movement.number)
        try:
            compaction, compacted = await self._compact(movement, lists, histories)
            if not compaction.streams:
                await cancel_compaction(self._context.flows, flow)
                return replace(compaction, movement=None)
            await self._commit(movement, latest, compacted, compaction, anyio.current_time() - started)
        except PipelineError as error:
            log.warning("compaction_failed", flow=self._flow, movement=movement.number, reason=str(error))
            await cancel_compaction(self._context.flows, flow)
            raise
        log.info("compaction_done", flow=self._flow, movement=movement.number, streams=len(compaction.streams))
        return compaction

    async def _ready(self) -> tuple[Flow, Movement]:
        flow = await self._context.flows.read_flow(self._flow)
        if flow.origin is not None:
            raise ConfigurationError(
                f"Flow {flow.name!r} is derived and stores no objects of its own. Compact Flow {flow.origin!r}."
            )
        ensure_not_pruned(flow)
        return flow, ensure_settled(flow, await cancel_compaction(self._context.flows, flow), "compact")

    async def _claim(self, flow: Flow, latest: Movement) -> Movement:
        movement = replace(
            next_movement(self._context.flows, flow, latest),
            attempts=1,
            compaction=True,
            inventory=latest.inventory,
            omitted=latest.omitted,
            rejections=latest.rejections,
        )
        await self._context.flows.create(movement, latest)
        ensure_not_pruned(await self._context.flows.read_flow(flow.name))
        return movement

    async def _compact(
        self,
        movement: Movement,
        lists: Mapping[Label, Sequence[FileEntry]],
        histories: Mapping[Label, Mapping[StreamName, Sequence[FileEntry]]],
    ) -> tuple[Compaction, Mapping[Label, Sequence[FileEntry]]]:
        """Store the Event Files of all streams that can be compacted; return what the File Lists of their groups are to name."""
        done: list[CompactedStream] = []
        left: dict[StreamName, str] = {}
        listed: dict[Label, Sequence[FileEntry]] = {}
        for label, selected_streams in sorted(histories.items()):
            compacted: dict[StreamName, Sequence[FileEntry]] = {}
            for stream, history in selected_streams.items():
                try:
                    found = await StreamCompactor(self._context, movement.flow, movement.number, history).run()
                except ConfigurationError as error:
                    left[stream] = str(error)
                    continue
                compacted[stream] = [replace(entry, replaces=last_step(history)) for entry in found]
                done.append(CompactedStream(stream, extent_of(history), extent_of(found)))
            if compacted:
                streams = {**by_stream(lists[label]), **compacted}
                listed[label] = [entry for stream in streams.values() for entry in stream]
        return Compaction(movement.flow, movement.number, tuple(done), left), listed

    async def _list(self, movement: Movement, label: Label, entries: Sequence[FileEntry]) -> ObjectKey:
        key = object_keys.file_list_key(movement.flow, movement.number, label, movement.attempts)
        before = movement.file_lists[label]
        await self._context.flows.file_lists.store(key, movement.flow, label, entries, before)
        return key

    async def _commit(
        self,
        movement: Movement,
        latest: Movement,
        compacted: Mapping[Label, Sequence[FileEntry]],
        compaction: Compaction,
        seconds: float,
    ) -> None:
        """Store the File Lists, and settle the Movement with them."""
        file_lists = {label: await self._list(movement, label, entries) for label, entries in compacted.items()}
        counts = {label: one for label, one in movement.counts.items() if label not in compacted}
        counts |= _counts(compacted, movement.counts)
        moment = self._context.clock.now()
        totals = Totals(
            files_exported=sum(stream.after.files for stream in compaction.streams),
            bytes_stored=sum(stream.after.stored_bytes for stream in compaction.streams),
            seconds=round(seconds, 3),
        )

        def ended(now: Movement) -> Movement:
            if now.settled:
                raise ConflictError(
                    f"A Movement of Flow {now.flow!r} started during the compaction, so nothing was changed. "
                    "Compact again when it has settled."
                )
            lists = {**now.file_lists, **file_lists}
            settled = now.to(Status.SUCCESS, moment, Reason.COMPACTED)
            settled = replace(settled, counts=counts, marks=latest.marks)
            return replace(settled, file_lists=lists, exported=latest.exported, totals=totals)

        settled = await self._context.flows.update(movement.flow, movement.number, ended)
        await self._context.flows.store_history(settled)


def _counts(
    compacted: Mapping[Label, Sequence[FileEntry]], before: Mapping[Label, GroupCounts]
) -> Mapping[Label, GroupCounts]:
    """Return the counts of groups with compacted streams of which the destination has all files; of others it is not known."""
    complete = [label for label in compacted if label in before and before[label].imported == before[label].listed]
    return {
        label: count_group(compacted[label], {file for one in compacted[label] for file in one.replaces or (one.id,)})
        for label in complete
    }


def _select(
    entries: Sequence[FileEntry], wanted: Wanted, unfinished: Container[StreamName]
) -> Mapping[StreamName, Sequence[FileEntry]]:
    """Return the histories to compact. One whose export has not ended is left to the Movement that resumes it."""
    return {
        stream: history
        for stream, history in by_stream(entries).items()
        if stream not in unfinished and not is_compact(history) and wanted(stream, history)
    }
