"""An app that uploads: what it exports, and what it may not."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from yarl import URL

from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Status
from pipeline.http.tokens import Role, Side
from pipeline.remote.uploaded import UploadedSnapshot
from pipeline.remote.uploads import Uploads
from pipeline.settings import Settings
from tests.connectors.files.test_adversity import largest_file
from tests.http.conftest import Server, create_app
from tests.http.flows import change, rows, run_app, settled, working

PERSON = {
    "stream": "person",
    "columns": [{"name": "id", "type": "integer", "nullable": False}, {"name": "name", "type": "text"}],
    "primary_keys": ["id"],
}


async def test_an_app_exports_a_movement_and_then_what_has_changed(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db", rows=1000)
    async with working(tmp_path, "app://server", "copy.db") as (server, settings):
        first = await run_app(server, "exporter.py", "app.db")
        assert first is not None
        movement = await settled(settings, first)
        assert (movement.status, movement.totals.upserts) == (Status.SUCCESS, 1001), movement.problems
        assert rows(tmp_path / "copy.db", "person") == rows(tmp_path / "app.db", "person")
        change(tmp_path / "app.db", "DELETE FROM person WHERE id < 50", "UPDATE person SET name = 'new' WHERE id = 700")
        second = await run_app(server, "exporter.py", "app.db")
        assert second is not None
        movement = await settled(settings, second)
        assert (movement.status, movement.totals.upserts, movement.totals.deletes) == (Status.SUCCESS, 1, 50)
        assert rows(tmp_path / "copy.db", "person") == rows(tmp_path / "app.db", "person")
    assert not [path for path in (tmp_path / "home").rglob("*") if "/uploads/" in str(path)]


async def test_two_apps_meet(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db", rows=300)
    async with working(tmp_path, "app://server", "app://cloud") as (server, settings):
        number = await run_app(server, "exporter.py", "app.db")
        assert await run_app(server, "importer.py", "cloud.db") == number
        assert number is not None
        assert (await settled(settings, number)).status is Status.SUCCESS
        assert rows(tmp_path / "cloud.db", "person") == rows(tmp_path / "app.db", "person")


async def test_an_app_that_is_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db", rows=20_000)
    async with working(tmp_path, "app://server", "copy.db") as (server, settings):
        for seconds in (0.2, 0.3, 0.4):
            await run_app(server, "exporter.py", "app.db", kill_after=seconds)
        number = await run_app(server, "exporter.py", "app.db")
        assert number is not None
        assert (await settled(settings, number)).status is Status.SUCCESS
        assert rows(tmp_path / "copy.db", "person") == rows(tmp_path / "app.db", "person")


class App:
    """An app's calls, one by one."""

    def __init__(self, server: Server, token: str) -> None:
        self.server, self._token = server, token
        self.number = 0

    async def call(self, method: str, path: str = "", **options: Any) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        return await self.server.request(method, f"/api/v1/apps/crm/export{path}", self._token, **options)

    async def begin(self, *streams: object) -> tuple[int, Any]:
        """Begin an export."""
        status, found = await self.call("POST", json={"streams": streams or [PERSON]})
        self.number = found.get("movement", 0)
        return status, found

    async def put(self, number: int, data: bytes, stream: str = "person", **headers: str) -> tuple[int, Any]:
        """Put a file."""
        path = f"/{self.number}/streams/{stream}/files/{number}"
        return await self.call("PUT", path, data=data, headers=headers)

    async def raw(self, method: str, target: str, **options: Any) -> tuple[int, Any]:
        """Send a request whose target is percent-encoded as it is to be sent."""
        url, headers = URL(f"{self.server.url}{target}", encoded=True), {"Authorization": f"Bearer {self._token}"}
        async with self.server.client.request(method, url, headers=headers, **options) as answer:
            return answer.status, await answer.json()

    async def complete(self, files: int, label: str = "person") -> tuple[int, Any]:
        """Complete a group of one stream."""
        return await self.call("POST", f"/{self.number}/groups/{label}/complete", json={"files": {label: files}})

    async def end(self) -> tuple[int, Any]:
        """End the export."""
        return await self.call("POST", f"/{self.number}/end", json={})


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[tuple[App, Settings]]:
    """An app that uploads into a database."""
    async with working(tmp_path, "app://server", "copy.db") as (server, settings):
        yield App(server, await server.token(Role.APP, "crm", Side.SOURCE)), settings


