"""An app that pulls: what it imports, refuses and reports, and what it may not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
import yarl

from pipeline.assembly.commands.flows import create_flow
from pipeline.assembly.commands.lifecycle.starts import start
from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.movement import Status
from pipeline.engine.movements.progress import ProgressKeeper
from pipeline.http.tokens import Role, Side
from pipeline.kit.ledger.id_map import StoredIds
from pipeline.kit.ledger.kept import IdEntry, Kept
from pipeline.ports.reporter import Busy, Event
from pipeline.settings import Settings
from tests.http.conftest import Server, create_app, run_server
from tests.http.flows import NODE, begin, change, rows, run_app, settled, working


async def test_an_app_imports_a_movement_and_then_what_has_changed(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db", rows=950)
    async with working(tmp_path, "app.db", "app://cloud") as (server, settings):
        first = await begin(settings)
        assert await run_app(server, "importer.py", "cloud.db") == first
        movement = await settled(settings, first)
        assert (movement.status, movement.totals.upserts) == (Status.SUCCESS, 951), movement.problems
        assert rows(tmp_path / "cloud.db", "person") == rows(tmp_path / "app.db", "person")
        app = App(server, await server.token(Role.APP, "crm", Side.DESTINATION))
        assert (await app.get())["percent"] == 100
        change(
            tmp_path / "app.db", "DELETE FROM person WHERE id < 500", "UPDATE person SET name = 'new' WHERE id = 700"
        )
        second = await begin(settings)
        assert await run_app(server, "importer.py", "cloud.db") == second
        movement = await settled(settings, second)
        assert (movement.status, movement.totals.upserts, movement.totals.deletes) == (Status.SUCCESS, 1, 500)
        assert rows(tmp_path / "cloud.db", "person") == rows(tmp_path / "app.db", "person")


async def test_an_app_that_is_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db", rows=2000)
    async with working(tmp_path, "app.db", "app://cloud") as (server, settings):
        number = await begin(settings)
        for seconds in (0.2, 0.35, 0.5):
            await run_app(server, "importer.py", "cloud.db", kill_after=seconds)
        await run_app(server, "importer.py", "cloud.db")
        assert (await settled(settings, number)).status is Status.SUCCESS
        assert rows(tmp_path / "cloud.db", "person") == rows(tmp_path / "app.db", "person")


async def test_a_refused_record_is_named_until_a_later_one_of_its_key_is_accepted(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    change(tmp_path / "app.db", "UPDATE person SET name = 'refuse me' WHERE id = 3")
    async with working(tmp_path, "app.db", "app://cloud") as (server, settings):
        number = await begin(settings)
        await run_app(server, "importer.py", "cloud.db")
        movement = await settled(settings, number)
        assert (movement.status, movement.totals.rejected) == (Status.INCOMPLETE, 1)
        _, found = await server.get(f"/api/v1/flows/crm/movements/{number}/rejected")
        assert isinstance(found, dict)
        assert [(one["line"], one["key"], one["column"], one["reason"]) for one in found["items"]] == [
            (5, "[3]", "name", "no such name here")
        ]
        change(tmp_path / "app.db", "UPDATE person SET name = 'welcome' WHERE id = 3")
        number = await begin(settings)
        await run_app(server, "importer.py", "cloud.db")
        assert (await settled(settings, number)).status is Status.SUCCESS


async def test_an_app_imports_more_event_files_than_a_page_of_the_list_has(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db", rows=210)
    async with working(tmp_path, "app.db", "app://cloud", event_file_rows=2) as (server, settings):
        number = await begin(settings)
        await run_app(server, "importer.py", "cloud.db")
        assert (await settled(settings, number)).totals.files_imported == 106
        assert rows(tmp_path / "cloud.db", "person") == rows(tmp_path / "app.db", "person")


@pytest.mark.skipif(NODE is None, reason="node is not installed")
async def test_an_app_in_another_language_imports_too(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db", rows=250)
    async with working(tmp_path, "app.db", "app://cloud", event_file_rows=2) as (server, settings):
        for statement in ("SELECT 1", "DELETE FROM person WHERE id % 2 = 0"):
            change(tmp_path / "app.db", statement)
            number = await begin(settings)
            assert await run_app(server, "importer.mjs", "cloud.json") == number
            assert (await settled(settings, number)).status is Status.SUCCESS
            people = json.loads((tmp_path / "cloud.json").read_text())["person"].values()
            assert sorted((one["id"], one["name"]) for one in people) == rows(tmp_path / "app.db", "person")


class App:
    """An app's calls, one by one."""

    def __init__(self, server: Server, token: str) -> None:
        self._server, self._token = server, token

    async def get(self, path: str = "") -> Any:
        """Return the JSON of an answer, which must be good."""
        status, found = await self._server.get(f"/api/v1/apps/crm/import{path}", self._token)
        assert status == 200, found
        return found

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        return await self._server.request("POST", f"/api/v1/apps/crm/import{path}", self._token, json=body)

    async def ready(self, movement: int) -> list[Any]:
        """Return the Event Files of `person` as soon as all is exported."""
        with anyio.fail_after(30):
            state = await self.get()
            while not state["exported"] or state["movement"] != movement:
                state = await self.get(f"?wait=5&seen={state['version']}")
        items = (await self.get(f"/{movement}/groups/person/files"))["items"]
        assert isinstance(items, list)
        return items


