"""The fakes that the engine is tested with keep the contracts of their ports."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import pytest

from tests.contracts.destination import DestinationContract, DestinationWorld
from tests.contracts.source import SourceContract, SourceWorld
from tests.engine.world import MemoryDestination, MemorySource, schema_of


class TestMemorySource(SourceContract):
    @pytest.fixture
    def world(self) -> SourceWorld:
        tables = {"a": {number: f"text {number}" for number in range(10)}, "b": {}}

        def change() -> None:
            tables["a"][3] = "changed"

        return SourceWorld(
            source=MemorySource(tables),
            again=MemorySource(tables),
            missing=MemorySource({}, location="memory:nowhere", exists=False),
            change_one_row=change,
            is_isolated=True,
        )


class TestMemoryDestination(DestinationContract):
    @pytest.fixture
    def world(self) -> DestinationWorld:
        destination = MemoryDestination(refuses=lambda number, text: "is bad" if text == "bad" else None)

        def held() -> Mapping[int, int]:
            return {
                number: 0 if text == "bad" else int(text) for number, text in destination.tables.get("a", {}).items()
            }

        def accept() -> None:
            destination.refuses = lambda number, text: None

        return DestinationWorld(
            destination=destination,
            impossible=MemoryDestination(location="memory:nowhere", can_be_made=False),
            schema=schema_of("a"),
            upsert=lambda n, version: orjson.dumps({"upsert": {"number": n, "text": str(version)}}) + b"\n",
            delete=lambda n: orjson.dumps({"delete": {"number": n}}) + b"\n",
            held=held,
            refused=b'{"upsert":{"number":99,"text":"bad"}}\n',
            is_transactional=True,
            accept=accept,
        )
