"""A store with Flows, endpoints, and receivers that answer as a test wants, on a virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

import anyio
import orjson

from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.status import Reason, Status
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.notifications.delivery import Answer, Delivered, Deliveries, NotDelivered
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import begin_movement, end_movement
from pipeline.engine.notifications.endpoints import EndpointStore
from pipeline.engine.notifications.notifier import Notifier
from pipeline.engine.notifications.service import NotifierContext
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.sender import Notification
from pipeline.testing.simulated.object_store import MemoryObjectStore

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
FLOW = FlowName("crm")
NOTIFY_SECONDS = 5.0


class VirtualClock:
    """The time of day goes with anyio's clock."""

    def now(self) -> datetime:
        """Return the present moment."""
        return BEGAN + timedelta(seconds=anyio.current_time())


def taking(notification: Notification) -> Answer:
    """Take everything."""
    return Delivered()


def refusing(notification: Notification) -> Answer:
    """Take nothing."""
    return NotDelivered("it answered 500")


@dataclass
class Receiver:
    """Receives notifications, and answers by `answer`. `got` has those that it took, `asked` all."""

    answer: Callable[[Notification], Answer] = taking
    seconds: float = 0.0
    got: list[Notification] = field(default_factory=list)
    asked: list[tuple[datetime, Notification]] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The ids of what it took."""
        return [one.id for one in self.got]

    @property
    def types(self) -> list[str]:
        """The types of what it took."""
        return [str(orjson.loads(one.body)["type"]).removeprefix("app-data-pipeline.") for one in self.got]


@dataclass
class World:
    """All that outlives a notifier."""

    store: ObjectStore = field(default_factory=MemoryObjectStore)
    receivers: dict[str, Receiver] = field(default_factory=dict)
    clock: VirtualClock = field(default_factory=VirtualClock)

    @property
    def flows(self) -> FlowStore:
        """The Flows in the store."""
        return FlowStore(self.store, self.clock)

    @property
    def endpoints(self) -> EndpointStore:
        """The endpoints in the store."""
        return EndpointStore(self.store)

    async def send(self, endpoint: Endpoint, notification: Notification) -> Answer:
        """Be the Sender of all notifiers."""
        receiver = self.receivers[endpoint.name]
        receiver.asked.append((self.clock.now(), notification))
        await anyio.sleep(receiver.seconds)
        answer = receiver.answer(notification)
        if isinstance(answer, Delivered):
            receiver.got.append(notification)
        return answer

    async def add(self, name: str, receiver: Receiver | None = None, **settings: object) -> Receiver:
        """Add an endpoint, and its receiver."""
        self.receivers[name] = receiver = receiver or Receiver()
        endpoint = replace(Endpoint(name, f"https://{name}.example", self.clock.now()), **settings)  # type: ignore[arg-type]
        await self.endpoints.add(endpoint, Deliveries())
        return receiver

    async def movement(self, flow: FlowName = FLOW, status: Status = Status.TIMED_OUT) -> Movement:
        """Begin a Movement, and settle it."""
        begun, _ = await begin_movement(self.flows, await self.connected(flow))
        return await end_movement(self.flows, begun, status, Reason.TOO_OLD)

    async def connected(self, flow: FlowName = FLOW) -> Flow:
        """Return a Flow, created if it is new."""
        return await self.flows.add(Flow(flow, "sqlite:///app.db", "sqlite:///copy.db", self.clock.now()))

    def notifier(self, worker: str = "one", store: ObjectStore | None = None) -> Notifier:
        """Return a notifier of a process of its own."""
        store = store or self.store
        context = NotifierContext(store, FlowStore(store, self.clock), self.clock, NOTIFY_SECONDS)
        return Notifier(context, self, worker, Random(worker))

    @asynccontextmanager
    async def notifying(self, *workers: str) -> AsyncIterator[None]:
        """Run notifiers."""
        stop = anyio.Event()
        async with anyio.create_task_group() as group:
            for worker in workers or ("one",):
                group.start_soon(self.notifier(worker).run, stop)
            yield
            stop.set()


def subjects(receiver: Receiver) -> Sequence[tuple[str, int]]:
    """The type and the Movement of each event that it took."""
    bodies = [orjson.loads(one.body) for one in receiver.got]
    return [(body["type"].removeprefix("app-data-pipeline."), body["data"]["movement"]) for body in bodies]
