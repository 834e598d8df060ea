"""An app that sends in parts, and contents of Binary Files."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from pipeline.domain.movement import Status
from pipeline.http.site import Limits
from pipeline.http.tokens import Role, Side
from pipeline.ports.object_store import PutCondition, list_pages
from pipeline.settings import Settings
from tests.http.conftest import run_server
from tests.http.flows import rows, settled, working
from tests.http.test_guard import talk
from tests.http.test_pulling import App as Importer
from tests.http.test_uploading import App, lines

PHOTO = {
    "stream": "photo",
    "columns": [{"name": "id", "type": "integer", "nullable": False}, {"name": "image", "type": "binary"}],
    "primary_keys": ["id"],
}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[tuple[App, Settings]]:
    """An app that uploads into a database."""
    async with working(tmp_path, "app://server", "copy.db") as (server, settings):
        yield App(server, await server.token(Role.APP, "crm", Side.SOURCE)), settings


def sha256(data: bytes) -> str:
    """Return the digest of data."""
    return hashlib.sha256(data).hexdigest()


async def put_part(app: App, where: str, number: int, data: bytes | io.BytesIO, **headers: str) -> tuple[int, Any]:
    """Put a part of a file or content."""
    return await app.call("PUT", f"/{app.number}/{where}/parts/{number}", data=data, headers=headers)


async def parts(app: App, where: str) -> list[tuple[int, int, str]]:
    """Return the number, size and digest of each part that is stored."""
    _, found = await app.call("GET", f"/{app.number}/{where}/parts")
    return [(one["number"], one["size"], one["sha256"]) for one in found["items"]]


async def join(app: App, where: str, pieces: list[bytes], whole: str = "") -> tuple[int, Any]:
    """Put a file or content together."""
    body = {"parts": [sha256(piece) for piece in pieces], "sha256": whole or sha256(b"".join(pieces))}
    return await app.call("POST", f"/{app.number}/{where}/complete", json=body)


async def test_a_file_that_was_sent_in_parts_is_moved_like_any_other(app: tuple[App, Settings], tmp_path: Path) -> None:
    api, settings = app
    data = gzip.compress(lines(*[(number, f"person {number}") for number in range(5000)]))
    pieces = [data[at : at + 4000] for at in range(0, len(data), 4000)]
    where = "streams/person/files/0"
    await api.begin()
    for number in reversed(range(1, len(pieces))):
        assert (await put_part(api, where, number, pieces[number]))[0] == 201
    assert await parts(api, where) == [(n, len(p), sha256(p)) for n, p in enumerate(pieces) if n]
    status, problem = await join(api, where, pieces)
    assert (status, "Part 0" in problem["detail"]) == (404, True)
    assert [(await put_part(api, where, 0, pieces[0]))[0] for _ in range(2)] == [201, 200]
    status, problem = await join(api, where, pieces, whole=sha256(b"another"))
    assert (status, "order" in problem["detail"]) == (422, True)
    assert (await join(api, where, [pieces[1], pieces[0], *pieces[2:]], whole=sha256(data)))[0] == 404
    assert (await api.call("GET", f"/{api.number}"))[1]["streams"][0]["files"] == []
    assert [(await join(api, where, pieces))[0] for _ in range(2)] == [201, 200]
    assert await parts(api, where) == []
    assert (await put_part(api, where, 0, pieces[0]))[0] == 409
    await api.complete(1)
    await api.end()
    assert (await settled(settings, api.number)).status is Status.SUCCESS
    assert len(rows(tmp_path / "copy.db", "person")) == 5000
    assert not [path for path in (tmp_path / "home").rglob("*") if "/uploads/" in str(path) and path.is_file()]


async def test_a_part_that_lies_is_not_stored_and_one_that_was_corrected_counts(app: tuple[App, Settings]) -> None:
    api, _ = app
    where = "contents/a"
    await api.begin(PHOTO)
    lie = "sha-256=:AAAA:"
    assert (await put_part(api, where, 0, b"x", **{"Content-Digest": lie}))[0] == 422
    assert await parts(api, where) == []
    await put_part(api, where, 0, b"wrong")
    await put_part(api, where, 0, b"right")
    assert (await join(api, where, [b"right"]))[0] == 201
    status, problem = await join(api, where, [b"wrong"])
    assert (status, "another content" in problem["detail"]) == (409, True)
    for path, body in [
        ("contents/b/complete", {"parts": [], "sha256": sha256(b"")}),
        ("contents/b/complete", {"parts": ["x"], "sha256": sha256(b"")}),
        ("contents/b/complete", {"parts": [sha256(b"")]}),
    ]:
        assert (await api.call("POST", f"/{api.number}/{path}", json=body))[0] == 422


async def test_a_part_that_was_damaged_in_the_store_is_sent_again(app: tuple[App, Settings]) -> None:
    api, _ = app
    where, store = "contents/a", api.server.site.runtime.store
    await api.begin(PHOTO)
    await put_part(api, where, 0, b"right")
    [key] = [info.key async for page in list_pages(store, "") for info in page if info.key.endswith(sha256(b"right"))]
    await store.put(key, b"wrong", PutCondition.NONE)
    status, problem = await join(api, where, [b"right"])
    assert (status, "Send it again" in problem["detail"]) == (500, True)
    assert (await put_part(api, where, 0, b"right"))[0] == 201
    assert (await join(api, where, [b"right"]))[0] == 201


async def test_contents_are_listed_and_their_names_are_no_paths(app: tuple[App, Settings]) -> None:
    api, _ = app
    await api.begin(PHOTO)
    for name in ("b", "a", "c.png"):
        status, found = await api.call("PUT", f"/{api.number}/contents/{name}", data=name.encode())
        assert (status, found["size"], found["sha256"]) == (201, len(name), sha256(name.encode()))
    assert [(await api.call("PUT", f"/{api.number}/contents/a", data=data))[0] for data in (b"a", b"b")] == [200, 409]
    first = (await api.call("GET", f"/{api.number}/contents?limit=2"))[1]
    second = (await api.call("GET", f"/{api.number}/contents?limit=2&after={first['next']}"))[1]
    assert [one["name"] for page in (first, second) for one in page["items"]] == ["a", "b", "c.png"]
    assert second["next"] is None
    for name in ("..%2fx", "%2e%2e", ".hidden", "x" * 201, "%E2%82%AC"):
        status, _ = await api.call("PUT", f"/{api.number}/contents/{name}", data=b"")
        assert status in (400, 404, 422), name


async def test_contents_arrive_at_the_app_that_pulls_and_are_sent_once(tmp_path: Path) -> None:
    small, large = b"a small one", os.urandom(3 << 19)
    async with working(tmp_path, "app://server", "app://cloud") as (server, settings):
        api = App(server, await server.token(Role.APP, "crm", Side.SOURCE))
        cloud = Importer(server, await server.token(Role.APP, "crm", Side.DESTINATION))
        await api.begin(PHOTO)
        await api.call("PUT", f"/{api.number}/contents/small-1", data=small)
        pieces = [large[: 1 << 19], large[1 << 19 :]]
        for number, piece in enumerate(pieces):
            await put_part(api, "contents/large-1", number, piece)
        assert (await join(api, "contents/large-1", pieces))[0] == 201
        records = [
            {"upsert": {"id": 1, "image": "small-1"}},
            {"upsert": {"id": 2, "image": {"content": "large-1", "name": "ä.png", "mediaType": "image/png"}}},
            {"upsert": {"id": 3, "image": None}},
        ]
        await api.put(0, b"\n".join(map(orjson.dumps, records)), "photo")
        await api.complete(1, "photo")
        await api.end()
        found = await images(cloud, server.url, api.number)
        assert found == {1: (small, ""), 2: (large, ";name=%C3%A4.png;type=image%2Fpng"), 3: (None, "")}
        assert (await settled(settings, api.number)).status is Status.SUCCESS
        await api.begin(PHOTO)
        records[2] = {"upsert": {"id": 3, "image": "was-never-sent"}}
        records[0] = {"upsert": {"id": 1, "image": {"content": "small-1", "name": "renamed"}}}
        await api.put(0, b"\n".join(map(orjson.dumps, records)), "photo")
        await api.complete(1, "photo")
        await api.end()
        assert await images(cloud, server.url, api.number) == {1: (small, ";name=renamed")}
        movement = await settled(settings, api.number)
        assert movement.status is Status.INCOMPLETE
        _, rejected = await server.get(f"/api/v1/flows/crm/movements/{api.number}/rejected")
        assert isinstance(rejected, dict)
        assert "was-never-sent" in str(movement), f"{movement} {rejected}"


async def images(cloud: Importer, url: str, movement: int) -> dict[int, tuple[bytes | None, str]]:
    """Import the photos of a Movement: the content of each, and what else is known of it."""
    found: dict[int, tuple[bytes | None, str]] = {}
    with anyio.fail_after(30):
        state = await cloud.get()
        while not state["exported"] or state["movement"] != movement:
            state = await cloud.get(f"?wait=5&seen={state['version']}")
    for file in (await cloud.get(f"/{movement}/groups/photo/files"))["items"]:
        if file["imported"]:
            continue
        async with cloud._server.client.get(f"{url}{file['url']}&encoding=plain") as answer:
            _, *records = map(orjson.loads, (await answer.text()).splitlines())
        for record in records:
            row = record["upsert"]
            id_, mark, more = (row["image"] or "").partition(";")
            found[row["id"]] = (await content(cloud, url, movement, id_) if id_ else None, mark + more)
        await cloud.post(f"/{movement}/status", {"files": [{"file": file["file"], "status": "imported"}]})
    return found


async def content(cloud: Importer, url: str, movement: int, id_: str) -> bytes:
    """Download a content by a link."""
    _, links = await cloud.post(f"/{movement}/links", {"binaries": [id_]})
    async with cloud._server.client.get(f"{url}{links['items'][0]['url']}") as answer:
        assert answer.status == 200
        return await answer.read()


async def test_parts_may_be_as_large_as_files(tmp_path: Path) -> None:
    async with run_server(tmp_path) as server:
        for path, expected in [
            ("streams/a/files/0/parts/0", 401),
            ("contents/a", 401),
            ("contents/a/parts/0", 401),
            ("contents/a/complete", 413),
        ]:
            code, _ = await server.request(
                "PUT", f"/api/v1/apps/crm/export/1/{path}", None, data=io.BytesIO(b" " * (9 << 20))
            )
            assert code == expected, path


@pytest.mark.parametrize("length", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_a_body_that_is_shorter_than_it_says_is_not_stored(app: tuple[App, Settings], length: str) -> None:
    api, _ = app
    await api.begin()
    lines_ = [
        f"PUT /api/v1/apps/crm/export/{api.number}/contents/short HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {api._token}",
        length,
    ]
    body = "5\r\nhello\r\n" if "chunked" in length else "hello"
    answer = await talk(api.server, "\r\n".join([*lines_, "", body]), end=True)
    assert b" 201 " not in answer.split(b"\r\n")[0]
    assert (await api.call("GET", f"/{api.number}/contents"))[1]["items"] == []


async def test_an_upload_without_end_is_cut_off_and_not_stored(tmp_path: Path) -> None:
    limits = replace(Limits(), upload_bytes=5_000_000)
    async with working(tmp_path, "app://server", "copy.db", limits=limits) as (server, _):
        api = App(server, await server.token(Role.APP, "crm", Side.SOURCE))
        await api.begin()

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b" " * 100_000

        status, _ = await api.call("PUT", f"/{api.number}/contents/endless", data=endless())
        assert status == 413
        assert (await api.call("GET", f"/{api.number}/contents"))[1]["items"] == []
        pieces = [b"a" * 3_000_000, b"b" * 3_000_000]
        for number, piece in enumerate(pieces):
            await put_part(api, "contents/parts", number, io.BytesIO(piece))
        assert (await join(api, "contents/parts", pieces))[0] == 422
