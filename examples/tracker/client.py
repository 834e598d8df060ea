"""The client of the tracker's REST API: its settings, its rows, and requests over HTTP with errors as those of the kit."""

from __future__ import annotations

import http.client
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

from anyio import to_thread

from pipeline.kit import Again, Binary, Changes, Gone, Page, Refused, Secret

SECONDS = 10.0
PIECE_BYTES = 1 << 18
MEMORY_BYTES = 1 << 22


@dataclass
class Settings:
    url: str
    token: Secret = Secret()  # noqa: RUF009  # a Secret does not change


@dataclass
class Project:
    id: int
    name: str


@dataclass
class Issue:
    id: int
    project_id: int
    title: str
    screenshot: Binary | None


async def connect(settings: Settings) -> AsyncIterator[Client]:
    yield Client(settings.url, settings.token.reveal())


class Client:
    """Requests to one tracker. Each opens a connection of its own, so that they may run side by side."""

    def __init__(self, url: str, token: str) -> None:
        self._host = urlsplit(url).netloc
        self._token = token

    async def projects(self, after: str | None) -> Page[Project]:
        """Return the page of projects with larger ids."""
        got = await self._ask("GET", "/projects", {"after": after})
        return Page([Project(item["id"], item["name"]) for item in got["items"]], next=got["next"])

    async def issues(self, offset: str | None) -> Page[Issue]:
        """Return a page of issues, which may move to another page meanwhile."""
        got = await self._ask("GET", "/issues", {"offset": offset})
        return Page([self._issue(item) for item in got["items"]], next=got["next"], total=got["total"])

    async def issue_changes(self, since: str | None) -> Changes[Issue]:
        """Return the issues that were changed and deleted since a change, all if it is None."""
        got = await self._ask("GET", "/changes", {"since": since})
        upserts = [self._issue(item) for item in got["issues"]]
        return Changes(upserts, deletes=got["gone"], cursor=got["cursor"], more=got["more"])

    async def create(self, path: str, body: dict[str, object], key: str = "") -> str:
        """Create a resource, once for each `key`, and return its id."""
        return str((await self._ask("POST", path, body=body, headers={"Idempotency-Key": key}))["id"])

    async def find(self, path: str, external: int) -> str | None:
        """Return the id of the resource that has the id `external` elsewhere."""
        found = (await self._ask("GET", path, {"external": external}))["items"]
        return str(found[0]["id"]) if found else None

    async def replace(self, path: str, id_: str, body: dict[str, object]) -> None:
        """Replace a resource."""
        await self._ask("PUT", f"{path}/{quote(id_)}", body=body)

    async def delete(self, path: str, id_: str) -> None:
        """Delete a resource."""
        await self._ask("DELETE", f"{path}/{quote(id_)}")

    async def upload(self, pieces: AsyncIterator[bytes], key: str) -> str:
        """Store a file, once for each `key`, and return its id."""
        with SpooledTemporaryFile(MEMORY_BYTES) as file:
            async for piece in pieces:
                await to_thread.run_sync(file.write, piece)
            headers = {"Idempotency-Key": key, "Content-Length": str(file.tell())}
            file.seek(0)
            return str((await self._ask("POST", "/files", body=file, headers=headers))["id"])

    def _issue(self, item: dict[str, Any]) -> Issue:
        file = item["file"]
        screenshot = None if file is None else Binary(lambda: self._download(file["id"]), version=file["version"])
        return Issue(item["id"], item["project_id"], item["title"], screenshot)

    async def _download(self, file: str) -> AsyncIterator[bytes]:
        connection = http.client.HTTPConnection(self._host, timeout=SECONDS)
        try:
            response = await to_thread.run_sync(self._send, connection, "GET", f"/files/{quote(file)}", None, {})
            _raise_for(response)
            while piece := await to_thread.run_sync(response.read, PIECE_BYTES):
                yield piece
        finally:
            connection.close()

    async def _ask(
        self,
        method: str,
        path: str,
        query: dict[str, object] | None = None,
        body: dict[str, object] | IO[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Return the JSON of an answer. Members of `query` that are None are left out."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return await to_thread.run_sync(self._answer, method, f"{path}?{urlencode(given)}", body, headers or {})

    def _answer(
        self, method: str, path: str, body: dict[str, object] | IO[bytes] | None, headers: dict[str, str]
    ) -> Any:
        connection = http.client.HTTPConnection(self._host, timeout=SECONDS)
        try:
            response = self._send(connection, method, path, body, headers)
            _raise_for(response)
            text = response.read()
            return json.loads(text) if text else None
        finally:
            connection.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: dict[str, object] | IO[bytes] | None,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.request(method, path, data, {**headers, "Authorization": f"Bearer {self._token}"})
        return connection.getresponse()


def _raise_for(response: http.client.HTTPResponse) -> None:
    match response.status:
        case 200 | 201 | 204:
            return
        case 429 | 503:
            raise Again(after=float(response.headers.get("Retry-After", 1)))
        case 404 | 410:
            raise Gone
        case 400 | 409 | 422:
            raise Refused(response.read().decode())
    raise OSError(f"the tracker answered {response.status}")
