"""Without faults, the simulated adapters pass the contracts of the real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
import trio.testing

from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectStore
from pipeline.testing.simulated.bucket import Bucket
from pipeline.testing.simulated.calling import CallingStore
from pipeline.testing.simulated.process import Process
from pipeline.testing.simulated.unreliable_queue import Ring, SimulatedQueue
from tests.contracts import event_queue, object_store
from tests.contracts.destination import DestinationContract, DestinationWorld
from tests.contracts.source import SourceContract, SourceWorld
from tests.fakes.test_contracts import destination_world, source_world
from tests.loops import OnTrio

TERMS = event_queue.Terms(visibility_seconds=0.2, max_receives=3)


@pytest.mark.parametrize("clause", object_store.CLAUSES)
def test_store(clause: object_store.Clause) -> None:
    @asynccontextmanager
    async def open_store() -> AsyncIterator[ObjectStore]:
        yield CallingStore(Bucket(), Process("contract"))

    anyio.run(object_store.check, clause, open_store, backend="trio")


@pytest.mark.parametrize("clause", event_queue.CLAUSES)
def test_queue(clause: event_queue.Clause) -> None:
    @asynccontextmanager
    async def open_queue(seconds: float) -> AsyncIterator[EventQueue]:
        yield SimulatedQueue(Ring(visibility_seconds=seconds, max_receives=TERMS.max_receives), Process("contract"))

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(event_queue.check, clause, open_queue, TERMS, backend="trio", backend_options={"clock": clock})


class TestSource(OnTrio, SourceContract):
    @pytest.fixture
    def world(self) -> SourceWorld:
        return source_world(Process("contract"))


class TestDestination(OnTrio, DestinationContract):
    @pytest.fixture(params=["with transactions", "without"])
    def world(self, request: pytest.FixtureRequest) -> DestinationWorld:
        return destination_world(Process("contract"), has_transactions=request.param == "with transactions")