def lines(*people: tuple[int, str | None]) -> bytes:
    """Return upserts of people."""
    return b"".join(orjson.dumps({"upsert": {"id": key, "name": name}}) + b"\n" for key, name in people)


async def test_changes_are_applied_on_top_of_what_is_there(app: tuple[App, Settings], tmp_path: Path) -> None:
    api, settings = app
    feed = {**PERSON, "mode": "changes"}
    for upload, expected in [
        (lines((1, "a"), (2, "b"), (3, "c")), [(1, "a"), (2, "b"), (3, "c")]),
        (lines((2, "B"), (4, "d")) + b'{"delete":{"id":3}}\n', [(1, "a"), (2, "B"), (4, "d")]),
        (lines((3, "again")) + b'{"delete":{"id":1}}\n' + lines((1, "after all")), None),
    ]:
        assert (await api.begin(feed))[0] == 201
        assert (await api.put(0, gzip.compress(upload)))[0] == 201
        await api.complete(1)
        await api.end()
        assert (await settled(settings, api.number)).status is Status.SUCCESS
        assert rows(tmp_path / "copy.db", "person") == (
            expected or [(1, "after all"), (2, "B"), (3, "again"), (4, "d")]
        )


async def test_the_end_may_come_when_the_movement_has_settled(app: tuple[App, Settings]) -> None:
    api, settings = app
    await api.begin()
    await api.put(0, lines((1, "a")))
    await api.complete(1)
    assert (await settled(settings, api.number)).status is Status.SUCCESS
    status, state = await api.end()
    assert (status, state.get("settled")) == (200, True)
    assert (await api.complete(1))[0] == 409


async def test_a_stream_that_the_app_does_not_name_keeps_its_records(app: tuple[App, Settings], tmp_path: Path) -> None:
    api, settings = app
    pet = {**PERSON, "stream": "pet"}
    for streams, status, kept in [
        ((PERSON, pet), Status.SUCCESS, 2),
        ((PERSON,), Status.INCOMPLETE, 2),
        ((PERSON, pet), Status.SUCCESS, 1),
    ]:
        assert (await api.begin(*streams))[0] == 201
        for stream in streams:
            label = str(stream["stream"])
            assert (await api.put(0, lines(*[(number, "a") for number in range(kept)]), label))[0] == 201
            await api.complete(1, label)
        await api.end()
        movement = await settled(settings, api.number)
        assert movement.status is status, movement.problems
        assert len(rows(tmp_path / "copy.db", "pet")) == kept
        assert (movement.held_deletes != {}) is (status is Status.INCOMPLETE)


async def test_an_upload_that_lies_is_not_stored(app: tuple[App, Settings]) -> None:
    api, _ = app
    await api.begin()
    good = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    status, problem = await api.put(0, lines((1, "a")), **{"Content-Digest": f"sha-256=:{good}:"})
    assert (status, "digest" in problem["detail"]) == (422, True)
    assert (await api.put(0, b"x", **{"Content-Digest": "md5=:x:"}))[0] == 400
    assert (await api.call("GET", f"/{api.number}"))[1]["streams"][0]["files"] == []


