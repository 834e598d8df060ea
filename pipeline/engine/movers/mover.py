"""A whole Movement in one process: export and import at the same time, then settle."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime

import anyio

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain.errors import TransientError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName, Label, ObjectKey
from pipeline.domain.movement import Movement, Status, marks_namespace
from pipeline.domain.planning.selection import ensure_selected
from pipeline.engine.export.exporter import Exporter
from pipeline.engine.imports.assisted_import import AssistedImport
from pipeline.engine.imports.import_helper import HelperProvider
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.progress import ProgressKeeper
from pipeline.engine.movements.settlement import Settlement
from pipeline.ports.destination import Destination, DestinationSession
from pipeline.ports.reporter import MovementBegun
from pipeline.ports.source import Source

LOOK_SECONDS = 0.01


class Mover:
    """Moves one Flow's data once. Run it again after any interruption, and the same Movement is carried on."""

    def __init__(
        self,
        context: EngineContext,
        flow: FlowName,
        source: Source,
        destination: Destination,
        worker: str,
        help_: HelperProvider | None = None,
    ) -> None:
        """Move with this process alone, or have `help_` when the Movement turns out to be large."""
        self._keeper = ProgressKeeper(context.clock, context.reporter, worker)
        self._context = replace(context, reporter=self._keeper)
        self._flow = flow
        self._source = source
        self._destination = destination
        self._help = help_

    async def run(self, *, only: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Movement:
        """Move, and return the Movement settled. Raises what a person must know; then it has not settled."""
        with unwrap_exception_group():
            async with AsyncExitStack() as reading:
                snapshot = await reading.enter_async_context(self._source.open_snapshot())
                schemas = await snapshot.streams()
                ensure_selected(schemas, only, exclude, self._source.location)  # a mistake leaves nothing behind
                made = await self._context.flows.made(self._flow)
                async with self._destination.open(marks_namespace(self._flow, made)) as session:
                    movement, resumed = await self._begin(made, only, exclude)
                    begun = MovementBegun(movement.flow, movement.number, resumed, tuple(movement.file_lists))
                    self._keeper.report(begun)
                    exporter = Exporter(self._context, snapshot, schemas, movement)
                    return await self._move(movement, exporter, reading, session)

    async def _begin(self, made: datetime, only: tuple[str, ...], exclude: tuple[str, ...]) -> tuple[Movement, bool]:
        places = self._source.location, self._destination.location
        flow = await self._context.flows.connect(self._flow, *places, made=made)
        movement, resumed = await self._context.flows.begin(flow, only, exclude)
        age = self._context.clock.now() - movement.created
        if resumed and age.total_seconds() > self._context.limits.lifetime_seconds:
            await self._context.flows.update(
                movement.flow,
                movement.number,
                lambda now: now if now.settled else now.to(Status.TIMED_OUT, self._context.clock.now()),
            )
            return await self._context.flows.begin(flow, only, exclude)
        return movement, resumed

    async def _move(
        self, movement: Movement, exporter: Exporter, reading: AsyncExitStack, session: DestinationSession
    ) -> Movement:
        limiter = anyio.CapacityLimiter(self._context.limits.importers)
        importing = MovementImport(self._context, movement, session, limiter)
        await importing.refresh()
        shared = AssistedImport(self._context, importing, self._help)
        async with anyio.create_task_group() as group:
            group.start_soon(shared.run, exporter.large, name="importer")
            group.start_soon(self._watch, movement, name="watch")
            movement = await exporter.run()
            await reading.aclose()  # a snapshot may stand in the way of the app: it is held no longer than it is read
            shared.end_export(exporter.announced)
            await self._wait_imported(movement, exporter.announced, shared)
            group.cancel_scope.cancel()
        await shared.catch_up()
        settlement = Settlement(self._context, session)
        settled = await settlement.settle(
            movement, tuple(exporter.announced.values()), importing.marks, importing.failed, self._keeper.figures()
        )
        await self._keeper.write(self._context.store, movement.flow, movement.number)
        return settled

    async def _watch(self, movement: Movement) -> None:
        """Write the progress down now and then; end a Movement in which nothing moves any more."""
        limits = self._context.limits
        while True:
            await self._keeper.write(self._context.store, movement.flow, movement.number)
            await anyio.sleep(limits.progress_seconds)
            if anyio.current_time() - self._keeper.last_progress > limits.idle_timeout_seconds:
                raise TransientError(
                    f"Nothing has moved for {limits.idle_timeout_seconds:,.0f} seconds. "
                    "Run the command again; it carries on where it stopped."
                )

    async def _wait_imported(
        self, movement: Movement, announced: dict[Label, ObjectKey], shared: AssistedImport
    ) -> None:
        """Wait until every announced group has been worked through, ringing again for what seems to be lost."""
        rung = anyio.current_time()
        while left := {label: key for label, key in announced.items() if not shared.is_done(key)}:
            await anyio.sleep(LOOK_SECONDS)
            if anyio.current_time() - rung < self._context.limits.sweep_seconds:
                continue
            rung = anyio.current_time()
            lost = [
                encode_message(GroupCompleted(movement.flow, movement.number, label, key))
                for label, key in left.items()
                if not shared.is_in_hand(key)
            ]
            if lost:
                await self._context.queue.send(lost)
