"""The maintenance of Flows beside a long-running worker: one Flow after the other, after Movements that have settled."""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from pipeline.domain.ids import FlowName
from pipeline.engine.maintenance.automatic import AutomaticMaintenance
from pipeline.engine.messaging.stopping import run_until_set
from pipeline.engine.movements.context import EngineContext


class MaintenanceWorker:
    """Maintains each Flow of which `note` says that a further Movement has settled. It looks at nothing by itself."""

    def __init__(self, context: EngineContext, worker: str) -> None:
        self._maintenance = AutomaticMaintenance(context, f"{worker}:maintain")
        self._settled: dict[FlowName, int] = {}
        self._due: dict[FlowName, None] = {}
        self._noted = anyio.Event()

    def note(self, settled: Mapping[FlowName, int]) -> None:
        """Take note of the latest Movements that have settled. Of a Flow that is seen for the first time nothing is due."""
        for flow, number in settled.items():
            if self._settled.setdefault(flow, number) != number:
                self._settled[flow] = number
                self._due[flow] = None
                self._noted.set()

    async def run(self, stop: anyio.Event) -> None:
        """Work until `stop` is set; then end what is being done where it is: it does no harm."""
        await run_until_set(stop, self._run)

    async def _run(self) -> None:
        while True:
            await self._noted.wait()
            self._noted = anyio.Event()
            while self._due:
                flow = next(iter(self._due))
                del self._due[flow]
                await self._maintenance.run(flow)
