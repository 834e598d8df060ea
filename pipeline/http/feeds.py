"""The events of Flows as they come. However many clients follow a Flow, its events are read once a second."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from pipeline.assembly.commands.history import read_history
from pipeline.assembly.runtime import Runtime
from pipeline.domain.ids import FlowName
from pipeline.domain.outbox.event import OutboxEvent

REFRESH_SECONDS = 1.0


class Feed:
    """The events of the latest Movements of one Flow."""

    def __init__(self, runtime: Runtime, flow: FlowName) -> None:
        self._runtime, self._flow = runtime, flow
        self._reading = anyio.Lock()
        self._read_at = float("-inf")
        self._events: Sequence[OutboxEvent] = ()

    async def events(self) -> Sequence[OutboxEvent]:
        """Return the events of the latest Movement and the one before it, oldest first, at most a second old."""
        async with self._reading:
            if anyio.current_time() - self._read_at >= REFRESH_SECONDS:
                latest = (await self._runtime.flows.read_flow(self._flow)).movements
                found: list[OutboxEvent] = []
                for number in range(max(latest - 1, 1), latest + 1):
                    found += (await read_history(self._runtime, self._flow, number)).events
                self._events, self._read_at = found, anyio.current_time()
        return self._events


class Feeds:
    """The feeds of all Flows."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._feeds: dict[FlowName, Feed] = {}

    def of(self, flow: FlowName) -> Feed:
        """Return the feed of a Flow."""
        if flow not in self._feeds:
            self._feeds[flow] = Feed(self._runtime, flow)
        return self._feeds[flow]
