"""The sweep: sends messages again for work that no live worker holds. Losing every message costs time, not data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import anyio

from pipeline.codec.documents.message import (
    GroupCompleted,
    MovementExported,
    MovementStarted,
    QueueMessage,
    encode_message,
)
from pipeline.codec.documents.progress import Progress
from pipeline.domain.errors import PipelineError
from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement
from pipeline.domain.progress.scores import Shown, newly_shown
from pipeline.engine.control.early_end import Fence
from pipeline.engine.control.judge import Judge
from pipeline.engine.control.state import shown_progress
from pipeline.engine.messaging.stopping import run_until_set
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.file_lists import listed_groups
from pipeline.engine.movements.flow_store import WorkerSign
from pipeline.engine.movements.progress import MISSED_UPDATES
from pipeline.engine.movements.retries import backoff_seconds
from pipeline.engine.workers.unsettled import UnsettledMovements
from pipeline.log_events import log
from pipeline.ports.event_queue import EventQueue

LONGEST_PAUSE_SECONDS = 600.0
IDLE_SWEEPS = 12
"""While no Movement is under way, the pause grows to this many times `sweep_seconds`."""


OnSettled = Callable[[Mapping[FlowName, int]], None]


@dataclass
class _Wanted:
    """A message that may have been lost: when to send it, and how often it was sent."""

    due: float
    sent: int = 0


class Sweep:
    """Looks at every Movement that has not settled. It compares two of its own looks, because clocks may disagree.

    A message is sent when no live worker has held its work for a while and no message waits in its queue, and again
    after pauses that grow to ten minutes. A needless message does no harm. Without `exports`, for which an importer
    needs no permission, no messages for exporters are sent. Without `fence`, a Movement with work in hand
    that is to end is left to others. A `worker` with a name looks at some Flows at a time. `on_settled`
    gets the latest Movements that are known to have settled, after each look.
    """

    def __init__(
        self,
        context: EngineContext,
        exports: EventQueue | None,
        fence: Fence | None = None,
        worker: str = "",
        on_settled: OnSettled | None = None,
    ) -> None:
        self._context = context
        self._judge = Judge(context.flows, context.limits, fence)
        self._exports = exports
        self._on_settled = on_settled
        self._unsettled = UnsettledMovements(context, worker, begins_queued=exports is not None)
        self._seen: dict[tuple[FlowName, int, str], tuple[int, float]] = {}
        self._wanted: dict[QueueMessage, _Wanted] = {}

    @property
    def patience_seconds(self) -> float:
        """How long a worker must be silent before a message is sent."""
        return max(MISSED_UPDATES * self._context.limits.progress_seconds, self._context.limits.sweep_seconds)

    async def run(self, stop: anyio.Event) -> None:
        """Look until `stop` is set: every `sweep_seconds` while a Movement is under way, less and less often while none is.

        An error is logged, and the next look comes as usual.
        """
        await run_until_set(stop, self._look_regularly)

    async def _look_regularly(self) -> None:
        shortest = pause = self._context.limits.sweep_seconds
        while True:
            await anyio.sleep(pause)
            try:
                await self.look()
            except PipelineError as error:
                log.warning("sweep_failed", reason=str(error))
            pause = shortest if self._seen else min(2 * pause, IDLE_SWEEPS * shortest)

    async def look(self) -> Sequence[QueueMessage]:
        """Look once, and return the messages that were sent: none at the first look, which starts the waiting."""
        wanted: list[QueueMessage] = []
        active: set[tuple[FlowName, int]] = set()
        for found in await self._unsettled.read():
            signs = await self._context.flows.read_signs(found.flow, found.number)
            movement = await self._judge.judge(found, signs)
            if movement is None:
                continue
            await self._keep_shown(movement, signs)
            if movement.wish.want is Want.RUN:
                wanted += self._messages(movement, [sign.progress for sign in signs])
            if movement.wish.want is not Want.PAUSE or movement.wish.until is not None:
                active.add((movement.flow, movement.number))
                self._unchanged_seconds(movement, "", movement.attempts)
        if self._on_settled is not None:
            self._on_settled(self._unsettled.settled)
        self._seen = {key: seen for key, seen in self._seen.items() if key[:2] in active}
        self._wanted = {message: entry for message, entry in self._wanted.items() if message in wanted}
        started = [message for message in wanted if isinstance(message, MovementStarted)]
        others = [message for message in wanted if not isinstance(message, MovementStarted)]
        sent = await self._send(others, self._context.queue)
        return sent if self._exports is None else [*await self._send(started, self._exports), *sent]

    async def _keep_shown(self, movement: Movement, signs: Sequence[WorkerSign]) -> None:
        """Store the time left that people see of a Movement of workers at some percents. Its end adds what came."""
        flows = self._context.flows
        if not (movement.exporter and movement.exported):
            return
        now = await flows.store_clock.now(movement.flow)
        shown = shown_progress(movement, signs, self._context.limits, now)
        kept = None if shown is None else newly_shown(movement.shown, shown.percent, shown.left, now)
        if kept is not None:
            await flows.update(movement.flow, movement.number, partial(_with_shown, kept))

    def _messages(self, movement: Movement, workers: Sequence[Progress]) -> Sequence[QueueMessage]:
        """Return messages for work that no live worker holds."""
        flow, number = movement.flow, movement.number
        alive = [
            worker
            for worker in workers
            if self._unchanged_seconds(movement, worker.worker, worker.writes) < self.patience_seconds
        ]
        labels = set(listed_groups(movement))
        if movement.refused:
            labels.clear()
        labels.difference_update(movement.group_wishes, *(worker.holding for worker in alive))
        groups = [GroupCompleted(flow, number, label, movement.file_lists[label]) for label in sorted(labels)]
        if movement.exported:
            return [*groups, MovementExported(flow, number)]
        if any(worker.worker == movement.exporter for worker in alive):
            return groups
        return [MovementStarted(flow, number), *groups]

    def _unchanged_seconds(self, movement: Movement, what: str, count: int) -> float:
        """Return for how long, by this process's own clock, `count` is known to have its present value."""
        key, now = (movement.flow, movement.number, what), anyio.current_time()
        if key not in self._seen or self._seen[key][0] != count:
            self._seen[key] = count, now
        return now - self._seen[key][1]

    async def _send(self, messages: Sequence[QueueMessage], queue: EventQueue) -> Sequence[QueueMessage]:
        """Send those of these messages that are due, unless others wait in the queue."""
        now, limits = anyio.current_time(), self._context.limits
        for message in messages:
            self._wanted.setdefault(message, _Wanted(now + self.patience_seconds))
        due = [message for message in messages if now >= self._wanted[message].due]
        if not due or (await queue.depth()).waiting:
            return []
        await queue.send([encode_message(message) for message in due])
        for message in due:
            entry = self._wanted[message]
            entry.sent += 1
            entry.due = now + backoff_seconds(entry.sent, limits.visibility_seconds, LONGEST_PAUSE_SECONDS)
            log.info("message_resent", message=type(message).__name__, flow=message.flow, movement=message.movement)
        return due


def _with_shown(kept: Shown, movement: Movement) -> Movement:
    """Return a Movement with what was shown, unless it has settled, or another worker has kept that percent."""
    if movement.settled or any(one.percent >= kept.percent for one in movement.shown):
        return movement
    return replace(movement, shown=(*movement.shown, kept))