async def test_an_upload_for_which_the_server_has_no_room_is_not_stored(
    app: tuple[App, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.http.apps.bodies.IN_MEMORY_BYTES", 1000)
    api, _ = app
    await api.begin()
    body = lines(*((number, "x" * 1000) for number in range(900)))
    with largest_file(500_000):
        status, problem = await api.put(0, body)
    assert (status, problem["title"]) == (507, "Insufficient Storage")
    assert "makes room there, or names another one with TMPDIR; then send it again" in problem["detail"]
    assert (await api.put(0, body))[0] == 201


async def test_a_file_is_stored_once(app: tuple[App, Settings]) -> None:
    api, _ = app
    await api.begin()
    assert [(await api.put(0, lines((1, name))))[0] for name in ("a", "a", "b")] == [201, 200, 409]
    status, problem = await api.complete(2)
    assert (status, "File 1" in problem["detail"]) == (409, True)
    assert (await api.complete(1))[0] == 200
    assert (await api.complete(1))[0] == 200
    status, problem = await api.put(1, lines((2, "b")))
    assert (status, "complete" in problem["detail"]) == (409, True)


async def test_what_is_wrong_with_a_stream_is_said_at_the_beginning(app: tuple[App, Settings]) -> None:
    api, _ = app
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"columns": [{"name": "id", "type": "int4"}]}, "int4"),
        ({"primary_keys": ["nope"]}, "The stream 'person': the key names 'nope', which the row does not have."),
        ({"primary_keys": ["id", "id"]}, "The stream 'person': the key names 'id' twice."),
        ({"columns": [{"name": "id", "type": "json"}]}, "the key field 'id' is of the type json"),
        ({"columns": []}, "columns"),
        ({"mode": "some"}, "mode"),
        ({"colour": "red"}, "colour"),
    ]
    for change_, word in wrong:
        status, problem = await api.begin({**PERSON, **change_})
        assert (status, word in problem["detail"], ".py" in problem["detail"]) == (422, True, False), problem
    status, problem = await api.begin(PERSON, PERSON)
    assert (status, problem["detail"].partition(":")[0]) == (422, "The stream 'person'"), problem
    assert (await api.begin())[0] == 201
    status, problem = await api.begin({**PERSON, "label": "other"})
    assert (status, "other streams" in problem["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"nonsense\n", "file 0 of the stream 'person', line 1, is no record"),
        (lines((1, "a")) + b'{"insert":{"id":2}}\n', "line 2, has a record 'insert'"),
        (b'{"upsert":{"id":"x","name":null}}\n', "'id'"),
        (b'{"upsert":{"id":1,"nam":"a"}}\n', "'nam'"),
        (b'{"delete":{"id":1}}\n', "upserts alone"),
        (b'{"upsert":[1]}\n', "line 1, has an array of 1 values. It needs one for each of the 2 columns"),
        (gzip.compress(lines((1, "a")), mtime=0)[:-4], "person"),
    ],
)
async def test_a_file_that_is_damaged_leaves_its_stream_out_by_name(
    app: tuple[App, Settings], data: bytes, word: str
) -> None:
    api, settings = app
    pet = {**PERSON, "stream": "pet"}
    await api.begin(PERSON, pet)
    await api.put(0, data)
    await api.put(0, lines((7, "cat")), "pet")
    await api.complete(1)
    await api.complete(1, "pet")
    await api.end()
    movement = await settled(settings, api.number)
    assert movement.status is Status.INCOMPLETE
    assert any(word in item.reason for item in movement.inventory.items), movement.inventory
    assert rows(settings.home.parent / "copy.db", "pet") == [(7, "cat")]


@pytest.mark.parametrize(
    "data",
    [
        b'{"upsert":[1,"a"]}\n{"upsert":{"name":"b","id":2}}\n',
        b'{"metadata":true,"columns":[{"name":"name"},{"name":"id"}]}\n{"upsert":["a",1]}\n{"upsert": ["b", 2]}\n',
    ],
)
async def test_values_may_stand_in_an_array_in_the_order_of_the_columns(app: tuple[App, Settings], data: bytes) -> None:
    api, settings = app
    await api.begin()
    await api.put(0, data)
    await api.complete(1)
    await api.end()
    assert (await settled(settings, api.number)).status is Status.SUCCESS
    assert rows(settings.home.parent / "copy.db", "person") == [(1, "a"), (2, "b")]


async def test_an_export_that_fails_ends_the_movement(app: tuple[App, Settings]) -> None:
    api, settings = app
    await api.begin()
    assert (await api.end())[0] == 409
    status, found = await api.call("POST", f"/{api.number}/fail", json={"reason": "the licence has expired"})
    assert (status, found["status"]) == (200, "FAILED")
    movement = await settled(settings, api.number)
    assert (movement.status, "the licence has expired" in str(movement.problems)) == (Status.FAILED, True)
    assert (await api.put(0, b""))[0] == 409
    status, state = await api.call("GET", f"/{api.number}")
    assert (status, state["settled"], state["status"]) == (200, True, "FAILED")
    first = api.number
    await api.begin()
    assert api.number == first + 1


