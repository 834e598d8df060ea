"""An Importer and an Exporter of a FakeApp over real HTTP, with the client of an author."""

from __future__ import annotations

import http.client
import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any
from urllib.parse import urlencode, urlsplit

from anyio import to_thread

from pipeline.kit import Again, Changes, Exporter, Gone, Import, Importer, Page
from pipeline.testing import FakeApp
from tests.testing.apps import Dump, Project
from tests.testing.sound import Note


class Client:
    """Requests to an app, each over a connection of its own."""

    def __init__(self, url: str, app: FakeApp) -> None:
        self._host, self.app = urlsplit(url).netloc, app

    async def request(self, method: str, path: str, body: object = None, key: str = "", **query: object) -> Any:
        status, wait, text = await to_thread.run_sync(self._send, method, f"{path}?{urlencode(query)}", body, key)
        match status:
            case 429 | 503:
                raise Again(after=float(wait or 1))
            case 404:
                raise Gone
        return json.loads(text) if text else None

    def _send(self, method: str, path: str, body: object, key: str) -> tuple[int, str | None, bytes]:
        connection = http.client.HTTPConnection(self._host, timeout=10)
        try:
            connection.request(method, path, json.dumps(body), {"Idempotency-Key": key} if key else {})
            response = connection.getresponse()
            return response.status, response.headers.get("Retry-After"), response.read()
        finally:
            connection.close()


importer = Importer("projects over HTTP")


@importer.scratch
async def scratch() -> AsyncIterator[Client]:
    app = FakeApp(page_size=3, busy=0.05, lost_answers=0.05)
    with app.serve() as url:
        yield Client(url, app)


@importer.dump
async def dump(target: Client) -> Dump:
    for one in target.app.objects("projects"):
        yield "projects", one["id"], one


@importer.creates("projects", row=Project)
async def create(target: Client, project: Project, ctx: Import) -> str:
    return str((await target.request("POST", "/projects", {"name": project.name}, ctx.once_key))["id"])


@create.update
async def update(target: Client, id_: str, project: Project, ctx: Import) -> None:
    await target.request("PUT", f"/projects/{id_}", {"name": project.name})


@create.delete
async def delete(target: Client, id_: str, ctx: Import) -> None:
    await target.request("DELETE", f"/projects/{id_}")


exporter = Exporter("notes over HTTP")


@exporter.scratch
async def new_app() -> AsyncIterator[Client]:
    app = FakeApp(page_size=3, busy=0.05, lost_answers=0.05)
    with app.serve() as url:
        yield Client(url, app)


@exporter.change
async def change(client: Client, random: Random) -> None:
    ids = [one["id"] for one in client.app.objects("notes")]
    if not ids or random.random() < 0.5:
        client.app.respond("POST", "/notes", {}, {"text": random.choice("abc")}, {})
    elif random.random() < 0.5:
        client.app.respond("PUT", f"/notes/{random.choice(ids)}", {}, {"text": random.choice("abc")}, {})
    else:
        client.app.respond("DELETE", f"/notes/{random.choice(ids)}", {}, {}, {})


@exporter.pages("notes", row=Note, key="id", order="stable")
async def notes(client: Client, after: str | None) -> Page[Note]:
    got = await client.request("GET", "/notes", after=after or 0)
    return Page([Note(**item) for item in got["items"]], next=got["next"])


@exporter.changes("changed", row=Note, key="id")
async def changed(client: Client, since: str | None) -> Changes[Note]:
    got = await client.request("GET", "/notes", since=since or 0)
    return Changes([Note(**item) for item in got["items"]], got["deleted"], cursor=got["cursor"], more=got["more"])
