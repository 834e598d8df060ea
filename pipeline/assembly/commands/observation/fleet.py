"""The metrics of the whole fleet, read from the store, the queues and the destinations of Movements under way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING

import anyio

from pipeline.assembly.commands.notifications import count_pending
from pipeline.assembly.commands.observation.latest import LatestMovement, read_latest
from pipeline.assembly.commands.observation.listings import Listings
from pipeline.assembly.commands.observation.signs import Signs
from pipeline.assembly.commands.status import CONCURRENT_FLOWS
from pipeline.assembly.runtime import Runtime
from pipeline.domain.errors import AbsentError, PipelineError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow, Movement, Status
from pipeline.domain.planning.group_counts import outstanding
from pipeline.log_events import log
from pipeline.ports.event_queue import EventQueue

if TYPE_CHECKING:
    from pipeline.metrics.registry import Metrics

FRESH_SECONDS = 15.0
"""Gauges are this old at most, however many ask for them: reading costs two or three requests for each Flow."""
SUCCESS_SOUGHT = 50
"""In how many of the latest Movements the last success is looked for."""

Gauges = dict[str, list[tuple[float, Mapping[str, str]]]]
_ALL = (
    "movements movement_age_seconds last_success_timestamp_seconds set_aside_records files_outstanding bytes_outstanding "
    "queue_visible queue_inflight queue_dead queue_oldest_seconds notifications_pending"
)
FLEET_GAUGES = tuple(f"pipeline_{name}" for name in _ALL.split())


class FleetGauges:
    """Keeps the gauges of the fleet fresh. A gauge that cannot be read is logged, and left out."""

    def __init__(self, runtime: Runtime, metrics: Metrics) -> None:
        self._runtime, self._metrics = runtime, metrics
        self._reading = anyio.Lock()
        self._listings, self._signs = Listings(runtime), Signs(runtime.flows)
        self._read_at = float("-inf")
        self._ended: dict[FlowName, tuple[int, float | None]] = {}

    async def render(self) -> tuple[bytes, str]:
        """Return all metrics of this process and of the fleet as text, and its media type."""
        await self.refresh()
        return self._metrics.render(), self._metrics.content_type

    async def refresh(self) -> None:
        """Read all again unless that was done within `FRESH_SECONDS`."""
        async with self._reading:
            if anyio.current_time() - self._read_at < FRESH_SECONDS:
                return
            gauges: Gauges = {name: [] for name in FLEET_GAUGES}
            await self._attempt("Flows", self._read_flows, gauges)
            for name, opening in (("exports", self._runtime.exports), ("imports", self._runtime.imports)):
                await self._attempt(f"queue {name}", partial(self._read_queue, name, opening), gauges)
            await self._attempt("notifications", self._read_notifications, gauges)
            for name, series in gauges.items():
                self._metrics.clear(name)
                for value, labels in series:
                    self._metrics.set(name, value, **labels)
            self._read_at = anyio.current_time()

    async def _attempt(self, what: str, read: Callable[[Gauges], Awaitable[None]], gauges: Gauges) -> None:
        try:
            await read(gauges)
        except PipelineError as error:
            log.warning("metric_not_read", what=what, reason=str(error))

    async def _read_flows(self, gauges: Gauges) -> None:
        limiter = anyio.CapacityLimiter(CONCURRENT_FLOWS)

        async def read(flow: Flow, movement: Movement, status: Status) -> None:
            async with limiter:
                await self._attempt(f"Flow {flow.name}", partial(self._read_movement, flow, movement, status), gauges)

        async with anyio.create_task_group() as group:
            for found in await read_latest(self._runtime, self._signs):
                if not isinstance(found, LatestMovement):
                    log.warning("metric_not_read", what=f"Flow {found.name}", reason=found.reason)
                elif found.movement is not None and found.state is not None:
                    name = f"metrics of {found.flow.name}"
                    group.start_soon(read, found.flow, found.movement, found.state.status, name=name)

    async def _read_movement(self, flow: Flow, movement: Movement, status: Status, gauges: Gauges) -> None:
        labels = {"flow": movement.flow}
        gauges["pipeline_movements"].append((1, {**labels, "status": status.value}))
        await self._read_ended(movement, gauges, labels)
        if not movement.settled:
            age = (self._runtime.clock.now() - movement.created).total_seconds()
            gauges["pipeline_movement_age_seconds"].append((age, labels))
            await self._read_outstanding(flow, movement, gauges, labels)

    async def _read_ended(self, latest: Movement, gauges: Gauges, labels: Mapping[str, str]) -> None:
        """Add the last success, and the rejected records of the latest Movement that has settled."""
        flow, number = latest.flow, latest.number
        known, success = self._ended.get(flow, (0, None))
        settled: Movement | None = None
        if known > number:  # the Flow was removed and created again
            known, success = 0, None
        for earlier in range(number, max(known - 1, number - SUCCESS_SOUGHT, 0), -1):
            movement = latest if earlier == number else await self._read_earlier(flow, earlier)
            if movement is None:
                break
            if movement.compaction:
                continue
            settled = settled or (movement if movement.settled else None)
            if movement.outcome is Status.SUCCESS:
                success = movement.updated.timestamp()
                break
        if settled is not None:
            self._ended[flow] = settled.number, success
            gauges["pipeline_set_aside_records"].append((settled.totals.rejected, labels))
        if success is not None:
            gauges["pipeline_last_success_timestamp_seconds"].append((success, labels))

    async def _read_earlier(self, flow: FlowName, number: int) -> Movement | None:
        try:
            return await self._runtime.flows.read_movement(flow, number)
        except AbsentError:  # a Flow that was rebuilt has no earlier ones
            return None

    async def _read_outstanding(
        self, flow: Flow, movement: Movement, gauges: Gauges, labels: Mapping[str, str]
    ) -> None:
        groups = await self._listings.groups(flow, movement)
        if groups.unknown_because or groups.more:
            reason = groups.unknown_because or f"{groups.more} groups are not counted yet; the next times read them"
            log.warning("metric_not_read", what=f"Event Files of Flow {flow.name}", reason=reason)
            return
        files, size = outstanding(movement, groups.counts)
        gauges["pipeline_files_outstanding"].append((files, labels))
        gauges["pipeline_bytes_outstanding"].append((size, labels))

    async def _read_queue(
        self, name: str, opening: Callable[[], AbstractAsyncContextManager[EventQueue]], gauges: Gauges
    ) -> None:
        async with opening() as queue:
            depth = await queue.depth()
        counts: dict[str, float] = {"visible": depth.waiting, "inflight": depth.in_flight, "dead": depth.dead}
        if depth.oldest_seconds is not None:
            counts["oldest_seconds"] = depth.oldest_seconds
        for what, value in counts.items():
            gauges[f"pipeline_queue_{what}"].append((value, {"queue": name}))

    async def _read_notifications(self, gauges: Gauges) -> None:
        for endpoint, count in (await count_pending(self._runtime)).items():
            gauges["pipeline_notifications_pending"].append((count, {"endpoint": endpoint}))
