"""Pages of a Flow with 1,000 Movements and 100,000 Event Files are answered soon, with few requests to the store."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import pytest

from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine import long_flow
from tests.http.conftest import START_TOKEN, Server, run_server
from tests.http.test_metrics import scrape
from tests.http.test_pages import log_in, read

PAGES = [
    "/",
    "/workers",
    "/notifications",
    "/flows/long",
    "/flows/long/movements/1000",
    "/flows/long/movements/500",
    "/flows/long/movements/1000/files",
    "/flows/long/movements/1000/files?label=table+7",
    "/flows/long/movements/1000/rejected",
    "/flows/long/log",
    "/flows/long/mappings",
    "/flows/long/verify",
    "/flows/long/checks",
    "/flows/long/approvals",
]
TIMES, SECONDS, MOST_REQUESTS = 4, 0.3, 20


@pytest.mark.slow
async def test_every_page_of_a_large_flow_takes_less_than_300_ms_of_the_processor_and_20_requests(
    tmp_path: Path,
) -> None:
    await build(tmp_path)
    async with run_server(tmp_path) as server, await log_in(server, START_TOKEN) as client:
        for path in PAGES:
            seconds = []
            for _ in range(TIMES):
                before, begun = await requests(server), time.process_time()
                await read(client, path)
                seconds.append(time.process_time() - begun)
                assert await requests(server) - before <= MOST_REQUESTS, path
            assert min(seconds) < SECONDS, path


async def build(directory: Path) -> None:
    """Store the Flow in memory, and write the objects without waiting for the disk."""
    store = MemoryObjectStore()
    await long_flow.build(store, 1_000, 100_000, f"sqlite://{directory}/app.db", f"sqlite://{directory}/copy.db")
    for key, data in store.contents():
        path = anyio.Path(directory / "home" / "store" / "objects" / key)
        await path.parent.mkdir(parents=True, exist_ok=True)
        await path.write_bytes(data)


async def requests(server: Server) -> float:
    """How many requests the server has made to the store. To ask again within seconds costs none."""
    found = await scrape(server)
    return sum(value for name, value in found.items() if name[0] == "pipeline_store_request_seconds_count")
