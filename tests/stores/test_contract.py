"""The object store's contract, against the directory and the fake, on both event loops."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from pipeline.engine.storage.overlay_store import OverlayStore
from pipeline.ports.object_store import ObjectStore
from pipeline.stores.directory.object_store import DirectoryObjectStore
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.contracts.object_store import CLAUSES, Clause, OpenStore, check


def opener(store: ObjectStore) -> OpenStore:
    """Return a function that opens a store which needs no opening."""

    @asynccontextmanager
    async def open_store() -> AsyncIterator[ObjectStore]:
        yield store

    return open_store


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("clause", CLAUSES)
def test_directory_object_store(clause: Clause, backend: str, tmp_path: Path) -> None:
    anyio.run(check, clause, opener(DirectoryObjectStore(tmp_path / "store")), backend=backend)
    assert list((tmp_path / "store").glob("tmp/*")) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("clause", CLAUSES)
def test_memory_object_store(clause: Clause, backend: str) -> None:
    anyio.run(check, clause, opener(MemoryObjectStore()), backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("clause", CLAUSES)
def test_overlay_store(clause: Clause, backend: str) -> None:
    base = MemoryObjectStore()
    anyio.run(check, clause, opener(OverlayStore(base, MemoryObjectStore())), backend=backend)
    assert anyio.run(base.list_page, "") == []
