"""Reloading a stream: a Movement that exports all of its rows again, and deletes those that are gone.

The stored state keeps its keys and gets hashes that no row has. So the diff finds every row changed, and every key that the
source no longer has deleted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from glob import escape

from pipeline.domain import object_keys
from pipeline.domain.comparison.diff import StateRange
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.movement import Movement
from pipeline.domain.schema import StreamSchema
from pipeline.engine.control.reruns import latest_for
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import next_movement
from pipeline.engine.storage.snapshot_state import SnapshotState
from pipeline.engine.verify.repair import Invalidations, store_invalidated
from pipeline.ports.clock import Clock
from pipeline.ports.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class _Forgotten:
    """The stored state of a stream, with hashes that no row has."""

    state: SnapshotState

    @property
    def stream(self) -> StreamName:
        """The name of the stream."""
        return self.state.stream

    async def schema(self) -> StreamSchema | None:
        """The schema of the stream."""
        return await self.state.schema()

    async def ranges(self) -> AsyncGenerator[StateRange, None]:
        """Yield the ranges."""
        async with aclosing(self.state.ranges()) as ranges:
            async for part in ranges:
                hashes = bytes(byte ^ 0xFF for byte in part.hashes)
                yield StateRange(part.until, hashes, part.load_keys)


async def begin_reload(
    store: ObjectStore, flows: FlowStore, clock: Clock, name: FlowName, stream: StreamName
) -> Movement:
    """Create the Movement that moves all of a stream again; return it, for a mover or a worker to take up.

    ConfigurationError when the Flow has never moved such a stream, or is derived, or its latest Movement has not settled.
    """
    flow, latest = await latest_for(flows, name, Verb.RELOAD)
    if flow.origin is not None:
        raise ConfigurationError(
            f"Flow {name!r} exports nothing of its own. Reload the stream in Flow {flow.origin!r}, which it imports from."
        )
    if stream not in latest.states:
        known = ", ".join(map(repr, sorted(latest.states)[:20])) or "none yet"
        raise ConfigurationError(f"Flow {name!r} has moved no stream {stream!r}. It has moved {known}.")
    state = SnapshotState(store, name, stream, latest.states[stream])
    attempt = round(clock.now().timestamp() * 1000)  # different from any exporter's and from other reloads'
    key = object_keys.state_key(name, stream, latest.number + 1, attempt)
    keys = Invalidations()
    try:
        await store_invalidated(store, _Forgotten(state), keys, key)
    finally:
        keys.close()
    movement = replace(
        next_movement(flows, flow, latest), only=(escape(stream),), states={**latest.states, stream: key}
    )
    await flows.create(movement, latest)
    return movement
