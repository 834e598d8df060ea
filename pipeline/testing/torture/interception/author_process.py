"""A simulated process that runs an author's functions, which may be befallen by more than a port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from anyio.lowlevel import checkpoint

from pipeline.kit.errors import Again
from pipeline.testing.simulated.calls import Work
from pipeline.testing.simulated.faults import Fault, Kind
from pipeline.testing.simulated.process import Process


async def _nothing_changes(fault: Fault) -> None:
    await checkpoint()


@dataclass
class AuthorProcess(Process):
    """A process. `change` changes the data of the app that is read."""

    change: Callable[[Fault], Awaitable[None]] = _nothing_changes

    async def _before(
        self,
        name: str,
        fault: Fault,
        work: Work[object],
        halfway: Work[object] | None,
        lost: Callable[[str], Exception],
    ) -> None:
        match fault.kind:
            case Kind.WAIT:
                raise Again(after=fault.seconds)
            case Kind.HALF:
                if halfway is not None:
                    await halfway()
                raise lost(f"{name} was broken off")
            case Kind.CHANGE:
                await self.change(fault)
            case _:
                await super()._before(name, fault, work, halfway, lost)
