"""The notifier, with receivers that answer, fail, come back, and never come back, in virtual time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise

import anyio
import pytest

from pipeline.domain.errors import TransientError
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.lifecycle.status import Reason, Status
from pipeline.domain.notifications.delivery import DISABLE_AFTER, DOWN_AFTER, Answer, NotDelivered
from pipeline.domain.notifications.endpoint import PROFILES
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.domain.outbox.transitions import settled
from pipeline.engine.movements.lifecycle import begin_movement, end_movement
from pipeline.engine.notifications.notifier import IDLE_LOOKS
from pipeline.ports.object_store import StoredObject
from pipeline.ports.sender import Notification
from tests.engine.long_flow import CountingStore
from tests.fakes.passing import PassingStore
from tests.loops import on_trio
from tests.notifications.world import FLOW, NOTIFY_SECONDS, Receiver, World, refusing, subjects, taking

DAY = 86_400.0


@on_trio
async def test_every_event_arrives_once_and_in_the_form_of_cloudevents() -> None:
    world = World()
    receiver = await world.add("ops")
    async with world.notifying():
        for _ in range(3):
            await world.movement()
            await anyio.sleep(30)
    expected = {("movement.started", number) for number in (1, 2, 3)} | {("movement.settled", n) for n in (1, 2, 3)}
    assert Counter(subjects(receiver)) == Counter(expected)


@on_trio
async def test_an_endpoint_gets_the_flows_and_types_that_it_wants() -> None:
    world = World()
    one = await world.add("one", flows=("erp*",))
    other = await world.add("other", types=("movement.settled",))
    async with world.notifying():
        await world.movement(FLOW)
        await world.movement(FlowName("erp 1"))
        await anyio.sleep(120)
    assert {"movement.started", "movement.settled"} == set(one.types)
    assert len(one.got) == 2
    assert other.types == ["movement.settled", "movement.settled"]


@on_trio
async def test_a_receiver_that_fails_gets_the_event_again_after_the_pauses_of_the_schedule() -> None:
    world = World()
    receiver = await world.add("ops", Receiver(refusing), types=("movement.settled",))
    await world.add("fine")
    async with world.notifying():
        await world.movement()
        await anyio.sleep(1.5 * DAY)
    moments = [moment for moment, _ in receiver.asked]
    tried = moments[: PROFILES["standard"].tries]
    pauses = [(after - before).total_seconds() for before, after in pairwise(tried)]
    for pause, planned in zip(pauses, PROFILES["standard"].pauses, strict=True):
        assert 0.8 * planned <= pause <= 1.2 * planned + 60
    assert len({one.id for _, one in receiver.asked}) == 1


@on_trio
async def test_an_event_that_is_refused_while_others_are_taken_is_given_up_after_its_tries() -> None:
    world = World()

    def poisoned(notification: Notification) -> Answer:
        return refusing(notification) if notification.id == poison else taking(notification)

    receiver = await world.add("ops", Receiver(poisoned), profile="atlassian", types=("movement.settled",))
    event = await world.movement()
    poison = settled(event).id
    async with world.notifying():
        for _ in range(10):
            await anyio.sleep(60)
            await world.movement()
        await anyio.sleep(DAY)
    calls = [one.id for _, one in receiver.asked]
    assert calls.count(poison) == PROFILES["atlassian"].tries == 5
    assert len(receiver.got) == 10
    deliveries, _ = await world.endpoints.deliveries("ops")
    assert len(deliveries.given_up) == 1


@pytest.mark.parametrize("profile", sorted(PROFILES))
@on_trio
async def test_a_receiver_that_is_down_for_two_days_has_everything_when_it_is_back(profile: str) -> None:
    world = World()
    receiver = await world.add("ops", Receiver(refusing), profile=profile)
    async with world.notifying():
        for _ in range(48):
            await world.movement()
            await anyio.sleep(3600)
        asked = len(receiver.asked)
        assert asked < 200  # it is not hammered meanwhile
        receiver.answer = taking
        await anyio.sleep(DAY)
    assert Counter(subjects(receiver)) == Counter(
        {(type_, number): 1 for number in range(1, 49) for type_ in ("movement.started", "movement.settled")}
    )


@pytest.mark.slow
@on_trio
async def test_ten_thousand_events_wait_for_a_dead_receiver_at_little_cost() -> None:
    world = World()
    receiver = await world.add("ops", Receiver(refusing, seconds=5.0))
    await world.movement()
    now = world.clock.now()
    events = [OutboxEvent(EventType.FILE_FAILED, FLOW, 1, now, f"1/a/full/{at}") for at in range(10_000)]
    await world.flows.outbox.put(events)
    async with world.notifying():
        await anyio.sleep(1200)
        assert len(receiver.asked) < 50
        deliveries, _ = await world.endpoints.deliveries("ops")
        assert len(deliveries.retries) < 2 * DOWN_AFTER
        receiver.answer, receiver.seconds = taking, 0.0
        await anyio.sleep(7200)
    assert len(set(receiver.ids)) == len(receiver.ids) == 10_002


@pytest.mark.slow
@on_trio
async def test_a_receiver_that_takes_nothing_for_five_days_is_disabled_and_another_one_learns_of_it() -> None:
    world = World()
    receiver = await world.add("ops", Receiver(refusing))
    other = await world.add("other", types=("endpoint.*",))
    async with world.notifying():
        await world.movement()
        await anyio.sleep(DISABLE_AFTER.total_seconds() + DAY)
        asked = len(receiver.asked)
        await world.movement()
        await anyio.sleep(DAY)
    assert len(receiver.asked) == asked
    assert (await world.endpoints.read("ops")).disabled == "it has taken nothing for five days: it answered 500"
    assert other.types == ["endpoint.disabled"]
    async with world.notifying():
        await world.endpoints.update("ops", lambda one: replace(one, disabled=""))
        receiver.answer = taking
        await anyio.sleep(DAY)
    assert len(set(receiver.ids)) == 5  # nothing is lost: two Movements, and its own end


@on_trio
async def test_410_disables_at_once() -> None:
    world = World()
    receiver = await world.add("ops", Receiver(lambda _: NotDelivered("it answered 410 Gone", gone=True)))
    async with world.notifying():
        await world.movement()
        await anyio.sleep(3600)
    assert len(receiver.asked) <= 4
    assert (await world.endpoints.read("ops")).disabled == "it answered 410 Gone"


@on_trio
async def test_a_receiver_that_asks_for_a_pause_gets_it() -> None:
    world = World()
    busy = NotDelivered("it answered 429", retry_after=timedelta(hours=2))
    receiver = await world.add("ops", Receiver(lambda _: busy), types=("movement.settled",))
    async with world.notifying():
        await world.movement()
        await anyio.sleep(60)
        receiver.answer = taking
        await world.movement()
        await anyio.sleep(7000)
        assert receiver.got == []
        await anyio.sleep(400)
    assert len(receiver.got) == 2


@on_trio
async def test_a_slow_receiver_delays_no_other() -> None:
    world = World()
    await world.add("slow", Receiver(seconds=15.0))
    quick = await world.add("quick")
    begun, _ = await begin_movement(world.flows, await world.connected())
    now = world.clock.now()
    events = [OutboxEvent(EventType.FILE_FAILED, FLOW, 1, now, f"1/a/full/{at}") for at in range(100)]
    await world.flows.outbox.put(events)
    async with world.notifying():
        await anyio.sleep(30)
        assert len(quick.got) == 101
        await end_movement(world.flows, begun, Status.TIMED_OUT, Reason.TOO_OLD)
        await anyio.sleep(10)
        assert len(quick.got) == 102


@on_trio
async def test_two_notifiers_deliver_once_and_one_takes_over_from_a_dead_one() -> None:
    world = World()
    receiver = await world.add("ops")
    async with world.notifying("one", "two"):
        for _ in range(20):
            await world.movement()
            await anyio.sleep(20)
        await anyio.sleep(120)
    repeated = [id_ for id_, count in Counter(receiver.ids).items() if count > 1]
    assert len(set(receiver.ids)) == 40
    assert len(repeated) <= 2  # both may begin with the same event, before one of them has stored that it serves
    async with world.notifying("three"):
        await world.movement()
        await anyio.sleep(300)
    assert len(set(receiver.ids)) == 42


@on_trio
async def test_a_notifier_that_stops_in_the_middle_loses_nothing() -> None:
    world = World()
    receiver = await world.add("ops", Receiver(seconds=3.0))
    for _ in range(20):
        await world.movement()
    for _ in range(30):
        async with world.notifying():
            await anyio.sleep(7)
    assert len(set(receiver.ids)) == 40


@on_trio
async def test_an_idle_notifier_asks_little() -> None:
    """The numbers that docs/how-to/notifications.md names."""
    world = World()
    for number in range(5):
        await world.add(f"endpoint{number}")
        await world.movement(FlowName(f"flow {number}"))
    counted = CountingStore(world.store)
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(world.notifier("one", counted).run, stop)
        await anyio.sleep(3600)
        counted.requests.clear()
        await anyio.sleep(3600)
        stop.set()
    assert counted.requests.total() / 60 <= 1 + 2 * 5 + (5 + 1) + (5 + 1)
    assert set(counted.requests) == {"list", "get"}


@on_trio
async def test_a_notifier_without_endpoints_sends_one_request_a_minute() -> None:
    world = World()
    await world.movement()
    counted = CountingStore(world.store)
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(world.notifier("one", counted).run, stop)
        await anyio.sleep(3600)
        counted.requests.clear()
        await anyio.sleep(3600)
        stop.set()
    assert counted.requests.total() <= 3600 / (IDLE_LOOKS * NOTIFY_SECONDS) + 1


@dataclass
class Silent(PassingStore):
    """Does not answer the first reads of events."""

    silent: int = 3

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        if "/outbox/" in key and self.silent:
            self.silent -= 1
            raise TransientError(f"{key} was not read")
        return await self.inner.get(key, max_bytes=max_bytes)


@on_trio
async def test_a_store_that_does_not_answer_for_a_while_ends_no_notifier() -> None:
    world = World()
    receiver = await world.add("ops")
    await world.movement()
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(world.notifier("one", Silent(world.store)).run, stop)
        await anyio.sleep(300)
        stop.set()
    assert len(set(receiver.ids)) == 2
