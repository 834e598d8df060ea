"""The sweep: rings again for what is under way and nobody is at work on. Losing every message costs time, not data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import structlog

from pipeline.codec.documents.message import (
    GroupCompleted,
    MovementExported,
    MovementStarted,
    QueueMessage,
    encode_message,
)
from pipeline.codec.documents.progress import Progress
from pipeline.domain import object_keys
from pipeline.domain.errors import PipelineError
from pipeline.domain.ids import FlowName, Label
from pipeline.domain.movement import Flow, Movement, Status
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.derived_flows import sync_with_origin
from pipeline.ports.event_queue import EventQueue

SIGNS_OF_LIFE = 3
LONGEST_PAUSE_SECONDS = 600.0

log = structlog.get_logger()


@dataclass
class _Seen:
    """A count that somebody keeps, and when it was last seen to have grown, by this process's own clock."""

    count: int
    at: float


@dataclass
class _Want:
    """A message that may be missing: since when, how often it was sent, and when it may be sent (again)."""

    due: float
    pause_seconds: float


class Sweep:
    """Looks at every Movement that has not settled. What counts is change between two looks: clocks may disagree.

    A message is sent when for a while nobody alive has held what it is about and no message waits in its queue; and
    again after pauses that grow to ten minutes. Sending one too many does no harm. Without `exports`, which an importer
    need not be allowed to use, exporters are not rung for.
    """

    def __init__(self, context: EngineContext, exports: EventQueue | None) -> None:
        self._context = context
        self._exports = exports
        self._seen: dict[tuple[FlowName, int, str], _Seen] = {}
        self._wants: dict[QueueMessage, _Want] = {}

    @property
    def patience_seconds(self) -> float:
        """How long nobody must have shown a sign of life before a message is sent."""
        return max(SIGNS_OF_LIFE * self._context.limits.progress_seconds, self._context.limits.sweep_seconds)

    async def run(self, stop: anyio.Event) -> None:
        """Look every `sweep_seconds` until `stop` is set. What fails is tried again at the next look."""
        async with anyio.create_task_group() as group:

            async def cancel_at_stop() -> None:
                await stop.wait()
                group.cancel_scope.cancel()

            group.start_soon(cancel_at_stop, name="await stop")
            while True:
                await anyio.sleep(self._context.limits.sweep_seconds)
                try:
                    await self.look()
                except PipelineError as error:
                    log.warning("sweep_failed", reason=str(error))

    async def look(self) -> Sequence[QueueMessage]:
        """Look once, and return what was sent. At the first look nothing is: nobody has been silent long enough."""
        wanted: list[QueueMessage] = []
        under_way: set[tuple[FlowName, int]] = set()
        for flow in await self._flows():
            movement = await sync_with_origin(self._context.flows, self._context.clock, flow)
            if (
                movement is not None
                and not movement.settled
                and not movement.compaction
                and not await self._timed_out(movement)
            ):
                wanted += await self._wanted(movement)
                under_way.add((movement.flow, movement.number))
        self._seen = {key: seen for key, seen in self._seen.items() if key[:2] in under_way}
        self._wants = {message: want for message, want in self._wants.items() if message in wanted}
        started = [message for message in wanted if isinstance(message, MovementStarted)]
        others = [message for message in wanted if not isinstance(message, MovementStarted)]
        rung = await self._ring(others, self._context.queue)
        return rung if self._exports is None else [*await self._ring(started, self._exports), *rung]

    async def _flows(self) -> Sequence[Flow]:
        """All Flows, or those that this process serves: of the others nothing is read, not even the names."""
        if not self._context.only_flows:
            return await self._context.flows.list_flows()
        return [await self._context.flows.read_flow(name) for name in sorted(self._context.only_flows)]

    async def _timed_out(self, movement: Movement) -> bool:
        """Settle a Movement that is too old, or in which nothing has moved for too long."""
        limits = self._context.limits
        workers = await self._context.flows.read_progress(movement.flow, movement.number)
        signs = sum(worker.writes for worker in workers) + movement.attempts + len(movement.file_lists)
        silent = anyio.current_time() - self._changed(movement, "", signs)
        old = (self._context.clock.now() - movement.created).total_seconds() > limits.lifetime_seconds
        if not old and (movement.status is Status.READY or silent <= limits.idle_timeout_seconds):
            return False
        moment = self._context.clock.now()
        await self._context.flows.update(
            movement.flow, movement.number, lambda now: now if now.settled else now.to(Status.TIMED_OUT, moment)
        )
        log.warning("movement_timed_out", flow=movement.flow, movement=movement.number)
        return True

    async def _wanted(self, movement: Movement) -> Sequence[QueueMessage]:
        """Return what should be rung for, if nobody who is alive is at it."""
        workers = await self._context.flows.read_progress(movement.flow, movement.number)
        alive = [worker for worker in workers if self._is_alive(movement, worker)]
        held = {label for worker in alive for label in worker.holding}
        if not movement.exported:
            exporting = any(worker.worker == movement.exporter for worker in alive)
            started = [] if exporting else [MovementStarted(movement.flow, movement.number)]
            return [*started, *self._groups(movement, _listed(movement) - held)]
        return [
            *self._groups(movement, set(movement.groups) - held),
            MovementExported(movement.flow, movement.number),
        ]

    def _groups(self, movement: Movement, labels: set[Label]) -> Sequence[QueueMessage]:
        return [
            GroupCompleted(movement.flow, movement.number, label, movement.file_lists[label])
            for label in sorted(labels)
        ]

    def _is_alive(self, movement: Movement, worker: Progress) -> bool:
        silent = anyio.current_time() - self._changed(movement, worker.worker, worker.writes)
        return silent < self.patience_seconds

    def _changed(self, movement: Movement, what: str, count: int) -> float:
        """Return when `count` was first seen to be what it is."""
        key, now = (movement.flow, movement.number, what), anyio.current_time()
        seen = self._seen.get(key)
        if seen is None or seen.count != count:
            seen = self._seen[key] = _Seen(count, now)
        return seen.at

    async def _ring(self, wanted: Sequence[QueueMessage], queue: EventQueue) -> Sequence[QueueMessage]:
        now, limits = anyio.current_time(), self._context.limits
        due: list[QueueMessage] = []
        for message in wanted:
            want = self._wants.setdefault(message, _Want(now + self.patience_seconds, limits.visibility_seconds))
            if now >= want.due:
                due.append(message)
        if not due or (await queue.depth()).waiting:
            return []
        await queue.send([encode_message(message) for message in due])
        for message in due:
            want = self._wants[message]
            want.due = now + want.pause_seconds
            want.pause_seconds = min(2 * want.pause_seconds, LONGEST_PAUSE_SECONDS)
            log.info("rung_again", message=type(message).__name__, flow=message.flow, movement=message.movement)
        return due


def _listed(movement: Movement) -> set[Label]:
    """The groups whose File List this Movement has made, as far as it has come."""
    own = object_keys.groups_prefix(movement.flow, movement.number)
    return {label for label, key in movement.file_lists.items() if key.startswith(own)}
