"""What an idle worker asks the store and the queues for, and what its health says when they do not answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import anyio
import pytest

from pipeline.domain import object_keys
from pipeline.domain.errors import TransientError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Status
from pipeline.engine.movements.answers import ANSWER_SECONDS, FAILING_SECONDS, Answers
from pipeline.engine.workers.unsettled import FLOWS_A_LOOK
from pipeline.ports.event_queue import Message
from pipeline.ports.object_store import PutCondition
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from tests.engine.fleet import Fleet, WorkerProcess, numbered
from tests.engine.mover_world import FLOW
from tests.loops import on_trio

FLOWS = 5


class CountingQueue(MemoryEventQueue):
    """Counts the requests for messages, which are billed also when none comes."""

    receives = 0

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        self.receives += 1
        return await super().receive(max_messages=max_messages, wait_seconds=wait_seconds)


async def unreachable() -> None:
    raise TransientError("unreachable")


@on_trio
async def test_an_idle_worker_asks_little() -> None:
    """The numbers that docs/reference/queue.md names. The docs count prices by them."""
    queue, exports = CountingQueue(), CountingQueue()
    fleet = Fleet(numbered(4), queue=queue, exports=exports)
    worker = WorkerProcess(fleet, "one")
    async with fleet.workers(worker):
        assert (await fleet.settled((await fleet.start()).number)).status is Status.SUCCESS
        flow = await fleet.flows.read_flow(FLOW)
        for number in range(1, FLOWS):
            await fleet.flows.connect(FlowName(f"crm{number}"), flow.source, flow.destination)
        await anyio.sleep(1200)
        worker.faults.trace.clear()
        queue.receives = exports.receives = 0
        await anyio.sleep(3600)
    asked = Counter(call.split()[1] for call in worker.faults.trace if call.startswith("before"))
    assert queue.receives + exports.receives <= 2 * 3600 / 20 + 2
    assert asked.pop("store.list_folders") <= 3600 / 300 + 1
    assert asked.pop("store.stat") + asked.pop("store.get") <= FLOWS * (3600 / 60 + 4 * 3600 / 300)
    assert not asked


@on_trio
async def test_the_requests_of_an_idle_worker_are_bounded_however_many_flows_there_are() -> None:
    fleet = Fleet(numbered(4))
    for number in range(5 * FLOWS_A_LOOK):
        await fleet.flows.connect(FlowName(f"crm{number:04}"), "there", f"elsewhere{number}")
    worker = WorkerProcess(fleet, "one")
    async with fleet.workers(worker):
        await anyio.sleep(1200)
        worker.faults.trace.clear()
        await anyio.sleep(3600)
    asked = Counter(call.split()[1] for call in worker.faults.trace if call.startswith("before"))
    assert 60 * FLOWS_A_LOOK <= asked.total() <= 60 * (4 * FLOWS_A_LOOK + 2)


@on_trio
async def test_a_lost_message_is_found_among_many_flows() -> None:
    """Two workers look at the Flows in an order of their own, and each comes to all of them."""
    fleet = Fleet(numbered(4))
    for number in range(3 * FLOWS_A_LOOK):
        await fleet.flows.connect(FlowName(f"crm{number:04}"), "there", f"elsewhere{number}")
    async with fleet.workers(WorkerProcess(fleet, "one"), WorkerProcess(fleet, "two")):
        await anyio.sleep(1200)
        started = await fleet.start_unannounced()
        assert (await fleet.settled(started.number, within_seconds=600)).status is Status.SUCCESS


@on_trio
async def test_a_movement_whose_message_was_lost_is_found_by_an_idle_worker() -> None:
    fleet = Fleet(numbered(4))
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await fleet.settled((await fleet.start()).number)
        await anyio.sleep(1200)
        fleet.tables["a"][1] = "changed"
        started = await fleet.start_unannounced()
        settled = await fleet.settled(started.number, within_seconds=180)
    assert settled.status is Status.SUCCESS


@on_trio
async def test_a_damaged_flow_hides_no_other_from_the_sweep() -> None:
    fleet = Fleet(numbered(4))
    await fleet.store.put(object_keys.flow_key(FlowName("broken")), b"{", PutCondition.NONE)
    async with fleet.workers(WorkerProcess(fleet, "one")):
        started = await fleet.start_unannounced()
        assert (await fleet.settled(started.number, within_seconds=600)).status is Status.SUCCESS


@on_trio
async def test_a_service_that_does_not_answer_is_missing_until_it_does() -> None:
    answers = Answers()
    with answers.asking("store"):
        await anyio.sleep(1)
    await anyio.sleep(10 * ANSWER_SECONDS)
    assert answers.missing() == []
    with answers.asking("store"):
        await anyio.sleep(ANSWER_SECONDS * 1.1)
        assert answers.missing() == ["store"]
    assert answers.missing() == []


@on_trio
async def test_a_service_that_fails_is_missing_sooner() -> None:
    answers = Answers()
    for _ in range(2):
        assert answers.missing() == []
        with pytest.raises(TransientError), answers.asking("store"):
            await unreachable()
        await anyio.sleep(FAILING_SECONDS * 0.6)
    assert answers.missing() == ["store"]
    with answers.asking("store"):
        pass
    assert answers.missing() == []
