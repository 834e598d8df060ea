"""A world whose texts are Binary Files."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.domain.movement import Movement
from pipeline.engine.movers.mover import Mover
from pipeline.testing.simulated.calls import Faults
from tests.engine.mover_world import FLOW
from tests.engine.wider_world import WiderWorld
from tests.fakes.source import MemorySource


@dataclass
class AttachmentWorld(WiderWorld):
    """A world of rows with Binary Files."""

    async def move(self, faults: Faults | None = None) -> Movement:
        """Move once in a process of its own."""
        faults = faults or Faults()
        source = MemorySource(self.tables, faults, is_file=lambda text: True)
        destination = replace(self.destination, calls=faults)
        return await Mover(self.context(faults), FLOW, source, destination, "worker").run(self.choices)

    async def packs(self) -> set[str]:
        """Return the keys of the Flow's packs."""
        return {key for key in await self.keys() if "/binaries/packs/" in key}
