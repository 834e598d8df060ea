"""A long-running exporter: takes up Movements as they are started, and exports each to the end."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import structlog

from pipeline.codec.documents.message import MovementExported, MovementStarted, decode_message, encode_message
from pipeline.domain.errors import DamagedError, LeaseLostError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.selection import ensure_selected
from pipeline.engine.export.exporter import Exporter
from pipeline.engine.messaging.consumer import Consumer, giving_back
from pipeline.engine.messaging.leases import give_back, held
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.progress import ProgressKeeper
from pipeline.ports.event_queue import EventQueue, Message
from pipeline.ports.reporter import MovementBegun
from pipeline.ports.source import Source

WAIT_SECONDS = 5.0
EXPORTS_SIDE_BY_SIDE = 1
"""An exporter is bound by the processor: a second Movement is better off with another worker."""
SIGNS_OF_LIFE = 3
"""Whoever has not written his progress for this many times its interval is taken for dead."""

ConnectSource = Callable[[Flow], Source]

log = structlog.get_logger()


def _read(message: Message) -> tuple[MovementStarted | None, str]:
    """Return what the message tells of, or None and why it is not for an exporter."""
    try:
        started = decode_message(message.body)
    except DamagedError as error:
        return None, str(error)
    if isinstance(started, MovementStarted):
        return started, ""
    return None, "it is for importers, and this is the queue of exporters"


class ExportWorker:
    """Receives Movements from `exports` until told to stop, and announces their groups on the queue of `parts`.

    A Movement whose exporter shows signs of life is left to it; one whose exporter has died is carried on.
    """

    def __init__(self, context: EngineContext, exports: EventQueue, connect: ConnectSource, worker: str) -> None:
        self._context = context
        self._exports = exports
        self._connect = connect
        self._worker = f"{worker}:export"

    async def run(self, stop: anyio.Event) -> None:
        """Work until `stop` is set; then leave the export in hand where it is, and give its message back."""
        limits = self._context.limits

        async def handle_until_stopped(message: Message) -> None:
            await self._handle(message, stop)

        handle = giving_back(self._exports, handle_until_stopped, limits.visibility_seconds)
        await Consumer(self._exports, handle, room=EXPORTS_SIDE_BY_SIDE, wait_seconds=WAIT_SECONDS, patient=True).run(
            stop
        )

    async def _handle(self, message: Message, stop: anyio.Event) -> None:
        started, reason = _read(message)
        if started is not None and not self._context.serves(started.flow):
            reason = f"it is about Flow {started.flow!r}, which this worker does not serve"
            started = None
        if started is None:
            log.warning("message_rejected", reason=reason)
            await self._exports.reject(message, reason)
            return
        with structlog.contextvars.bound_contextvars(flow=started.flow, movement=started.movement):
            async with held(self._exports, message, self._context.limits.visibility_seconds):
                ended = await self._until_stopped(started, stop)
            if ended:
                await self._exports.acknowledge([message.receipt])
            else:
                await give_back(self._exports, message)

    async def _until_stopped(self, started: MovementStarted, stop: anyio.Event) -> bool:
        """Export, unless stopped before its end: what is stored by then is adopted by the next attempt."""
        ended = False
        async with anyio.create_task_group() as group:

            async def cancel_at_stop() -> None:
                await stop.wait()
                group.cancel_scope.cancel()

            group.start_soon(cancel_at_stop, name="await stop")
            await self._export(started.flow, started.movement)
            ended = True
            group.cancel_scope.cancel()
        return ended

    async def _export(self, flow: FlowName, number: int) -> None:
        movement = await self._context.flows.read_movement(flow, number)
        if movement.settled or (movement.attempts and not movement.exported and await self._is_alive(movement)):
            return
        if not movement.exported:
            try:
                await self._attempt(movement)
            except LeaseLostError as error:
                log.info("export_given_up", reason=str(error))
                return
        await self._context.queue.send([encode_message(MovementExported(flow, number))])

    async def _is_alive(self, movement: Movement) -> bool:
        """Watch the exporter that has the Movement for a while. Nobody's clock is asked, only whether it goes on."""
        before = await self._signs_of_life(movement)
        await anyio.sleep(SIGNS_OF_LIFE * self._context.limits.progress_seconds)
        return await self._signs_of_life(movement) != before

    async def _signs_of_life(self, movement: Movement) -> tuple[int, bool, list[int]]:
        now = await self._context.flows.read_movement(movement.flow, movement.number)
        workers = await self._context.flows.read_progress(movement.flow, movement.number)
        return now.attempts, now.exported, [worker.writes for worker in workers if worker.worker == now.exporter]

    async def _attempt(self, movement: Movement) -> None:
        with unwrap_exception_group():
            await self._run_exporter(movement)

    async def _run_exporter(self, movement: Movement) -> None:
        flow = await self._context.flows.read_flow(movement.flow)
        source = self._connect(flow)
        async with source.open_snapshot() as snapshot:
            schemas = await snapshot.streams()
            ensure_selected(schemas, movement.only, movement.exclude, source.location)
            movement = await self._context.flows.claim(movement, self._worker)
            progress = ProgressKeeper(self._context, movement, self._worker)
            resumed = movement.attempts > 1
            progress.report(MovementBegun(movement.flow, movement.number, resumed, tuple(movement.file_lists)))
            async with anyio.create_task_group() as group:
                group.start_soon(progress.keep_written, name="write progress")
                await Exporter(progress.context, snapshot, schemas, movement).run()
                group.cancel_scope.cancel()
        await progress.write()
