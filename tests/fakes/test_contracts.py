"""The fakes keep the contracts of their ports."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import pytest

from pipeline.testing.simulated.calls import UNHINDERED, Calls
from tests.contracts.destination import DestinationContract, DestinationWorld
from tests.contracts.source import SourceContract, SourceWorld
from tests.fakes.destination import MemoryDestination
from tests.fakes.rows import schema_of
from tests.fakes.source import MemorySource


def source_world(calls: Calls) -> SourceWorld:
    """Return a source with rows and a Binary File, read by these calls."""
    tables = {"a": {number: f"text {number}" for number in range(10)}, "b": {1: "file:content"}, "c": {}}

    def is_file(text: str) -> bool:
        return text.startswith("file:")

    def change() -> None:
        tables["a"][3] = "changed"

    spoilt: set[str] = set()

    return SourceWorld(
        source=MemorySource(tables, calls, is_file=is_file, rejects=lambda text: "spoilt" if text in spoilt else ""),
        again=MemorySource(tables, calls, is_file=is_file),
        missing=MemorySource({}, calls, location="memory:nowhere", exists=False),
        change_one_row=change,
        is_isolated=True,
        spoil_one_row=lambda: spoilt.add("text 1"),
    )


def destination_world(calls: Calls, *, has_transactions: bool = True) -> DestinationWorld:
    """Return a destination that is written by these calls."""
    destination = MemoryDestination(
        calls=calls,
        rejects=lambda number, text: "is bad" if text == "bad" else None,
        has_transactions=has_transactions,
    )

    def held() -> Mapping[int, int]:
        return {number: 0 if text == "bad" else int(text) for number, text in destination.tables.get("a", {}).items()}

    def accept() -> None:
        destination.rejects = lambda number, text: None

    return DestinationWorld(
        destination=destination,
        impossible=MemoryDestination(calls=calls, location="memory:nowhere", can_be_made=False),
        schema=schema_of("a"),
        upsert=lambda n, version: orjson.dumps({"upsert": {"number": n, "text": str(version)}}) + b"\n",
        delete=lambda n: orjson.dumps({"delete": {"number": n}}) + b"\n",
        held=held,
        refused=b'{"upsert":{"number":99,"text":"bad"}}\n',
        is_transactional=has_transactions,
        accept=accept,
    )


class TestSource(SourceContract):
    @pytest.fixture
    def world(self) -> SourceWorld:
        return source_world(UNHINDERED)


class TestDestination(DestinationContract):
    @pytest.fixture
    def world(self) -> DestinationWorld:
        return destination_world(UNHINDERED)
