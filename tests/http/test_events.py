"""Events over HTTP: pages, and streams that go on where they stopped and end when the server stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import anyio
import orjson
import pytest

from pipeline.assembly.commands.move import move
from pipeline.settings import Settings
from tests.http.conftest import START_TOKEN, Server, create_app, run_server

AUTHORIZED = {"Authorization": f"Bearer {START_TOKEN}"}


async def read_stream(server: Server, wanted: int, **headers: str) -> list[dict[str, Any]]:
    """Return the first events of a stream."""
    found: list[dict[str, Any]] = []
    url = f"{server.url}/api/v1/flows/crm/events/stream"
    with anyio.fail_after(60):
        async with server.client.get(url, headers={**AUTHORIZED, **headers}) as answer:
            assert answer.content_type == "text/event-stream"
            async for line in answer.content:
                if line.startswith(b"data: "):
                    found.append(orjson.loads(line[6:]))
                    if len(found) == wanted:
                        break
    return found


async def test_events_come_in_pages(server: Server) -> None:
    _, page = await server.get("/api/v1/flows/crm/events?limit=1")
    assert isinstance(page, dict)
    assert [one["type"] for one in page["items"]] == ["movement.started"]
    _, page = await server.get(f"/api/v1/flows/crm/events?movement=1&after={page['next']}")
    assert isinstance(page, dict)
    assert page["items"][-1]["type"] == "movement.settled"


async def test_a_stream_goes_on_behind_the_last_event(server: Server) -> None:
    all_events = await read_stream(server, 6)
    assert [event["type"] for event in all_events][::5] == ["movement.started", "movement.settled"]
    rest = await read_stream(server, 2, **{"Last-Event-ID": all_events[3]["id"]})
    assert [event["id"] for event in rest] == [event["id"] for event in all_events[4:]]


async def test_behind_an_event_that_is_not_known_all_events_come(server: Server) -> None:
    app, copy = server.directory / "app.db", server.directory / "copy.db"
    for _ in range(2):
        await move(app, copy, flow="crm", settings=Settings(home=server.directory / "home"))
    found = await read_stream(server, 10, **{"Last-Event-ID": "pruned"})
    assert [(one["movement"], one["type"]) for one in found][::9] == [(1, "movement.started"), (3, "movement.settled")]


async def test_a_stream_follows_a_new_movement(server: Server) -> None:
    last = (await read_stream(server, 6))[-1]["id"]
    async with anyio.create_task_group() as group:
        found: list[dict[str, Any]] = []

        async def follow() -> None:
            found.extend(await read_stream(server, 2, **{"Last-Event-ID": last}))

        group.start_soon(follow)
        app, copy = server.directory / "app.db", server.directory / "copy.db"
        await move(app, copy, flow="crm", settings=Settings(home=server.directory / "home"))
    assert [(event["movement"], event["type"]) for event in found] == [(2, "movement.started"), (2, "movement.settled")]


async def test_fifty_streams_end_at_once_when_the_server_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.http.server.DRAIN_SECONDS", 3600.0)  # no stream ends because its time is over
    create_app(tmp_path / "app.db")
    await move(tmp_path / "app.db", tmp_path / "copy.db", flow="crm", settings=Settings(home=tmp_path / "home"))
    connector = aiohttp.TCPConnector(limit=100)
    async with aiohttp.ClientSession(connector=connector) as client:
        async with run_server(tmp_path) as server:
            url = f"{server.url}/api/v1/flows/crm/events/stream"
            streams = [await client.get(url, headers=AUTHORIZED) for _ in range(50)]
            for stream in streams:
                await stream.content.readline()
        with anyio.fail_after(60):  # each stream has ended
            for stream in streams:
                assert b"event: " in b"retry: " + await stream.content.read()
