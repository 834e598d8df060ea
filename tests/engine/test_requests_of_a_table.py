"""What a table more costs in requests to the store and the queue: a Movement of many tables takes as many times that."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.domain.planning import group_counts
from pipeline.testing.simulated.calls import Faults
from tests.engine.mover_world import World
from tests.engine.wider_world import numbered
from tests.loops import on_trio

FEW, MANY = 2, 5


async def requests(world: World) -> Counter[str]:
    """Move, and return the number of requests of each kind."""
    faults = Faults()
    await world.move(faults)
    calls = [call.split() for call in faults.trace if call.startswith("before")]
    return Counter(call[1] for call in calls if call[1].startswith(("store.", "queue.")))


async def of_a_table(movements: int) -> dict[str, int]:
    """Return the requests that one table more takes in the last one of these Movements."""
    found = []
    for tables in (FEW, MANY):
        world = World({f"table_{number}": numbered(1, 2, 3) for number in range(tables)})
        for _ in range(movements - 1):
            await world.move()
        found.append(await requests(world))
    few, many = found
    return {kind: (many[kind] - few[kind]) // (MANY - FEW) for kind in sorted(many) if many[kind] != few[kind]}


@pytest.fixture(params=["few groups", "very many groups"])
def _groups(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "very many groups":
        monkeypatch.setattr(group_counts, "MOST_GROUPS", 1)


@pytest.mark.usefixtures("_groups")
@pytest.mark.parametrize("movement", [3, 4])
@on_trio
async def test_an_unchanged_table_takes_two_reads_and_no_write(movement: int) -> None:
    assert await of_a_table(movement) == {
        "store.get": 1,  # its File List
        "store.open_stream": 1,  # its state
        "store.read": 1,
    }


@pytest.mark.usefixtures("_groups")
@on_trio
async def test_a_new_table_reads_nothing_that_was_just_written_but_its_event_file() -> None:
    assert await of_a_table(1) == {
        "queue.acknowledge": 1,
        "queue.receive": 1,
        "queue.send": 1,
        "store.delete": 1,  # its failure, if there was one
        "store.get": 2,  # its File List, and movement.json before an event is noted
        "store.open_stream": 1,
        "store.put": 6,  # part of the state, Event File, File List, movement.json, two events
        "store.read": 1,
        "store.upload": 1,  # its state
    }