@pytest.fixture
async def begun(tmp_path: Path) -> AsyncIterator[tuple[App, Server, Settings, int]]:
    """An app with a Movement that waits for it."""
    create_app(tmp_path / "app.db")
    async with working(tmp_path, "app.db", "app://cloud") as (server, settings):
        number = await begin(settings)
        yield App(server, await server.token(Role.APP, "crm", Side.DESTINATION)), server, settings, number


async def test_a_file_that_fails_for_good_leaves_the_movement_incomplete(
    begun: tuple[App, Server, Settings, int],
) -> None:
    app, _, settings, number = begun
    [file] = await app.ready(number)
    for final in (False, True):
        report = {"file": file["file"], "status": "failed", "final": final, "reason": "disk full"}
        status, found = await app.post(f"/{number}/status", {"files": [report]})
        assert (status, found["items"][0]["outcome"]) == (200, "failed")
    assert (await app.post(f"/{number}/settle", {"status": "SUCCESS"}))[0] == 409
    pet = (await app.get(f"/{number}/groups/pet/files"))["items"][0]["file"]
    reports = [{"file": pet, "status": "imported"}, {"file": "9/nope/full/0", "status": "imported"}]
    _, found = await app.post(f"/{number}/status", {"files": reports})
    assert [one["outcome"] for one in found["items"]] == ["imported", "no file of this Movement"]
    movement = await settled(settings, number)
    assert movement.status is Status.INCOMPLETE
    assert "disk full" in str(movement.problems)
    status, problem = await app.post(f"/{number}/status", {"files": reports})
    assert (status, "has settled" in problem["detail"]) == (409, True)


async def test_of_reports_with_a_line_that_is_not_in_its_file_nothing_is_taken(
    begun: tuple[App, Server, Settings, int],
) -> None:
    app, server, settings, number = begun
    [file] = await app.ready(number)
    pet = (await app.get(f"/{number}/groups/pet/files"))["items"][0]["file"]
    refused = {"file": file["file"], "status": "imported", "refused": [{"line": 6, "reason": "no such name"}]}
    failed = {"file": pet, "status": "failed", "final": True, "reason": "disk full"}
    wrong = {"file": pet, "status": "imported", "refused": [{"line": 3, "reason": "there are two lines"}]}
    for before in (refused, failed):
        status, problem = await app.post(f"/{number}/status", {"files": [before, wrong]})
        assert (status, "no record in line 3. Nothing was taken." in problem["detail"]) == (422, True)
        assert not (await app.ready(number))[0]["imported"]
        _, found = await server.get(f"/api/v1/flows/crm/movements/{number}/rejected")
        assert isinstance(found, dict)
        assert found["items"] == []
    del wrong["refused"]
    status, found = await app.post(f"/{number}/status", {"files": [refused, wrong]})
    assert (status, [one["outcome"] for one in found["items"]]) == (200, ["imported", "imported"])
    movement = await settled(settings, number)
    assert (movement.status, movement.totals.rejected, "disk full" in str(movement.problems)) == (
        Status.INCOMPLETE,
        1,
        False,
    )


async def test_settling_names_what_is_left_out(begun: tuple[App, Server, Settings, int]) -> None:
    app, _, settings, number = begun
    await app.ready(number)
    status, _ = await app.post(f"/{number}/settle", {"status": "FAILED", "reason": "the licence has expired"})
    assert status == 200
    movement = await settled(settings, number)
    assert movement.status is Status.FAILED
    assert "the licence has expired" in str(movement.problems)


