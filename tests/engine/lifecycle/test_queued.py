"""Starts that are queued: each begins once, when the Movement before it has settled, whatever dies meanwhile."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from pipeline.domain import object_keys
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.lifecycle.status import Status
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.movement import NO_CHOICES, Choices, Flow, Movement
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.engine.control.queued import begin_queued, drop_queued, queue_start
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import next_movement, start_movement
from pipeline.engine.outbox.history import History
from pipeline.ports.object_store import PutCondition
from pipeline.testing.simulated.calling import CallingStore
from pipeline.testing.simulated.calls import CrashError, Faults
from tests.engine.fleet import LIMITS, Fleet, WorkerProcess, numbered
from tests.engine.lifecycle.slow import LOAD_SECONDS, cancel, latest, slow_destination, wish
from tests.engine.mover_world import FLOW
from tests.loops import on_trio


def fleet_of(rows: int = 40) -> Fleet:
    return Fleet(numbered(rows), destination=slow_destination(), limits=replace(LIMITS, importers=1))


async def queue(fleet: Fleet, choices: Choices = NO_CHOICES) -> tuple[Flow, Movement | None]:
    """Queue a start, as `pipeline start --queue` does."""
    flow = await queue_start(fleet.flows, FLOW, choices, "ann@ops")
    return flow, await begin_queued(fleet.flows, flow)


@on_trio
async def test_a_queued_start_begins_once_the_movement_before_it_has_settled() -> None:
    fleet = fleet_of()
    async with fleet.workers(WorkerProcess(fleet, "one"), WorkerProcess(fleet, "two")):
        first = await fleet.start()
        await anyio.sleep(2 * LOAD_SECONDS)
        flow, begun = await queue(fleet, Choices(exclude=("none",)))
        assert (begun, flow.queued is not None) == (None, True)
        fleet.tables["a"][1000] = "later"
        assert (await fleet.settled(first.number)).status is Status.SUCCESS
        await anyio.sleep(30)
        second = await fleet.settled(2)
        await anyio.sleep(600)
    assert (second.status, second.exclude) == (Status.SUCCESS, ("none",))
    assert fleet.destination.tables == fleet.tables
    after = await fleet.flows.read_flow(FLOW)
    assert (after.queued, after.movements) == (None, 2)


@on_trio
async def test_without_a_movement_in_work_a_queued_start_begins_at_once() -> None:
    fleet = fleet_of()
    await fleet.start()
    await wish(fleet, Verb.STOP)
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await fleet.settled(1)
    _, begun = await queue(fleet)
    assert begun is not None
    assert (begun.number, (await fleet.flows.read_flow(FLOW)).queued) == (2, None)


@on_trio
async def test_a_queued_start_does_not_wait_for_a_compaction_that_has_died() -> None:
    fleet = fleet_of()
    async with fleet.workers(WorkerProcess(fleet, "one")):
        first = await fleet.start()
        await anyio.sleep(2 * LOAD_SECONDS)
        await queue_start(fleet.flows, FLOW, NO_CHOICES, "ann@ops")
        await fleet.settled(first.number)
        flow = await fleet.flows.read_flow(FLOW)
        dead = replace(next_movement(fleet.flows, flow, await latest(fleet)), compaction=True)
        await fleet.flows.create(dead, await latest(fleet))  # before a worker has begun the queued start
        await anyio.sleep(60)
        await fleet.settled(dead.number + 1)
    assert (await fleet.flows.read_movement(FLOW, dead.number)).status is Status.CANCELLED
    assert (await fleet.flows.read_flow(FLOW)).queued is None


@on_trio
async def test_queueing_it_again_changes_nothing_and_other_choices_are_refused() -> None:
    fleet = fleet_of()
    await fleet.start()
    flow, _ = await queue(fleet, Choices(only=("a",)))
    again, _ = await queue(fleet, Choices(only=("a",)))
    assert again.queued == flow.queued
    with pytest.raises(
        ConfigurationError, match=r"A start is queued since .* by ann@ops, with --only a\. .*`pipeline stop"
    ):
        await queue(fleet)
    assert await drop_queued(fleet.flows, FLOW, "ann@ops")
    assert not await drop_queued(fleet.flows, FLOW, "ann@ops")
    assert (await fleet.flows.read_flow(FLOW)).queued is None


@on_trio
async def test_wherever_the_process_that_begins_it_dies_it_begins_once() -> None:
    probe = Faults()
    fleet, flow = await stopped_with_a_queued_start()
    assert await begin_queued(flows_of(fleet, probe), flow) is not None
    assert probe.calls > 10
    for moment in range(probe.calls):
        fleet, flow = await stopped_with_a_queued_start()
        with pytest.raises((CrashError, BaseExceptionGroup)):
            await begin_queued(flows_of(fleet, Faults(moment)), flow)
        for _ in range(2):
            await begin_queued(fleet.flows, await fleet.flows.read_flow(FLOW))
        assert ((await latest(fleet)).number, (await fleet.flows.read_flow(FLOW)).queued) == (2, None), moment


@on_trio
async def test_a_queued_start_is_told_of_wherever_a_process_dies() -> None:
    probe = Faults()
    fleet = fleet_of()
    await fleet.start()
    await queue_start(flows_of(fleet, probe), FLOW, NO_CHOICES, "ann@ops")
    assert probe.calls > 2
    for moment in range(probe.calls):
        fleet = fleet_of()
        await fleet.start()
        with pytest.raises((CrashError, BaseExceptionGroup)):
            await queue_start(flows_of(fleet, Faults(moment)), FLOW, NO_CHOICES, "ann@ops")
        flow = await fleet.flows.read_flow(FLOW)
        await wish(fleet, Verb.STOP)
        await cancel(fleet)
        begun = await begin_queued(fleet.flows, flow)
        told = await events(fleet, EventType.START_QUEUED)
        assert [event.subject for event in told] == ([flow.queued.when.isoformat()] if flow.queued else []), moment
        assert (begun is not None) is (flow.queued is not None)
        if begun is not None:
            assert told[0].data == {"who": "ann@ops"}
            *_, started = await events(fleet, EventType.MOVEMENT_STARTED)
            assert (started.movement, started.data) == (2, {"queued": told[0].subject})


@on_trio
async def test_a_process_that_was_stopped_begins_no_start_that_has_begun_or_was_taken_back() -> None:
    fleet, stale = await stopped_with_a_queued_start()
    assert await begin_queued(fleet.flows, stale) is not None
    await wish(fleet, Verb.STOP)
    await cancel(fleet)
    assert await begin_queued(fleet.flows, stale) is None
    await queue_start(fleet.flows, FLOW, NO_CHOICES, "ann@ops")
    stale = await fleet.flows.read_flow(FLOW)
    assert await drop_queued(fleet.flows, FLOW, "ann@ops")
    assert await begin_queued(fleet.flows, stale) is None
    assert (await latest(fleet)).number == 2


@on_trio
async def test_two_processes_that_die_do_not_let_a_start_begin_again() -> None:
    fleet, flow = await stopped_with_a_queued_start()
    for _ in range(2):  # the Movements 2, of the queued start, and 3; flow.json names neither
        stored = await fleet.store.get(object_keys.flow_key(FLOW))
        if await begin_queued(fleet.flows, flow) is None:
            await start_movement(fleet.flows, replace(flow, queued=None))
        await fleet.store.put(object_keys.flow_key(FLOW), stored.data, PutCondition.NONE)
        await wish(fleet, Verb.STOP)
        await cancel(fleet)
    assert (await latest(fleet)).number == 3
    await start_movement(fleet.flows, await fleet.flows.read_flow(FLOW))
    await wish(fleet, Verb.STOP)
    await cancel(fleet)
    assert await begin_queued(fleet.flows, await fleet.flows.read_flow(FLOW)) is None


@on_trio
async def test_taking_a_queued_start_back_is_told_of() -> None:
    fleet = fleet_of()
    await fleet.start()
    flow, _ = await queue(fleet, Choices(only=("a",)))
    assert flow.queued is not None
    await drop_queued(fleet.flows, FLOW, "bob@ops")
    queued, withdrawn = [
        *await events(fleet, EventType.START_QUEUED),
        *await events(fleet, EventType.START_WITHDRAWN),
    ]
    assert queued.data == {"only": ["a"], "who": "ann@ops"}
    assert withdrawn.data == {"queued": flow.queued.when.isoformat(), "who": "bob@ops"}


async def events(fleet: Fleet, type_: EventType) -> list[OutboxEvent]:
    """Return the events of a type, as `pipeline history` shows them."""
    timeline = await History(fleet.store, FLOW).read((await latest(fleet)).number)
    return [event for event in timeline.events if event.type is type_]


async def stopped_with_a_queued_start() -> tuple[Fleet, Flow]:
    """Return a Flow whose Movement was stopped while a start was queued."""
    fleet = fleet_of()
    await fleet.start()
    flow, _ = await queue(fleet)
    await wish(fleet, Verb.STOP)
    await cancel(fleet)
    return fleet, flow


def flows_of(fleet: Fleet, faults: Faults) -> FlowStore:
    """Return the Flows as a process sees them that may die."""
    return FlowStore(CallingStore(fleet.store, faults), fleet.clock)
