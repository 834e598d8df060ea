"""A metered store and a metered queue keep the contracts of their ports, and count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
import pytest

from pipeline.domain.notifications.delivery import Answer, Delivered, NotDelivered
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.metrics.event_queue import MeteredEventQueue
from pipeline.metrics.object_store import MeteredObjectStore
from pipeline.metrics.registry import Metrics
from pipeline.metrics.sender import MeteredSender
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.sender import Notification
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.contracts.event_queue import CLAUSES as QUEUE_CLAUSES
from tests.contracts.event_queue import Clause as QueueClause
from tests.contracts.event_queue import Terms
from tests.contracts.event_queue import check as check_queue
from tests.contracts.object_store import CLAUSES, Clause, check
from tests.metrics.scraping import samples

VISIBILITY_SECONDS = 0.2


@pytest.mark.parametrize("clause", CLAUSES)
def test_metered_object_store(clause: Clause) -> None:
    metrics = Metrics("1", streams=10)

    @asynccontextmanager
    async def open_store() -> AsyncIterator[ObjectStore]:
        yield MeteredObjectStore(MemoryObjectStore(), metrics)

    anyio.run(check, clause, open_store)


@pytest.mark.parametrize("clause", QUEUE_CLAUSES)
def test_metered_event_queue(clause: QueueClause) -> None:
    @asynccontextmanager
    async def open_queue(seconds: float) -> AsyncIterator[EventQueue]:
        queue = MemoryEventQueue(visibility_seconds=seconds, max_receives=3)
        yield MeteredEventQueue(queue, "imports", seconds, Metrics("1", streams=10))

    anyio.run(check_queue, clause, open_queue, Terms(VISIBILITY_SECONDS, 3))


async def test_messages_are_counted_by_what_becomes_of_them() -> None:
    metrics = Metrics("1", streams=10)
    queue = MeteredEventQueue(MemoryEventQueue(visibility_seconds=9.0, max_receives=3), "imports", 9.0, metrics)
    await queue.send([b"one", b"two", b"three"])
    one, two, three = await queue.receive(max_messages=3)
    await queue.extend(one.receipt, 9.0)
    assert count(metrics, "pipeline_leases") == 3
    await queue.acknowledge([one.receipt])
    await queue.extend(two.receipt, 2.0)
    await queue.reject(three, "it is no message")
    assert count(metrics, "pipeline_leases") == 0
    assert count(metrics, "pipeline_queue_received_total") == 3
    assert count(metrics, "pipeline_queue_deleted_total") == 2
    assert count(metrics, "pipeline_queue_returned_total") == 1
    assert count(metrics, "pipeline_queue_extended_total") == 1


def count(metrics: Metrics, name: str) -> float:
    return samples(metrics.render().decode())[name, "queue=imports"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(Delivered(), "delivered"), (NotDelivered("500"), "failed"), (NotDelivered("410", gone=True), "gone")],
)
async def test_tries_to_notify_are_counted_by_outcome(answer: Answer, outcome: str) -> None:
    class Fixed:
        async def send(self, endpoint: Endpoint, notification: Notification) -> Answer:
            return answer

    metrics = Metrics("1", streams=10)
    endpoint = Endpoint("ops", "https://example.com/hook", datetime(2026, 1, 1, tzinfo=UTC))
    assert (
        await MeteredSender(Fixed(), metrics).send(endpoint, Notification("1", "t", "crm", "text/plain", b"")) == answer
    )
    found = samples(metrics.render().decode())
    assert found["pipeline_notifications_attempts_total", "endpoint=ops", f"outcome={outcome}"] == 1