async def test_nothing_is_begun_while_the_one_before_is_imported(tmp_path: Path) -> None:
    async with working(tmp_path, "app://server", "app://cloud") as (server, _):
        api = App(server, await server.token(Role.APP, "crm", Side.SOURCE))
        await api.begin()
        await api.put(0, lines((1, "a")))
        await api.complete(1)
        await api.end()
        with anyio.fail_after(60):
            while not (await server.get("/api/v1/flows/crm/movements/1"))[1]["exported"]:  # type: ignore[index]  # noqa: ASYNC110
                await anyio.sleep(0.1)
        status, problem = await api.begin()
        assert (status, "Begin when it has settled" in problem["detail"]) == (409, True)
        uploads = Uploads(server.site.runtime.store, FlowName("crm"), 1)
        with anyio.fail_after(20):
            while await uploads.begun() is not None:  # noqa: ASYNC110
                await anyio.sleep(0.1)
        api.number = 1  # the one that was refused has none
        for status, problem in (await api.put(1, b""), await api.complete(1)):
            assert (status, "is complete, and is being imported" in problem["detail"]) == (409, True), problem


async def test_an_app_that_sends_files_for_long_is_no_app_that_stands_still(
    app: tuple[App, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, settings = app
    noted: list[str] = []
    monkeypatch.setattr(UploadedSnapshot, "_note", lambda _self, stream: noted.append(stream))
    await api.begin()
    for number in range(3):
        await api.put(number, lines((number, "a")))
        with anyio.fail_after(60):
            while len(noted) <= number:  # noqa: ASYNC110  # the worker has no event for it
                await anyio.sleep(0.05)
    await api.complete(3)
    await api.end()
    assert (await settled(settings, api.number)).status is Status.SUCCESS


async def test_the_source_has_no_right_at_the_destination(app: tuple[App, Settings]) -> None:
    api, _ = app
    await api.begin()
    for side in ("import", "import/mappings/person"):
        assert (await api.server.get(f"/api/v1/apps/crm/{side}", api._token))[0] == 403


async def test_names_with_a_slash_are_encoded_once_or_twice(app: tuple[App, Settings]) -> None:
    api, settings = app
    await api.begin({**PERSON, "stream": "a/b", "label": "x/y"})
    for number, stream in enumerate(("a%2Fb", "a%252Fb")):
        path = f"/api/v1/apps/crm/export/{api.number}/streams/{stream}/files/{number}"
        assert (await api.raw("PUT", path, data=lines((number, "x"))))[0] == 201
    for label in ("x%2Fy", "x%252Fy"):
        path = f"/api/v1/apps/crm/export/{api.number}/groups/{label}/complete"
        assert (await api.raw("POST", path, json={"files": {"a/b": 2}}))[0] == 200
    await api.end()
    assert (await settled(settings, api.number)).totals.upserts == 2


async def test_a_body_that_is_encoded_is_never_taken_for_another_one(app: tuple[App, Settings]) -> None:
    api, _ = app
    await api.begin()
    encoded, wrong = {"Content-Encoding": "gzip"}, {"Content-Encoding": "br"}
    for path in ("contents/a", "contents/a/parts/0", "streams/person/files/0/parts/0"):
        status, problem = await api.call("PUT", f"/{api.number}/{path}", data=gzip.compress(b"x"), headers=encoded)
        assert (status, "Send the body as it is" in problem["detail"]) == (415, True), path
    assert (await api.put(0, lines((1, "a")), **wrong))[0] == 415
    assert (await api.put(0, gzip.compress(lines((1, "a"))), **encoded))[0] == 201
    status, _ = await api.call("POST", f"/{api.number}/end", data=gzip.compress(b"{}"), headers=encoded)
    assert status == 415


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"files": {"person": 1}', "no JSON: Expecting ',' delimiter at character 23"),
        ('{"files": {"é": 1}}'.encode("latin-1"), "JSON in UTF-8"),
        (b"[" * 100_000, "JSON in UTF-8"),
    ],
)
async def test_a_body_that_is_no_json_is_answered_with_where_it_is_wrong(
    app: tuple[App, Settings], body: bytes, words: str
) -> None:
    api, _ = app
    await api.begin()
    headers = {"Content-Type": "application/json"}
    path = f"/{api.number}/groups/person/complete"
    status, problem = await api.call("POST", path, data=body, headers=headers)
    assert (status in (400, 422), words in problem["detail"]) == (True, True), problem


async def test_a_body_that_is_not_said_to_be_json_is_answered_with_what_to_send(app: tuple[App, Settings]) -> None:
    api, _ = app
    await api.begin()
    for headers in ({"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "text/plain"}):
        path = f"/{api.number}/groups/person/complete"
        status, problem = await api.call("POST", path, data=b'{"files": {}}', headers=headers)
        assert (status, "Content-Type: application/json" in problem["detail"]) == (422, True), problem
