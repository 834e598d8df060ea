"""A Flow with 1,000 Movements and 100,000 Event Files: each call takes few requests to the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.domain.ids import EventFileId
from pipeline.kit.ledger.kept import KeptMark
from pipeline.ports.object_store import ObjectStore
from pipeline.remote.marks import Marks
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine.long_flow import FLOW, STREAMS, CountingStore, build
from tests.http.conftest import START_TOKEN, run_server

pytestmark = pytest.mark.slow
MOVEMENTS, FILES, MOST_REQUESTS = 1_000, 100_000, 20
GROUP = f"{MOVEMENTS}/groups/{quote(STREAMS[0])}/files"
PEOPLE = [
    "/flows",
    f"/flows/{FLOW}",
    f"/flows/{FLOW}/movements",
    f"/flows/{FLOW}/movements/{MOVEMENTS}",
    f"/flows/{FLOW}/movements/{MOVEMENTS}/groups",
    f"/flows/{FLOW}/movements/{MOVEMENTS}/files?limit=100",
    f"/flows/{FLOW}/movements/{MOVEMENTS}/files?state=waiting",
    f"/flows/{FLOW}/movements/{MOVEMENTS}/rejected",
    f"/flows/{FLOW}/movements/{MOVEMENTS}/workers",
    f"/flows/{FLOW}/events?movement={MOVEMENTS}",
]
APPS = [f"/apps/{FLOW}/import", f"/apps/{FLOW}/import/{GROUP}?limit=1000"]


async def store_flow(store: ObjectStore) -> list[EventFileId]:
    """Store the Flow, all of it imported by an app but for the last 1,000 files; return these."""
    flows = await build(store, MOVEMENTS, FILES, "sqlite:///none.db", "app://cloud")
    flow = await flows.read_flow(FLOW)
    movement = await flows.read_movement(FLOW, MOVEMENTS)
    entries = [entry for key in movement.file_lists.values() for entry in await flows.read_file_list(key)]
    imported, waiting = entries[:-1000], entries[-1000:]
    marks = Marks(store, flow.marks_namespace)
    for at in range(0, len(imported), 20_000):
        some = imported[at : at + 20_000]
        await marks.add({entry.id: KeptMark(entry.upserts, entry.deletes, 0, 0, entry.id.movement) for entry in some})
    return [entry.id for entry in waiting]


async def test_no_call_takes_many_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CountingStore(MemoryObjectStore())
    waiting = await store_flow(store)

    @asynccontextmanager
    async def open_counting(_settings: object) -> AsyncIterator[ObjectStore]:
        yield store

    monkeypatch.setattr("pipeline.assembly.runtime.open_store", open_counting)
    requests: dict[str, int] = {}
    for paths in (PEOPLE, APPS):  # each with a server that has read nothing yet
        async with run_server(tmp_path) as server:
            token = START_TOKEN if paths is PEOPLE else await server.app_token(FLOW)
            for path in paths:
                for what in ("first", "again"):
                    store.requests.clear()
                    status, found = await server.get(f"/api/v1{path}", token)
                    assert status == 200, found
                    requests[f"{path} {what}"] = store.requests.total()
    cold = {path: count for path, count in requests.items() if count > MOST_REQUESTS}
    assert all("first" in path for path in cold), requests
    assert max(requests.values()) <= 150, requests  # the parts of ten File Lists, read once
    assert waiting
