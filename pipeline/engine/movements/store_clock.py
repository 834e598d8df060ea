"""The clock of the store: the dates that it gives to objects. No machine's own clock decides about a Movement."""

from __future__ import annotations

from datetime import datetime, timedelta

import anyio

from pipeline.domain import object_keys
from pipeline.domain.errors import TransientError
from pipeline.domain.ids import FlowName
from pipeline.ports.object_store import ObjectStore, PutCondition

READ_AGAIN_SECONDS = 300.0
"""A reading is carried on for this long by the time that has passed here, which no change of a clock affects."""


class StoreClock:
    """Tells the time of a store. A reading costs a put and a look at an object of the Flow."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._read: tuple[datetime, float] | None = None

    async def now(self, flow: FlowName) -> datetime:
        """Return the present time, by the clock of the store."""
        passed = anyio.current_time()
        if self._read is None or passed - self._read[1] > READ_AGAIN_SECONDS:
            key = object_keys.clock_key(flow)
            await self._store.put(key, b"The date of this object is the time of the store.\n", PutCondition.NONE)
            info = await self._store.stat(key)
            if info is None:
                raise TransientError(f"{key} was deleted as soon as it was stored: the Flow {flow!r} is being removed.")
            self._read = info.modified, passed
        return self._read[0] + timedelta(seconds=passed - self._read[1])
