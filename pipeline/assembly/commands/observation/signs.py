"""What workers have written of Movements: of one with very many workers, each answer reads some."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import anyio

from pipeline.assembly.commands.observation.listings import is_large
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.movement import Movement
from pipeline.engine.movements.flow_store import FlowStore, WorkerSign
from pipeline.engine.storage.concurrently import concurrently
from pipeline.ports.object_store import ObjectInfo

MOST_READ, MOST_READ_OF_LARGE = 10, 2
"""Documents of workers that one answer reads. It has the others as earlier ones have read them."""
KEPT_MOVEMENTS = 100


@dataclass(frozen=True, slots=True)
class Signs:
    """What was read of the workers of Movements."""

    flows: FlowStore
    _kept: OrderedDict[tuple[FlowName, int], dict[ObjectKey, tuple[float, WorkerSign]]] = field(
        default_factory=OrderedDict
    )

    async def of_open(self, movement: Movement) -> tuple[Sequence[WorkerSign], int]:
        """Return the same as `read`, but nothing of a Movement that has settled, where no sign counts."""
        return ((), 0) if movement.settled else await self.read(movement)

    async def read(self, movement: Movement) -> tuple[Sequence[WorkerSign], int]:
        """Return the signs of the workers in a Movement, and how many workers more there are, which no answer has read yet."""
        flow, number = movement.flow, movement.number
        most = MOST_READ_OF_LARGE if is_large(number, movement) else MOST_READ
        infos = await self.flows.list_signs(flow, number)
        kept = self._kept.setdefault((flow, number), {})
        self._kept.move_to_end((flow, number))
        if len(self._kept) > KEPT_MOVEMENTS:
            self._kept.popitem(last=False)

        def age(info: ObjectInfo) -> tuple[bool, bool, float]:
            if info.key not in kept:
                return False, False, -info.modified.timestamp()
            read_at, sign = kept[info.key]
            return True, sign.stored == info.modified, read_at

        due = sorted(infos, key=age)[:most]
        now = anyio.current_time()
        for info, sign in zip(due, await concurrently(self.flows.read_sign, due, most), strict=True):
            kept[info.key] = now, sign
        found = [replace(kept[info.key][1], stored=info.modified) for info in infos if info.key in kept]
        return found, len(infos) - len(found)
