"""With no faults, the simulated adapters keep what the real ones keep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
import orjson
import pytest
import trio.testing

from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectStore
from tests.contracts import event_queue, object_store
from tests.contracts.destination import DestinationContract, DestinationWorld
from tests.contracts.source import SourceContract, SourceWorld
from tests.fakes.place import accept
from tests.loops import OnTrio
from tests.simulation.destination import SimulatedDestination, SimulatedPlace
from tests.simulation.process import Process
from tests.simulation.queue import Ring, SimulatedQueue
from tests.simulation.source import App, SimulatedSource, schema_of
from tests.simulation.store import Bucket, SimulatedStore

TERMS = event_queue.Terms(visibility_seconds=0.2, max_receives=3)


@pytest.mark.parametrize("clause", object_store.CLAUSES)
def test_store(clause: object_store.Clause) -> None:
    @asynccontextmanager
    async def open_store() -> AsyncIterator[ObjectStore]:
        yield SimulatedStore(Bucket(), Process("contract"))

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
        app = App({"a": {number: f"text {number}" for number in range(7)}, "b": {1: "file:content"}, "c": {}})
        process = Process("contract")

        def change() -> None:
            app.tables["a"][3] = "changed"

        missing = App({}, exists=False, location="simulated:nowhere")
        return SourceWorld(
            source=SimulatedSource(app, process),
            again=SimulatedSource(app, process),
            missing=SimulatedSource(missing, process),
            change_one_row=change,
            is_isolated=True,
        )


class TestDestination(OnTrio, DestinationContract):
    @pytest.fixture(params=["with transactions", "without"])
    def world(self, request: pytest.FixtureRequest) -> DestinationWorld:
        place = SimulatedPlace(has_transactions=request.param == "with transactions")
        nowhere = SimulatedPlace(can_be_made=False, location="simulated:nowhere")
        process = Process("contract")

        def held() -> Mapping[int, int]:
            return {number: 0 if text == "bad" else int(text) for number, text in place.tables.get("item", {}).items()}

        return DestinationWorld(
            destination=SimulatedDestination(place, process),
            impossible=SimulatedDestination(nowhere, process),
            schema=schema_of(App({}), "item"),
            upsert=lambda n, version: orjson.dumps({"upsert": {"number": n, "text": str(version)}}) + b"\n",
            delete=lambda n: orjson.dumps({"delete": {"number": n}}) + b"\n",
            held=held,
            refused=b'{"upsert":{"number":99,"text":"bad"}}\n',
            is_transactional=place.has_transactions,
            accept=lambda: setattr(place, "refuses", accept),
        )