async def test_a_percent_never_falls(begun: tuple[App, Server, Settings, int]) -> None:
    app, _, _, number = begun
    shown = [
        (await app.post(f"/{number}/progress", {"percent": percent}))[1]["percent"] for percent in (10, 60, 40, 61)
    ]
    assert shown == [10, 60, 60, 61]
    assert (await app.get())["percent"] == 61
    assert (await app.post(f"/{number}/progress", {"percent": 101}))[0] == 422


async def test_a_link_is_for_one_file_and_one_hour(begun: tuple[App, Server, Settings, int]) -> None:
    app, server, _, number = begun
    [file] = await app.ready(number)
    url = f"{server.url}{file['url']}"
    async with server.client.get(url) as answer:
        whole = await answer.read()
        assert (answer.status, len(whole)) == (200, file["size"])
    for header, part in [("bytes=10-19", whole[10:20]), ("bytes=30-", whole[30:]), ("bytes=-7", whole[-7:])]:
        async with server.client.get(url, headers={"Range": header}) as answer:
            assert (answer.status, await answer.read()) == (206, part)
    async with server.client.get(url, headers={"Range": f"bytes={len(whole)}-"}) as answer:
        assert answer.status == 416
    for altered in (url.replace("/person/", "/pet/"), url.replace("expires=1", "expires=2"), url[:-1], f"{url}é"):
        async with server.client.get(altered) as answer:
            assert answer.status == 403, altered
    server.clock.moment += timedelta(minutes=61)
    async with server.client.get(url) as answer:
        assert answer.status == 403
    server.clock.moment -= timedelta(minutes=61)
    _, renewed = await app.post(f"/{number}/links", {"files": [file["file"]]})
    async with server.client.get(f"{server.url}{renewed['items'][0]['url']}") as answer:
        assert answer.status == 200


