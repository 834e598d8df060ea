"""What workers have written of Movements: of one with very many workers, each answer reads some."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import anyio

from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.movement import Movement
from pipeline.engine.movements.flow_store import FlowStore, WorkerSign
from pipeline.engine.storage.concurrently import concurrently
from pipeline.ports.object_store import ObjectInfo

MOST_READ, MOST_READ_FOR_STATE = 4, 2
"""Documents of workers that an answer reads, or one that needs the state alone. It has the others as they were read before."""
KEPT_MOVEMENTS = 100


@dataclass(frozen=True, slots=True)
class Signs:
    """What was read of the workers of Movements."""

    flows: FlowStore
    _kept: OrderedDict[tuple[FlowName, int], dict[ObjectKey, tuple[float, WorkerSign]]] = field(
        default_factory=OrderedDict
    )

    async def of_open(self, movement: Movement) -> Sequence[WorkerSign]:
        """Return the signs of the workers in a Movement; none of one that has settled, where none counts."""
        if movement.settled:
            return ()
        return (await self.read(movement.flow, movement.number, MOST_READ_FOR_STATE))[0]

    async def read(self, flow: FlowName, number: int, most: int = MOST_READ) -> tuple[Sequence[WorkerSign], int]:
        """Return the signs of the workers in a Movement, and how many workers more there are, which no answer has read yet."""
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
        for info, sign in zip(due, await concurrently(self.flows.read_sign, due, MOST_READ), strict=True):
            kept[info.key] = now, sign
        found = [replace(kept[info.key][1], stored=info.modified) for info in infos if info.key in kept]
        return found, len(infos) - len(found)
