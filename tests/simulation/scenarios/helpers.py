"""Help for a Mover from a process of its own, which dies, is stopped and goes on like any other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import anyio
import trio

from pipeline.domain.errors import TransientError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.movement import Movement
from pipeline.engine.imports.import_helper import HelperEvent, run_helper
from pipeline.testing.simulated.process import Process
from tests.simulation.platform.plan import FLOW
from tests.simulation.scenarios.world import World

JOIN_SECONDS = 20.0
"""How long the process that started the helper waits for its end."""


@dataclass
class _Line:
    """What the helper tells, on its way. A process that is gone tells nothing, whatever is unwound in it.

    `answered` is set when it is `ready`, or has ended without.
    """

    process: Process
    ready: bool = False
    answered: trio.Event = field(default_factory=trio.Event)
    hung_up: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[HelperEvent](100_000)

    def tell(self, told: HelperEvent) -> None:
        """Tell it."""
        if not (self.process.dead or self.hung_up.is_set()):
            self.send.send_nowait(told)

    async def told(self) -> AsyncGenerator[HelperEvent, None]:
        """Give what was told until the helper has ended."""
        async for told in self.receive:
            yield told


@dataclass
class SimulatedHelp:
    """Starts a helper when `asked_by` wants one."""

    world: World
    asked_by: Process

    @asynccontextmanager
    async def open(self, movement: Movement) -> AsyncIterator[AsyncIterator[HelperEvent]]:
        """Start a process, and wait until it is at work."""
        process = self.world.process("helper")
        line = _Line(process)

        async def main() -> None:
            try:
                with unwrap_exception_group():
                    await self._help(movement, line)
            finally:
                line.answered.set()
                line.send.close()

        self.world.start(process, main)
        try:
            await line.answered.wait()
            if not line.ready:
                raise TransientError("the process that was to help importing has ended before it began")
            async with aclosing(line.told()) as told:
                yield told
        finally:
            line.hung_up.set()
            if not self.asked_by.dead:
                with trio.CancelScope(shield=True), trio.move_on_after(JOIN_SECONDS):
                    await process.ended.wait()
                process.dead = True  # it is killed if it is still there

    async def _help(self, movement: Movement, line: _Line) -> None:
        parts = self.world.context(line.process)
        destination = self.world.destination(FLOW, line.process)
        flow = await parts.flows.read_flow(FLOW)
        async with destination.open(flow.marks_namespace) as session, anyio.create_task_group() as group:
            await group.start(run_helper, parts, movement, session, line.tell, line.hung_up)
            line.ready = True
            line.answered.set()
