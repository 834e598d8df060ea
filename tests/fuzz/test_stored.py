"""One stored object is altered between two Movements: the next one refuses it by name, or settles correctly."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import PipelineError
from pipeline.domain.ids import ObjectKey
from pipeline.domain.movement import Movement, Status
from pipeline.ports.object_store import PutCondition
from tests.engine.mover_world import World
from tests.engine.wider_world import numbered
from tests.fuzz.holding import check_message, fuzz, in_time
from tests.fuzz.hostile import altered_bytes, documents
from tests.loops import run_on_trio


async def _moved() -> tuple[World, dict[ObjectKey, bytes]]:
    """Return a world with one settled and one interrupted Movement, and the objects in its store."""
    world = World({"a": numbered(*range(10)), "b": numbered(1, 2)})
    assert (await world.move()).status is Status.SUCCESS
    keys = [info.key for info in await world.store.list_page("")]
    return world, {key: (await world.store.get(key)).data for key in keys}


STORED = run_on_trio(_moved)[1]


def _alterations(key: ObjectKey) -> st.SearchStrategy[tuple[ObjectKey, bytes]]:
    data = STORED[key]
    altered = altered_bytes(data)
    if key.endswith(".json"):
        altered |= documents(orjson.loads(data))
    return st.tuples(st.just(key), altered)


@fuzz(0.6)
@given(st.sampled_from(sorted(STORED)).flatmap(_alterations), st.booleans())
def test_the_next_movement_refuses_an_altered_object_or_settles_correctly(
    alteration: tuple[ObjectKey, bytes], lost: bool
) -> None:
    key, data = alteration

    async def main() -> tuple[World, Movement | PipelineError]:
        world, _ = await _moved()
        world.tables["a"][3] = "changed"
        del world.tables["a"][4]
        if lost:  # with a new destination all stored objects are needed again
            world.destination.tables.clear()
            world.destination.marks.clear()
        await world.store.put(key, data, PutCondition.NONE)
        try:
            return world, await world.move()
        except PipelineError as error:
            return world, error

    with in_time():
        world, ended = run_on_trio(main)
    if isinstance(ended, PipelineError):
        check_message(ended)
    elif ended.status is Status.SUCCESS:
        assert world.destination.tables == world.tables