async def test_the_name_of_a_flow_may_have_any_character(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    async with run_server(tmp_path) as server:
        settings = Settings(home=tmp_path / "home")
        await create_flow("crm/ü 100%", tmp_path / "app.db", "app://cloud", settings=settings)
        await start("crm/ü 100%", settings=settings)
        token = await server.token(Role.APP, "crm/ü 100%", Side.DESTINATION)
        url = yarl.URL(f"{server.url}/api/v1/apps/crm%252F%25C3%25BC%2520100%2525/import", encoded=True)
        async with server.client.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert (answer.status, (await answer.json())["flow"]) == (200, "crm/ü 100%")


async def test_a_progress_keeps_the_movement_alive(
    begun: tuple[App, Server, Settings, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _, _, number = begun
    seen: list[Busy] = []
    report = ProgressKeeper.report

    def watched(self: ProgressKeeper, event: Event) -> None:
        seen.extend([event] if isinstance(event, Busy) else [])
        report(self, event)

    monkeypatch.setattr(ProgressKeeper, "report", watched)
    await app.ready(number)
    await app.post(f"/{number}/progress", {"percent": 10, "message": "loading"})
    with anyio.fail_after(60):
        while not seen:  # noqa: ASYNC110  # the worker has no event for it
            await anyio.sleep(0.05)
    assert [one.text for one in seen[:2]] == ["loading", "loading"]


async def test_an_app_has_one_side_of_one_flow(begun: tuple[App, Server, Settings, int]) -> None:
    _, server, settings, number = begun
    await create_flow("other", "app.db", "app://elsewhere", settings=settings)
    for role, flow, side in [
        (Role.APP, "crm", Side.SOURCE),
        (Role.APP, "other", Side.DESTINATION),
        (Role.ADMIN, "", None),
    ]:
        token = await server.token(role, flow, side)
        for path in ("", f"/{number}/groups/person/files"):
            assert (await server.get(f"/api/v1/apps/crm/import{path}", token))[0] == 403
    assert (await server.get("/api/v1/apps/crm/import", None))[0] == 401


async def test_the_id_map_is_read_by_page_and_by_key(begun: tuple[App, Server, Settings, int]) -> None:
    app, server, _, number = begun
    flow = await server.site.runtime.flows.read_flow(FlowName("crm"))
    ids = StoredIds(Kept(server.site.runtime.store, flow.marks_namespace))
    for key in range(5):
        await ids.put("person", str(key), IdEntry("once", number, f"new {key}", "created"))
    ids.close()
    first = await app.get("/mappings/person?limit=3")
    second = await app.get(f"/mappings/person?limit=3&after={first['next']}")
    assert [one["source"] for page in (first, second) for one in page["items"]] == ["0", "1", "2", "3", "4"]
    assert second["next"] is None
    status, found = await app.post("/mappings/person/find", {"sources": ["3", "nope", "1"]})
    assert status == 200
    assert [(one["source"], one["target"], one["how"], one["movement"]) for one in found["items"]] == [
        ("3", "new 3", "created", number),
        ("1", "new 1", "created", number),
    ]
    assert (await app.post("/mappings/person/find", {"sources": ["1"] * 1201}))[0] == 422


async def test_a_rerun_carries_the_number_of_the_first_attempt(begun: tuple[App, Server, Settings, int]) -> None:
    app, server, settings, number = begun
    assert (await app.get())["original_movement"] is None
    for verb in ("stop", "rerun", "stop", "rerun"):
        status, found = await server.request("POST", f"/api/v1/flows/crm/actions/{verb}", json={})
        assert status == 200, found
        if verb == "stop":
            assert isinstance(found, dict)
            await settled(settings, found["movement"])
    state = await app.get()
    assert (state["movement"], state["original_movement"]) == (number + 2, number)


async def test_an_app_waits_for_the_first_movement(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    async with working(tmp_path, "app.db", "app://cloud") as (server, settings):
        app, found = App(server, await server.app_token("crm")), list[Any]()
        assert (await server.get("/api/v1/apps/crm/import?wait=0.1", app._token))[0] == 404
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                found.append(await app.get("?wait=20"))

            group.start_soon(wait)
            await anyio.sleep(0.3)
            number = await begin(settings)
        assert [one["movement"] for one in found] == [number]


async def test_a_kind_may_have_a_slash_in_its_name(begun: tuple[App, Server, Settings, int]) -> None:
    _, server, _, number = begun
    flow = await server.site.runtime.flows.read_flow(FlowName("crm"))
    ids = StoredIds(Kept(server.site.runtime.store, flow.marks_namespace))
    await ids.put("jira/classic:project", "1", IdEntry("once", number, "new 1", "created"))
    ids.close()
    for kind in ("jira/classic:project", "jira%2Fclassic:project", "jira%252Fclassic:project"):
        url = yarl.URL(f"{server.url}/api/v1/apps/crm/import/mappings/{kind}", encoded=True)
        headers = {"Authorization": f"Bearer {await server.app_token('crm')}"}
        async with server.client.get(url, headers=headers) as answer:
            assert [one["target"] for one in (await answer.json())["items"]] == ["new 1"]
        async with server.client.post(url / "find", headers=headers, json={"sources": ["1"]}) as answer:
            assert [one["target"] for one in (await answer.json())["items"]] == ["new 1"]


async def test_a_movement_that_the_app_gives_up_after_a_stop_is_cancelled(
    begun: tuple[App, Server, Settings, int],
) -> None:
    app, server, settings, number = begun
    await app.ready(number)
    flows = server.site.runtime.flows
    with anyio.fail_after(60):
        while not any(one.in_hand for one in await flows.read_progress(FlowName("crm"), number)):  # noqa: ASYNC110
            await anyio.sleep(0.05)
    status, found = await server.request("POST", "/api/v1/flows/crm/actions/stop", json={})
    assert (status, (await app.get())["status"]) == (200, "CANCELLATION_REQUESTED"), found
    assert (await app.post(f"/{number}/settle", {"status": "INCOMPLETE", "reason": "it is to stop"}))[0] == 200
    movement = await settled(settings, number)
    assert (movement.status, movement.because) == (Status.CANCELLED, Reason.STOPPED)


async def test_a_link_is_made_for_nothing_but_ids(begun: tuple[App, Server, Settings, int]) -> None:
    app, _, _, number = begun
    for wanted in ({"files": ["nonsense"]}, {"binaries": ["abc"]}, {"binaries": ["0" * 64 + ";name=a.png"]}):
        assert (await app.post(f"/{number}/links", wanted))[0] == 422


@pytest.mark.parametrize("encoding", ["stored", "plain"])
async def test_plain_lines_have_names_where_arrays_are_stored(server: Server, encoding: str) -> None:
    """The Flow moves from a database to a database, so its files have arrays."""
    app = App(server, await server.token(Role.APP, "crm", Side.DESTINATION))
    [file] = (await app.get("/1/groups/person/files"))["items"]
    async with server.client.get(f"{server.url}{file['url']}&encoding={encoding}") as answer:
        reader = EventFileReader(None, arrays=True)
        lines = b"".join(reader.feed(await answer.read()))
    reader.close()
    is_plain = encoding == "plain"
    assert reader.header is not None
    assert reader.header.arrays is not is_plain
    first = {"id": 0, "name": "person 0"} if is_plain else [0, "person 0"]
    assert json.loads(lines.splitlines()[0])["upsert"] == first
