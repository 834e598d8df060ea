"""Uploads of the public platform: an app sends files in parts to signed URLs, and they are moved."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipeline.domain.movement import Status
from pipeline.http.site import PlatformProfile
from pipeline.http.tokens import Role, Side
from pipeline.settings import Settings
from tests.http.conftest import Server, create_app
from tests.http.flows import rows, settled, working
from tests.http.platform_app import FORGE


def digest(data: bytes) -> str:
    """Return a SHA-256 digest in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def lines(*records: Mapping[str, object]) -> bytes:
    """Return a file of the table `person`, with its header."""
    header = {"metadata": True, "table": "person", "columns": [], "primaryKeys": ["id"], "rowCount": len(records)}
    return b"".join(json.dumps(one).encode() + b"\n" for one in (header, *records))


class Exporter:
    """An app that uploads one transfer."""

    def __init__(self, server: Server, token: str) -> None:
        self.server, self.token, self.transfer = server, token, uuid4()

    async def post(self, path: str = "", **body: object) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        url = f"{FORGE}/upload/{self.transfer}{path}"
        async with self.server.client.post(
            f"{self.server.url}{url}", json=body, headers={"Authorization": f"Bearer {self.token}"}
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def url(self, upload: str, index: int, data: bytes, **more: object) -> str:
        """Return where a part goes."""
        part = {"uploadId": upload, "chunkIndex": index, "contentLength": len(data), "contentSHA256": digest(data)}
        status, found = await self.post("/url", **{**part, **more})
        assert status == 200, found
        return str(found["url"])

    async def put(self, url: str, data: bytes) -> tuple[int, str]:
        """Send a part without a token; return the status, and its ETag."""
        async with self.server.client.put(url, data=data) as answer:
            return answer.status, answer.headers.get("etag", "")

    async def send(self, data: bytes, name: str = "", parts: int = 2) -> str:
        """Upload a file in parts, the last one first; return its id. Without a name, it is a Binary File."""
        status, found = await self.post()
        assert status == 200, found
        size = -(-len(data) // parts)
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        for index, piece in reversed(list(enumerate(pieces))):
            url = await self.url(found["uploadId"], index, piece)
            assert await self.put(url, piece) == (200, f'"{digest(piece)}"')
        sums = list(map(digest, pieces))
        wanted = {"uploadId": found["uploadId"], "sha256CheckSumValues": sums, "fullName": name}
        status, final = await self.post("/finalise", **wanted)
        assert (status, final) == (200, {"fileId": f"{'event' if name else 'binary'}_file/{found['uploadId']}"})
        assert await self.post("/finalise", **wanted) == (200, final)
        return str(final["fileId"])


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[tuple[Exporter, Settings]]:
    """An app whose Flow has an export as source."""
    source = f"sam://{tmp_path}/export"
    async with working(tmp_path, source, "copy.db", platform=PlatformProfile()) as (server, settings):
        yield Exporter(server, await server.app_token("crm", Side.SOURCE)), settings


async def test_files_that_are_uploaded_are_moved_in_the_order_of_their_names(
    app: tuple[Exporter, Settings], tmp_path: Path
) -> None:
    api, settings = app
    await api.send(lines({"id": 2, "name": "new"}), "person_incremental_0.ndjson")
    await api.send(lines({"id": 1, "name": "a"}, {"id": 2, "name": "b"}), "person_full_0.ndjson")
    assert (await api.post("/complete"))[0] == 204
    movement = await settled(settings, 1)
    assert movement.status is Status.SUCCESS, movement.problems
    assert rows(tmp_path / "copy.db", "person") == [(1, "a"), (2, "new")]
    api.transfer = uuid4()
    await api.send(lines({"id": 3, "name": "c"}), "person_incremental_1.ndjson", parts=1)
    assert (await api.post("/complete"))[0] == 204
    assert (await settled(settings, 2)).status is Status.SUCCESS
    assert rows(tmp_path / "copy.db", "person") == [(1, "a"), (2, "new"), (3, "c")]


async def test_a_binary_file_may_be_uploaded_long_before_the_event_file_that_names_it(
    app: tuple[Exporter, Settings], tmp_path: Path
) -> None:
    api, settings = app
    content = bytes(range(256)) * 10
    binary = await api.send(content)
    assert (await api.post("/complete"))[0] == 409
    api.transfer = uuid4()
    await api.send(lines({"id": 1, "fileId": binary, "size": len(content), "name": "a.bin"}), "person_full_0.ndjson")
    assert (await api.post("/complete"))[0] == 204
    movement = await settled(settings, 1)
    assert (movement.status, movement.totals.binaries_imported) == (Status.SUCCESS, 1), movement.problems


async def test_a_url_takes_the_part_that_it_was_made_for_and_no_other(app: tuple[Exporter, Settings]) -> None:
    api, _ = app
    upload, data = str(uuid4()), lines({"id": 1, "name": "a"})
    url = await api.url(upload, 0, data, contentSHA256=b64encode(hashlib.sha256(data).digest()).decode())
    other = await api.url(str(uuid4()), 0, b"")
    assert (await api.put(url, data[:-1] + b" "))[0] == 422
    assert (await api.put(url, data + b" "))[0] == 422
    for wrong in (
        url.replace(f"{upload}/0", f"{upload}/1"),
        url.replace("/crm/", "/other/"),
        url.replace(digest(data), digest(b"")),
        url.replace(f"length={len(data)}", "length=0"),
        url.partition("&expires")[0] + other[other.index("&expires") :],
        url[:-1] + ("0" if url[-1] != "0" else "1"),
    ):
        assert (await api.put(wrong, data))[0] == 403, wrong
    api.server.clock.moment += timedelta(hours=1)
    assert (await api.put(url, data))[0] == 403


async def test_what_is_incomplete_or_final_is_refused(app: tuple[Exporter, Settings]) -> None:
    api, _ = app
    assert (await api.post("/complete"))[0] == 409
    upload, data = str(uuid4()), lines({"id": 1, "name": "a"})
    final = {"uploadId": upload, "sha256CheckSumValues": [digest(data)], "fullName": "person_full_0.ndjson"}
    status, problem = await api.post("/finalise", **final)
    assert (status, "Part 0" in problem["detail"]) == (404, True)
    await api.put(await api.url(upload, 0, data), data)
    for name in ("../x", "a//b", ".hidden", "x" * 300):
        assert (await api.post("/finalise", **{**final, "fullName": name}))[0] == 422
    assert (await api.post("/finalise", **{**final, "sha256CheckSumValues": ["x"]}))[0] == 422
    assert (await api.post("/finalise", **final))[0] == 200
    assert (await api.post("/finalise", **{**final, "fullName": "other.ndjson"}))[0] == 409
    part = {"uploadId": upload, "chunkIndex": 1, "contentLength": 0, "contentSHA256": digest(b"")}
    assert (await api.post("/url", **part))[0] == 409
    assert (await api.post("/complete"))[0] == 204
    await api.send(data, "person_full_1.ndjson")
    status, problem = await api.post("/complete")
    assert (status, "begin another one" in problem["detail"]) == (409, True)


@pytest.mark.parametrize(("stored", "expected"), [(b"content", 200), (b"another", 409)])
async def test_what_an_interrupted_call_has_stored_counts_if_it_is_the_same(
    stored: bytes, expected: int, app: tuple[Exporter, Settings], tmp_path: Path
) -> None:
    api, _ = app
    upload, data = str(uuid4()), b"content"
    await api.put(await api.url(upload, 0, data), data)
    (tmp_path / "export" / "binary_file").mkdir(parents=True)
    (tmp_path / "export" / "binary_file" / upload).write_bytes(stored)
    status, answer = await api.post("/finalise", uploadId=upload, sha256CheckSumValues=[digest(data)])
    assert status == expected, answer
    assert expected == 200 or "stored with other content" in answer["detail"]


async def test_an_upload_needs_the_token_of_a_source_that_is_an_export(tmp_path: Path) -> None:
    create_app(tmp_path / "app.db")
    async with working(tmp_path, "app.db", "app://cloud", platform=PlatformProfile()) as (server, _):
        for side, scopes, expected in (
            (Side.DESTINATION, (), 403),
            (Side.SOURCE, ("pii",), 403),
            (Side.SOURCE, (), 409),
        ):
            api = Exporter(server, await server.token(Role.APP, "crm", side, scopes))
            assert (await api.post())[0] == expected
