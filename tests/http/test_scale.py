"""A Flow with 1,000 Movements and 100,000 Event Files: the first call of a server takes few requests to the store."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from pipeline.codec.documents.failures import Failure
from pipeline.codec.documents.flow import encode_movement
from pipeline.codec.documents.progress import Progress, encode_progress
from pipeline.domain.ids import EventFileId
from pipeline.domain.object_keys import movement_key, progress_key
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.http.api import actions, checks, events, flows, health, movements, tokens
from pipeline.http.api.reports import log, mappings, notifications
from pipeline.http.apps import downloads, exporting, importing, sending
from pipeline.http.pages import acting, checking, details, notifying, routes, session
from pipeline.kit.ledger.kept import KeptMark
from pipeline.ports.object_store import ObjectStore, PutCondition
from pipeline.remote import marks
from pipeline.remote.marks import Marks
from pipeline.testing.simulated.clock import ManualClock
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine.long_flow import BEGAN, FLOW, STREAMS, CountingStore, begin_next, build
from tests.http.conftest import START_TOKEN, Server, run_server
from tests.http.test_metrics import scrape
from tests.http.test_pages import log_in, read

pytestmark = pytest.mark.slow
MOVEMENTS, FILES, MOST_REQUESTS = 1_000, 100_000, 20
MOVEMENT_PAGES = [f"/flows/{FLOW}/movements/{number}" for number in (MOVEMENTS, 999, 500, 5)]
OPERATORS = [
    "/flows",
    f"/flows/{FLOW}",
    f"/flows/{FLOW}/movements",
    f"/flows/{FLOW}/movements?limit=100",
    f"/flows/{FLOW}/movements?status=FAILED",
    *(f"{one}{rest}" for one in MOVEMENT_PAGES for rest in ("", "/groups", "/files", "/rejected", "/workers")),
    f"{MOVEMENT_PAGES[0]}/files?limit=1000",
    f"{MOVEMENT_PAGES[0]}/files?state=waiting",
    f"{MOVEMENT_PAGES[0]}/files?stream={quote(STREAMS[9])}",
    f"/flows/{FLOW}/events",
    f"/flows/{FLOW}/events?movement={MOVEMENTS}",
    f"/flows/{FLOW}/approvals",
    f"/flows/{FLOW}/approvals/terms/source",
    *(f"/flows/{FLOW}/{rest}" for rest in ("log.csv", "log.jsonl", "mappings", "mappings/person")),
    "/notifications",
    "/tokens",
]
HEALTH = ["/healthz", "/readyz", "/metrics"]
APPS = [
    f"/apps/{FLOW}/import",
    f"/apps/{FLOW}/import/{MOVEMENTS}/groups/{quote(STREAMS[0])}/files",
    f"/apps/{FLOW}/import/{MOVEMENTS}/groups/{quote(STREAMS[9])}/files?limit=1000",
    f"/apps/{FLOW}/import/mappings/person",
]
PAGES = [
    *("/", "/workers", "/notifications", "/tokens", "/login"),
    f"/flows/{FLOW}",
    *(f"{one}{rest}" for one in MOVEMENT_PAGES for rest in ("", "/files", "/rejected")),
    f"{MOVEMENT_PAGES[0]}/files?label={quote(STREAMS[7])}",
    *(f"/flows/{FLOW}/{page}" for page in ("log", "mappings", "verify", "checks", "approvals")),
]
OF_ONE_OBJECT = {"/flows/{flow}/files/{file:path}", "/downloads/{flow}/{kind}/{name:path}"}
ENDLESS = {"/flows/{flow}/events/stream"}
REFUSED = {"/apps/{flow}/import/mappings/{kind:path}/find"}
TO_UPLOAD = {route.path for room in (exporting, sending) for route in room.router.routes if isinstance(route, APIRoute)}


async def store_flow(store: ObjectStore) -> list[EventFileId]:
    """Store the Flow, all of it imported by an app but for the last 1,000 files; return these."""
    built = await build(store, MOVEMENTS, FILES, "sqlite:///none.db", "app://cloud")
    flow = await built.read_flow(FLOW)
    movement = await built.read_movement(FLOW, MOVEMENTS)
    entries = [entry for key in movement.file_lists.values() for entry in await built.read_file_list(key)]
    imported, waiting = entries[:-1000], entries[-1000:]
    known = Marks(store, flow.marks_namespace)
    for at in range(0, len(imported), 20_000):
        some = imported[at : at + 20_000]
        await known.add({entry.id: KeptMark(entry.upserts, entry.deletes, 0, 0, entry.id.movement) for entry in some})
    for entry in waiting[:40]:
        failure = Failure(entry.id, None, None, None, "no room")
        await built.write_failures(FLOW, MOVEMENTS, entry.id, [failure])
    return [entry.id for entry in waiting]


@pytest.fixture
async def store(monkeypatch: pytest.MonkeyPatch) -> CountingStore:
    """A store with the Flow, which servers open."""
    counting = CountingStore(MemoryObjectStore())
    await store_flow(counting)

    @asynccontextmanager
    async def open_counting(_settings: object) -> AsyncIterator[ObjectStore]:
        yield counting

    monkeypatch.setattr("pipeline.assembly.runtime.open_store", open_counting)
    return counting


async def test_the_first_call_of_every_route_takes_at_most_20_requests(tmp_path: Path, store: CountingStore) -> None:
    requests: dict[str, int] = {}
    for kind, paths in (("api", [*OPERATORS, *APPS]), ("health", HEALTH), ("page", PAGES)):
        for path in paths:
            async with run_server(tmp_path) as server:  # it has read nothing yet
                requests[f"{kind} {path}"] = await count(server, store, kind, path)
    assert {call: count for call, count in requests.items() if count > MOST_REQUESTS} == {}


async def test_so_it_is_while_many_workers_are_at_a_movement(tmp_path: Path, store: CountingStore) -> None:
    built = FlowStore(store, ManualClock(BEGAN))
    movement = await begin_next(built, 10)
    for worker in (f"worker {at}" for at in range(25)):
        progress = encode_progress(Progress(worker, BEGAN, BEGAN))
        await store.put(progress_key(FLOW, movement.number, worker), progress, PutCondition.ABSENT)
    number, before = str(movement.number), re.compile(rf"\b{MOVEMENTS}\b")
    requests: dict[str, int] = {}
    for kind, paths in (("api", [*OPERATORS, *APPS]), ("health", HEALTH), ("page", PAGES)):
        for path in {before.sub(number, path) if "limit=" not in path else path for path in paths}:
            async with run_server(tmp_path) as server:
                requests[f"{kind} {path}"] = await count(server, store, kind, path)
    assert {call: count for call, count in requests.items() if count > MOST_REQUESTS} == {}
    async with run_server(tmp_path) as server:
        await marks.Marks.of(server.site.runtime.store, (await built.read_flow(FLOW)).marks_namespace).read()
        groups = await get(server, f"/flows/{FLOW}/movements/{number}/groups")
        found = {(one["listed"], one["imported"], one["records"], one["bytes"]) for one in groups["items"]}
        assert found == {(10_010, 10_000, 100_100, 10_010_000)}
        gauges = await scrape(server)
        assert gauges["pipeline_files_outstanding", f"flow={FLOW}"] == 10 * len(STREAMS)
        assert gauges["pipeline_bytes_outstanding", f"flow={FLOW}"] == 10_000 * len(STREAMS)
        workers = list[str]()
        after: str | None = ""
        while after is not None:
            page = await get(server, f"/flows/{FLOW}/movements/{number}/workers?after={quote(after)}")
            workers, after = [*workers, *(one["worker"] for one in page["items"])], page["next"]
        assert len(set(workers)) == len(workers) == 25
        async with await log_in(server, START_TOKEN) as client:
            pages = [await read(client, f"/flows/{FLOW}/movements/{number}") for _ in range(14)]
        counts = ["not counted yet" in page for page in pages]  # each reads two of them
        assert (counts[0], counts[-1]) == (True, False)


async def test_so_it_is_where_file_lists_have_to_be_counted(tmp_path: Path, store: CountingStore) -> None:
    built = FlowStore(store, ManualClock(BEGAN))
    movement = await begin_next(built, 10)
    uncounted = replace(movement, counts={}, added={})
    await store.put(movement_key(FLOW, movement.number), encode_movement(uncounted), PutCondition.NONE)
    path = f"/flows/{FLOW}/movements/{movement.number}"
    async with run_server(tmp_path) as server:
        assert await count(server, store, "page", path) <= MOST_REQUESTS
    async with run_server(tmp_path) as server:
        assert await count(server, store, "health", "/metrics") <= MOST_REQUESTS
    async with run_server(tmp_path) as server:
        groups = list[Any]()
        after: str | None = ""
        while after is not None:
            found = f"{path}/groups?after={quote(after)}"
            assert await count(server, store, "api", found) <= MOST_REQUESTS
            await marks.Marks.of(server.site.runtime.store, (await built.read_flow(FLOW)).marks_namespace).read()
            page = await get(server, found)
            groups, after = [*groups, *page["items"]], page["next"]
        assert [one["label"] for one in groups] == sorted(STREAMS)
        assert {(one["listed"], one["imported"]) for one in groups} == {(10_010, 9_000), (10_010, 10_000)}


async def get(server: Server, path: str) -> Any:
    """Return the JSON of an answer."""
    status, found = await server.get(f"/api/v1{path}")
    assert status == 200, found
    return found


async def count(server: Server, store: CountingStore, kind: str, path: str) -> int:
    """Return how many requests to the store a call takes, which must be answered. The Flow requires no approval: no terms."""
    token = await server.app_token(FLOW) if path.startswith("/apps/") else START_TOKEN
    prefix = "/api/v1" if kind == "api" else ""
    async with await log_in(server, START_TOKEN) as client:
        headers = {} if kind == "page" else {"Authorization": f"Bearer {token}"}
        store.requests.clear()
        marks._known.clear()  # a process keeps them, and this is the first call of one
        async with client.get(f"{prefix}{path}", headers=headers) as answer:
            assert answer.status == (422 if "terms" in path else 200), (path, await answer.text())
            await answer.read()
        return store.requests.total()


def test_every_route_that_reads_is_among_them() -> None:
    api = (flows, movements, events, actions, checks, tokens, log, mappings, notifications)
    of_apps = (exporting, sending, importing, downloads)
    pages = (session, routes, acting, checking, details, notifying)
    assert _missing([one.router for one in (*api, *of_apps, health)], [*OPERATORS, *APPS, *HEALTH]) - TO_UPLOAD == {
        *OF_ONE_OBJECT,
        *ENDLESS,
        *REFUSED,
    }
    assert _missing([one.router for one in pages], PAGES) <= OF_ONE_OBJECT


def _missing(routers: list[APIRouter], paths: list[str]) -> set[str]:
    """Return the paths of routes for GET that none of these calls has."""
    routes_to_get = [
        route
        for one in routers
        for route in one.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    ]
    return {
        one.path for one in routes_to_get if not any(one.path_regex.match(re.sub(r"\?.*", "", path)) for path in paths)
    }
