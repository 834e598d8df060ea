"""How far a Movement of several workers is: shown once it is exported, never falling, with a range that holds what comes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import anyio

from pipeline.domain.errors import TransientError
from pipeline.domain.ids import Label
from pipeline.domain.lifecycle.status import Status
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.progress.shown import ShownProgress
from pipeline.testing.simulated.calls import Faults, Work
from tests.engine.fleet import LIMITS, Fleet, WorkerProcess, numbered
from tests.engine.lifecycle.slow import latest, progress, slow_destination, wish
from tests.engine.mover_world import FLOW
from tests.loops import on_trio

T = TypeVar("T")


@dataclass
class Outage(Faults):
    """The destination does not say what it has while `is_down`."""

    is_down: bool = False

    async def call(self, name: str, work: Work[T], halfway: Work[object] | None = None) -> T:
        if self.is_down and name.startswith("destination.marks"):
            raise TransientError("the destination does not answer")
        return await super().call(name, work, halfway)


async def watched(fleet: Fleet, number: int) -> list[tuple[float, ShownProgress]]:
    """Look every second until the Movement has settled."""
    seen = []
    while not (await latest(fleet)).settled:
        movement = await fleet.flows.read_movement(FLOW, number)
        if (shown := await progress(fleet)) is not None:
            assert movement.exported
            seen.append((anyio.current_time(), shown))
        await anyio.sleep(1)
    return seen


@on_trio
async def test_the_percent_of_a_fleet_never_falls_and_its_time_left_holds_what_comes() -> None:
    fleet = Fleet(numbered(400), destination=slow_destination(), limits=replace(LIMITS, importers=2))
    async with fleet.workers(WorkerProcess(fleet, "one"), WorkerProcess(fleet, "two")):
        seen = await watched(fleet, (await fleet.start()).number)
    ended = anyio.current_time()
    percents = [shown.percent for _, shown in seen]
    assert percents == sorted(percents)
    assert (min(percents) < 20, max(percents) > 90, max(percents) < 100) == (True, True, True)
    ranges = [(ended - at, shown.left) for at, shown in seen if shown.left is not None and shown.percent < 90]
    held = [left.low <= came <= left.high for came, left in ranges]
    assert len(held) > 20
    assert sum(held) >= 0.8 * len(held)
    kept = (await latest(fleet)).shown
    assert [shown.percent for shown in kept] == [25, 50, 75]
    assert all(
        shown.at is not None and shown.came is not None and shown.low <= shown.came <= shown.high for shown in kept
    )


@on_trio
async def test_only_what_is_pending_counts_and_a_worker_that_opens_its_destination_again_goes_on_counting() -> None:
    fleet = Fleet(numbered(120), destination=slow_destination(), limits=replace(LIMITS, importers=1))
    async with fleet.workers(WorkerProcess(fleet, "one")):
        assert (await fleet.settled((await fleet.start()).number)).status is Status.SUCCESS
        fleet.tables["a"].update(dict.fromkeys(range(40), "y"))
        number = (await fleet.start()).number
        pending = (await fleet.exported(number)).added[Label("a")].files
        before = len(fleet.destination.loads)
        await anyio.sleep(10)
        await wish(fleet, Verb.PAUSE)
        await anyio.sleep(60)  # the destination is closed meanwhile
        paused = await progress(fleet)
        assert paused is not None
        assert (paused.paused, paused.left) == (True, None)
        assert paused.percent == 100 * (len(fleet.destination.loads) - before) // pending > 0
        resumed = await fleet.flows.store_clock.now(FLOW)
        await wish(fleet, Verb.RESUME)
        percents = [shown.percent for _, shown in await watched(fleet, number)]
    assert min(percents) >= paused.percent
    assert percents == sorted(percents)
    shown = (await latest(fleet)).shown
    assert all(one.at is not None and one.at >= resumed for one in shown)  # the pause is in no score


@on_trio
async def test_a_worker_goes_on_counting_though_its_destination_did_not_answer_when_it_was_opened_again() -> None:
    fleet, outage = Fleet(numbered(120), destination=slow_destination(), limits=replace(LIMITS, importers=1)), Outage()
    async with fleet.workers(WorkerProcess(fleet, "one", faults=outage)):
        number = (await fleet.start()).number
        await fleet.exported(number)
        await anyio.sleep(10)
        await wish(fleet, Verb.PAUSE)
        await anyio.sleep(60)  # the destination is closed meanwhile
        paused = await progress(fleet)
        outage.is_down = True
        await wish(fleet, Verb.RESUME)
        await anyio.sleep(40)
        outage.is_down = False
        percents = [shown.percent for _, shown in await watched(fleet, number)]
    assert paused is not None
    assert min(percents) >= paused.percent > 0
    assert percents == sorted(percents)
