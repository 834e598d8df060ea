"""What operators read: Flows, Movements, groups, Event Files, rejected records."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import orjson
import pytest

from pipeline.assembly.commands.move import move
from pipeline.assembly.commands.observation import listings
from pipeline.codec.documents.flow import encode_movement
from pipeline.codec.documents.progress import Progress, encode_progress
from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.domain import object_keys
from pipeline.domain.ids import FlowName, Label, ObjectKey
from pipeline.domain.movement import Totals
from pipeline.domain.progress.model import TimeLeft
from pipeline.ports.object_store import PutCondition
from pipeline.settings import Settings
from tests.http.conftest import START_TOKEN, Server, create_app
from tests.http.flows import change
from tests.http.test_pages import log_in
from tests.http.test_pages import read as read_page


async def read(server: Server, path: str) -> Any:
    """Return the JSON of an answer that must be 200."""
    status, found = await server.get(f"/api/v1{path}")
    assert status == 200, found
    return found


async def test_a_flow_is_listed_with_its_latest_movement(server: Server) -> None:
    [flow] = (await read(server, "/flows"))["items"]
    assert (flow["name"], flow["latest"]["status"], flow["latest"]["records"]["upserts"]) == ("crm", "SUCCESS", 6)
    assert await read(server, "/flows/crm") == flow


async def test_movements_are_listed_from_the_newest_on(server: Server) -> None:
    page = await read(server, "/flows/crm/movements")
    assert [one["movement"] for one in page["items"]] == [1]
    assert page["next"] is None
    assert (await read(server, "/flows/crm/movements?status=FAILED"))["items"] == []
    assert await read(server, "/flows/crm/movements/1") == page["items"][0]


async def test_groups_and_event_files_say_what_is_imported(server: Server) -> None:
    groups = (await read(server, "/flows/crm/movements/1/groups"))["items"]
    assert [(one["label"], one["listed"], one["imported"], one["records"]) for one in groups] == [
        ("person", 1, 1, 5),
        ("pet", 1, 1, 1),
    ]
    files = (await read(server, "/flows/crm/movements/1/files?stream=pet"))["items"]
    assert [(one["file"], one["imported"]) for one in files] == [("1/pet/full/0", True)]
    assert (await read(server, "/flows/crm/movements/1/files?state=waiting"))["items"] == []


async def test_the_counts_of_a_very_large_movement_outlive_its_file_lists(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "LIVE_FILES", 0)
    runtime = server.site.runtime
    for key in (await runtime.flows.read_movement(FlowName("crm"), 1)).file_lists.values():
        await runtime.store.delete(key)
    groups = (await read(server, "/flows/crm/movements/1/groups"))["items"]
    assert [(one["label"], one["listed"], one["imported"], one["records"]) for one in groups] == [
        ("person", 1, 1, 5),
        ("pet", 1, 1, 1),
    ]
    async with await log_in(server, START_TOKEN) as client, client.get("/flows/crm/movements/1") as answer:
        assert (answer.status, "1 of 1" in await answer.text()) == (200, True)


async def test_the_records_of_a_movement_of_an_earlier_release_are_counted_in_its_file_lists(server: Server) -> None:
    flows, [flow] = server.site.runtime.flows, await server.site.runtime.flows.list_flows()
    stored = await flows.read_movement(flow.name, 1)
    counts = {label: replace(one, records=None, bytes=None) for label, one in stored.counts.items()}
    document = orjson.loads((await server.site.runtime.store.get(object_keys.movement_key(flow.name, 1))).data)
    await alter(server, counts=counts)
    groups = (await read(server, "/flows/crm/movements/1/groups"))["items"]
    assert {one["label"]: (one["records"], one["bytes"]) for one in groups} == {
        label: (one["records"], one["bytes"]) for label, one in document["counts"].items()
    }
    assert [one["records"] for one in groups] == [5, 1]


async def test_records_that_wait_for_another_one_are_counted_apart(server: Server) -> None:
    assert (await read(server, "/flows/crm"))["latest"]["records"]["waiting"] == 0
    pages = ("/flows/crm", "/flows/crm/movements/1")
    async with await log_in(server, START_TOKEN) as client:
        for path in pages:
            assert not re.search("wait for the id|>Waiting<", await read_page(client, path))
        await alter(server, totals=Totals(rejected=3, waiting=2))
        assert (await read(server, "/flows/crm/movements/1"))["records"] == {
            "upserts": 0,
            "deletes": 0,
            "rejected": 3,
            "waiting": 2,
        }
        flow, movement = [await read_page(client, path) for path in pages]
    assert "3 rejected, of which 2 wait for the id of another record" in movement
    assert ">Waiting</th>" in flow
    assert '<td class="number">3</td><td class="number">2</td>' in flow


async def test_how_far_a_movement_is_is_said_while_it_is_under_way(server: Server) -> None:
    assert (await read(server, "/flows/crm"))["latest"]["progress"] is None
    await alter(server, outcome=None)
    now = datetime.now(UTC)
    sign = Progress("here", now, now, holding=[Label("pet")], working=True, percent=99, left=TimeLeft(8.0, 12.04))
    key = f"{object_keys.progress_prefix(FlowName('crm'), 1)}here.json"
    await server.site.runtime.store.put(ObjectKey(key), encode_progress(sign), PutCondition.ABSENT)
    found = (await read(server, "/flows/crm/movements?limit=1"))["items"][0]["progress"]
    assert (found["percent"], found["seconds_left"]) == (99, {"low": 8.0, "high": 12.0})


async def alter(server: Server, **values: Any) -> None:
    """Store the Movement of the Flow `crm` with other values."""
    movement = await server.site.runtime.flows.read_movement(FlowName("crm"), 1)
    key = object_keys.movement_key(FlowName("crm"), 1)
    await server.site.runtime.store.put(key, encode_movement(replace(movement, **values)), PutCondition.NONE)


async def test_what_a_destination_that_was_replaced_lacks_is_counted(server: Server) -> None:
    (server.directory / "copy.db").unlink()
    groups = (await read(server, "/flows/crm/movements/1/groups"))["items"]
    assert [(one["listed"], one["imported"], one["records"]) for one in groups] == [(1, None, 5), (1, None, 1)]
    create_app(server.directory / "copy.db")
    groups = (await read(server, "/flows/crm/movements/1/groups"))["items"]
    assert [(one["listed"], one["imported"], one["records"]) for one in groups] == [(1, 0, 5), (1, 0, 1)]


async def test_an_earlier_movement_shows_the_counts_at_its_end(server: Server) -> None:
    runtime = server.site.runtime
    change(server.directory / "app.db", "INSERT INTO person VALUES(7, 'new')")
    settings = Settings(home=server.directory / "home")
    await move(server.directory / "app.db", server.directory / "copy.db", flow="crm", settings=settings)
    for key in (await runtime.flows.read_movement(FlowName("crm"), 1)).file_lists.values():
        await runtime.store.delete(key)  # as pruning does
    groups = (await read(server, "/flows/crm/movements/1/groups"))["items"]
    assert [(one["listed"], one["imported"], one["records"]) for one in groups] == [(1, 1, 5), (1, 1, 1)]
    status, problem = await server.get("/api/v1/flows/crm/movements/1/files")
    assert isinstance(problem, dict)
    assert (status, "have been pruned; the latest Movement is 2" in problem["detail"]) == (404, True)


async def test_what_a_movement_imports_is_seen_as_soon_as_it_has_settled(server: Server) -> None:
    assert (await read(server, "/flows/crm/movements/1/files?state=waiting"))["items"] == []
    change(server.directory / "app.db", "INSERT INTO person VALUES(7, 'new')")
    settings = Settings(home=server.directory / "home")
    await move(server.directory / "app.db", server.directory / "copy.db", flow="crm", settings=settings)
    assert (await read(server, "/flows/crm/movements/2/files?state=waiting"))["items"] == []


async def test_pages_follow_one_another(server: Server) -> None:
    first = await read(server, "/flows/crm/movements/1/files?limit=1")
    second = await read(server, f"/flows/crm/movements/1/files?limit=1&after={first['next']}")
    assert [one["stream"] for page in (first, second) for one in page["items"]] == ["person", "pet"]
    assert second["next"] is None


async def test_a_cursor_that_is_gone_begins_nothing_again_by_itself(server: Server) -> None:
    status, problem = await server.get("/api/v1/flows/crm/movements/1/files?after=9/gone/full/0")
    assert isinstance(problem, dict)
    assert (status, "Begin again" in problem["detail"]) == (410, True)


async def test_an_event_file_is_downloaded_as_it_is_stored(server: Server) -> None:
    headers = {"Authorization": f"Bearer {START_TOKEN}"}
    async with server.client.get(f"{server.url}/api/v1/flows/crm/files/1/pet/full/0", headers=headers) as answer:
        reader = EventFileReader(None, what="the answer")
        lines = b"".join(reader.feed(await answer.read())).splitlines()
        reader.close()
    assert [orjson.loads(line)["upsert"]["id"] for line in lines] == [1]


async def test_what_is_not_there_is_a_problem_with_a_sentence(server: Server) -> None:
    for path, word in [
        ("/flows/nope", "nope"),
        ("/flows/crm/movements/9", "9"),
        ("/flows/crm/files/1/nope/full/0", "nope"),
        ("/flows/crm/files/nonsense", "nonsense"),
    ]:
        status, problem = await server.get(f"/api/v1{path}")
        assert isinstance(problem, dict)
        assert (status, problem["status"], word in problem["detail"]) == (404, 404, True), problem
    for rest in ("", "/groups", "/files", "/rejected", "/workers"):
        status, problem = await server.get(f"/api/v1/flows/crm/movements/9{rest}")
        assert isinstance(problem, dict)
        assert (status, problem["detail"]) == (404, "Flow 'crm' has no Movement 9; its latest is 1.")
    status, problem = await server.get("/api/v1/flows/crm/movements?limit=0")
    assert isinstance(problem, dict)
    assert (status, "limit" in problem["detail"]) == (422, True)


async def test_a_path_or_a_method_that_is_not_there_is_answered_with_where_the_paths_are(server: Server) -> None:
    status, problem = await server.get("/api/v1/flows/crm/nothing")
    assert isinstance(problem, dict)
    assert (status, "/api/v1/openapi.json lists all paths" in problem["detail"]) == (404, True)
    status, problem = await server.get("/api/v1/flows/crm/actions/pause")
    assert isinstance(problem, dict)
    assert (status, "This path takes POST" in problem["detail"]) == (405, True)


async def test_head_is_answered_like_get_without_a_body(server: Server) -> None:
    headers = {"Authorization": f"Bearer {START_TOKEN}"}
    for path in ("/healthz", "/login", "/api/v1/flows", "/api/v1/flows/nope", "/api/v1/flows/crm/events/stream"):
        async with server.client.get(f"{server.url}{path}", headers=headers) as answer:
            expected = answer.status, answer.headers["content-type"]
        with anyio.fail_after(60):
            async with server.client.head(f"{server.url}{path}", headers=headers) as answer:
                assert (answer.status, answer.headers["content-type"]) == expected, path
                assert await answer.read() == b""
    async with server.client.head(f"{server.url}/api/v1/flows/crm/actions/start", headers=headers) as answer:
        assert answer.status == 405
    assert (await read(server, "/flows/crm"))["movements"] == 1


async def test_the_description_names_every_route(server: Server) -> None:
    status, found = await server.get("/api/v1/openapi.json")
    assert isinstance(found, dict)
    assert status == 200
    assert "/api/v1/flows/{flow}/movements/{number}" in found["paths"]
    open_to_all = {path for path, routes in found["paths"].items() for one in routes.values() if "security" not in one}
    assert open_to_all == {"/healthz", "/readyz", *(path for path in found["paths"] if "/downloads/" in path)}
