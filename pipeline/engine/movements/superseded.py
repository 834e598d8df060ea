"""Deletes what later Movements have replaced and nothing reads any more, so that the store grows with what changed.

Pruning deletes all that is not needed, and needs every object's key for that. This looks at the two Movements before the
present one alone, and costs a few requests. Until the present one has settled, no other begins. So none can take up what
is deleted here, and every name here has the number of its Movement in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError, PipelineError
from pipeline.domain.ids import ObjectKey
from pipeline.domain.movement import Movement
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.storage.concurrently import concurrently
from pipeline.log_events import log
from pipeline.ports.object_store import list_pages

CONCURRENT_DELETES = 8


async def delete_superseded(context: EngineContext, movement: Movement) -> None:
    """Delete the snapshot states that the Movement before `movement` has replaced, and the parts of its own.

    What cannot be deleted is logged and left to `pipeline prune`.
    """
    try:
        await concurrently(partial(_delete, context), await _superseded(context, movement), CONCURRENT_DELETES)
    except PipelineError as error:
        log.info("superseded_objects_kept", flow=movement.flow, reason=str(error))


async def _delete(context: EngineContext, key: ObjectKey) -> None:
    try:
        await context.store.delete(key)
    except PipelineError as error:
        log.info("superseded_object_kept", key=key, reason=str(error))


async def _superseded(context: EngineContext, movement: Movement) -> Sequence[ObjectKey]:
    if movement.number == 1:
        return []
    before = await context.flows.read_movement(movement.flow, movement.number - 1)
    if not before.exported or before.unfinished:
        return []
    parts = [
        info.key
        async for page in list_pages(context.store, object_keys.state_parts_prefix(movement.flow, before.number))
        for info in page
    ]
    return [*parts, *await _replaced_states(context, before)]


async def _replaced_states(context: EngineContext, before: Movement) -> Sequence[ObjectKey]:
    if before.number == 1:
        return []
    try:
        earlier = await context.flows.read_movement(before.flow, before.number - 1)
    except AbsentError:  # a person or an expiry rule has taken it away
        return []
    return [key for stream, key in earlier.states.items() if before.states.get(stream) != key]
