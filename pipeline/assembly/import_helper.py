"""A subprocess that helps `pipeline move` to import while the parent reads the source."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio

from pipeline.assembly.runtime import open_runtime
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Movement
from pipeline.ports.destination import Destination
from pipeline.ports.reporter import SilentReporter
from pipeline.settings import Settings

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from pipeline.engine.imports.import_helper import HelperEvent

JOIN_SECONDS = 20.0
"""How long the helper may take to end its transactions when it is no longer needed before it is killed."""


async def read_events(events: AsyncIterable[HelperEvent]) -> AsyncGenerator[HelperEvent, None]:
    """Give the events of the helper as they happen: the one request to the subprocess."""
    async for event in events:
        yield event


@dataclass(frozen=True, slots=True)
class ImportHelper:
    """Imports Movements of a Flow, in a subprocess. `make_destination` must be picklable."""

    flow: FlowName
    make_destination: Callable[[], Destination]
    settings: Settings

    @asynccontextmanager
    async def open(self, movement: Movement) -> AsyncIterator[AsyncIterator[HelperEvent]]:
        """Start the subprocess and wait until it imports; give its events."""
        from pipeline.processes.channel import open_subprocess  # most Movements need no helper

        start, purpose = partial(self.run, movement.number), f"imports Flow {self.flow!r}"
        async with (
            open_subprocess(start, purpose, JOIN_SECONDS) as helper,
            aclosing(helper.stream(read_events).values()) as events,
        ):
            yield events

    @asynccontextmanager
    async def run(self, number: int, closed: anyio.Event) -> AsyncIterator[AsyncIterable[HelperEvent]]:
        """Import in this process until `closed` is set, then end what is in progress."""
        from pipeline.engine.imports.import_helper import HelperEvent, run_helper

        async with (
            open_runtime(self.settings) as runtime,
            runtime.flow_context(self.flow, SilentReporter()) as context,
        ):
            flow = await runtime.flows.read_flow(self.flow)
            movement = await runtime.flows.read_movement(self.flow, number)
            send, events = anyio.create_memory_object_stream[HelperEvent](math.inf)
            async with (
                self.make_destination().open(flow.marks_namespace) as session,
                anyio.create_task_group() as group,
            ):

                async def help_(*, task_status: TaskStatus[None]) -> None:
                    report, declared = send.send_nowait, flow.declared
                    await run_helper(
                        context, movement, session, report, closed, declared=declared, task_status=task_status
                    )
                    send.close()

                await group.start(help_)
                yield events
