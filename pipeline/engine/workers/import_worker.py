"""A long-running importer: takes part in the import of any Movement of any Flow, and settles what is accounted for."""

from __future__ import annotations

from dataclasses import replace

import anyio

from pipeline.codec.documents.message import GroupCompleted
from pipeline.domain.errors import TransientError
from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement
from pipeline.domain.planning.import_plan import WHOLE, accounted
from pipeline.engine.control.early_end import patience
from pipeline.engine.control.watch import wanted
from pipeline.engine.imports.existing_records import GuardExisting, nothing_guarded
from pipeline.engine.imports.movement_handler import Announcement, import_consumer
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.progress import Ran, totals_of
from pipeline.engine.movements.settlement import Settlement
from pipeline.engine.workers.movement_pool import ConnectDestination, MovementPool


class ImportWorker:
    """Receives announcements until stopped. After an error a message is given back; errors never end the worker.

    `guard` looks for records that a destination has before the first load.
    """

    def __init__(
        self,
        context: EngineContext,
        connect: ConnectDestination,
        worker: str,
        guard: GuardExisting = nothing_guarded,
    ) -> None:
        self._context, self._guard = context, guard
        self._connect = connect
        self._worker = worker

    async def run(self, stop: anyio.Event) -> None:
        """Work until `stop` is set; then end the transactions in progress, give messages back, and return."""
        context = self._context
        pool = MovementPool(context, self._connect, self._worker, stop.is_set, self._guard)
        consumer = import_consumer(
            context, _AnnouncementHandler(context, pool, self._worker).handle, worker=self._worker
        )
        async with anyio.create_task_group() as group:
            await group.start(pool.run)
            await consumer.run(stop)
            group.cancel_scope.cancel()


class _AnnouncementHandler:
    """Imports announced groups of any Movement, and settles Movements."""

    def __init__(self, context: EngineContext, pool: MovementPool, worker: str) -> None:
        self._context = context
        self._pool = pool
        self._worker = worker

    async def handle(self, announced: Announcement) -> bool:
        """Import the group, or the shard of it, and settle the Movement; return whether the message is done with."""
        movement = await self._context.flows.read_movement(announced.flow, announced.movement)
        if movement.settled:
            return True  # the File Lists of later Movements name what this one did not import
        if await wanted(self._context.flows, movement) is not Want.RUN:
            return True  # once it is resumed, its groups are announced again
        done = True
        if isinstance(announced, GroupCompleted):
            announced = _current(announced, movement)
        async with self._pool.use(movement) as (importing, watch):
            is_refused = bool(watch.movement.refused)
            if watch.ended.is_set():
                return True
            if isinstance(announced, GroupCompleted) and not is_refused:
                if watch.stops(announced.label):
                    return True
                await importing.refresh()
                done = await importing.take(announced)
                if announced.grown_from is not None:
                    return done
            async with importing.settling:
                await self._settle_if_accounted(movement.flow, movement.number, importing)
        return done

    async def _settle_if_accounted(self, flow: FlowName, number: int, importing: MovementImport) -> None:
        movement = await self._context.flows.read_movement(flow, number)
        if movement.settled or not movement.exported:
            return
        await importing.refresh()
        failures = await self._context.flows.read_failures(flow, number)
        failed = {failure.file: failure.reason for failure in failures if failure.line is None}
        lists = {label: movement.file_lists[label] for label in movement.groups}
        if movement.refused and (importing.in_hand or await self._others_have_something_in_hand(movement)):
            return  # the sweep announces the end of the export again
        for label, key in lists.items():
            if not movement.leaves(label) and not accounted(
                await self._context.flows.read_file_list(key), importing.marks, failed
            ):
                return
        if movement.groups_that(Want.PAUSE):
            return
        unmarked = {file: reason for file, reason in failed.items() if file not in importing.marks}
        workers = await self._context.flows.read_progress(flow, number)

        def ran() -> Ran:
            seconds = (self._context.clock.now() - movement.created).total_seconds()
            return Ran(totals_of(workers, max(seconds, 0.0)))

        settlement = Settlement(importing.context, importing.session)
        await settlement.settle(movement, list(lists.values()), importing.marks, unmarked, ran)

    async def _others_have_something_in_hand(self, movement: Movement) -> bool:
        """Return whether another live worker is importing something of a Movement whose destination refuses everything."""
        now, limits = await self._context.flows.store_clock.now(movement.flow), self._context.limits
        signs = await self._context.flows.read_signs(movement.flow, movement.number)
        alive = [sign.progress for sign in signs if now - sign.stored <= patience(limits)]
        return any(progress.in_hand for progress in alive if progress.worker != self._worker)


def _current(announced: GroupCompleted, movement: Movement) -> GroupCompleted:
    """Return the announcement with the present File List of its group. TransientError when there is none yet."""
    current = movement.file_lists.get(announced.label)
    if current is None:
        raise TransientError(
            f"Movement {movement.number} of Flow {movement.flow!r} has no File List of the group {announced.label!r} yet."
        )
    if current == announced.key or announced.grown_from is not None:
        return announced
    return replace(announced, key=current, shard=WHOLE)  # a later attempt to export has replaced the list
