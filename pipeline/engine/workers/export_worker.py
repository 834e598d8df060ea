"""A long-running exporter: takes up Movements as they are started, and exports each to the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import anyio

from pipeline.codec.documents.message import MovementExported, MovementStarted, encode_message
from pipeline.domain.errors import LeaseLostError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName, Label
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.selection import selected
from pipeline.engine.control.approvals import ensure_approved
from pipeline.engine.control.watch import Watch, wanted
from pipeline.engine.estimates.finish_passes import finish_passes
from pipeline.engine.export.exporter import Exporter
from pipeline.engine.export.source_checks import read_streams
from pipeline.engine.messaging.consumer import Consumer
from pipeline.engine.messaging.stopping import run_until_set
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.lifecycle import claim_movement
from pipeline.engine.movements.progress import MISSED_UPDATES, ProgressKeeper
from pipeline.log_events import log
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.reporter import FinishPlanned, MovementBegun
from pipeline.ports.source import Source

ConnectSource = Callable[[Flow], Source]


class ExportWorker:
    """Receives Movements from `exports` until stopped, and announces their groups on the queue of `context`.

    A Movement whose exporter is alive is left to it; one whose exporter has died is resumed. An export uses a whole
    processor, so there is one at a time.
    """

    def __init__(self, context: EngineContext, exports: EventQueue, connect: ConnectSource, worker: str) -> None:
        self._context = context
        self._exports = exports
        self._connect = connect
        self._worker = f"{worker}:export"

    async def run(self, stop: anyio.Event) -> None:
        """Work until `stop` is set; then end the current export where it is, and give its message back."""
        handle = partial(self._handle, stop)
        await Consumer(self._context, self._exports, (MovementStarted,), handle, room=1, worker=self._worker).run(stop)

    async def _handle(self, stop: anyio.Event, started: MovementStarted) -> bool:
        """Export, unless stopped before the end: what is stored by then is adopted by the next attempt."""
        return await run_until_set(stop, partial(self._export, started.flow, started.movement))

    async def _export(self, flow: FlowName, number: int) -> None:
        movement = await self._context.flows.read_movement(flow, number)
        if movement.settled or await wanted(self._context.flows, movement) is not Want.RUN:
            return  # once it is resumed, it is announced again
        if movement.attempts and not movement.exported and await self._is_exporter_alive(movement):
            return
        if not movement.exported:
            try:
                with unwrap_exception_group():
                    if not await self._run_exporter(movement):
                        return
            except LeaseLostError as error:
                log.info("export_given_up", reason=str(error))
                return
        await self._context.queue.send([encode_message(MovementExported(flow, number))])

    async def _is_exporter_alive(self, movement: Movement) -> bool:
        """Return whether the Movement's exporter makes progress while it is watched. No two clocks are compared."""
        before = await self._signs_of_life(movement)
        await anyio.sleep(MISSED_UPDATES * self._context.limits.progress_seconds)
        return await self._signs_of_life(movement) != before

    async def _signs_of_life(self, movement: Movement) -> tuple[int, bool, list[int]]:
        now = await self._context.flows.read_movement(movement.flow, movement.number)
        workers = await self._context.flows.read_progress(movement.flow, movement.number)
        return now.attempts, now.exported, [worker.writes for worker in workers if worker.worker == now.exporter]

    async def _run_exporter(self, movement: Movement) -> bool:
        """Export; return whether it was exported to the end, which it is not when it is to pause or to stop."""
        flow = await self._context.flows.read_flow(movement.flow)
        source = self._connect(replace(flow, movements=movement.number))  # flow.json may name an earlier one still
        async with source.open_snapshot() as snapshot:
            schemas = await read_streams(snapshot, source.location, movement.choices, flow, self._context.flows)
            if flow.declared.approvals.required:
                only, exclude = movement.only, movement.exclude
                chosen = [one for one in schemas if selected(one.stream, only, exclude)]
                await ensure_approved(self._context.store, flow, snapshot, chosen)
            movement = await claim_movement(self._context.flows, movement, self._worker)
            context = replace(self._context, limits=self._context.limits.of_flow(flow.declared.limits))
            progress = ProgressKeeper(context, movement, self._worker)
            resumed = movement.attempts > 1
            progress.report(MovementBegun(movement.flow, movement.number, resumed, tuple(movement.file_lists)))
            watch = Watch(self._context.flows, movement, self._context.limits.progress_seconds)
            async with progress.released_at_end(), progress.kept_written():
                await watch.note(await progress.claim())
                async with anyio.create_task_group() as group:
                    group.start_soon(watch.run, name="watch wishes")
                    exporter = Exporter(progress.context, snapshot, schemas, movement, flow.declared.groups)
                    loaded = [it.stream for it in exporter.chosen if _has_loaded(movement, it.label)]
                    progress.report(FinishPlanned(finish_passes(exporter.chosen, loaded)))
                    all_done = await run_until_set(watch.ended, exporter.run)
                    group.cancel_scope.cancel()
        return all_done


def _has_loaded(movement: Movement, label: Label) -> bool:
    """Return whether an earlier Movement has imported files of a group, so that its tables have their indexes."""
    before = movement.counts.get(label)
    return before is not None and bool(before.imported)
