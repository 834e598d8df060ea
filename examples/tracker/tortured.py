"""The tracker with all that tests need: both sides on trackers in memory, by the same client.

pipeline torture ./tortured.py:exporter ./tortured.py:importer
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import IO, Any
from urllib.parse import urlencode

from anyio.lowlevel import checkpoint
from client import Client
from server import Tracker
from tracker import exporter, importer

from pipeline.kit import Gone, Key

__all__ = ["exporter", "importer"]
NUMBERS = 6


class InMemory(Client):
    """The client of a tracker in memory: a request takes effect, and may be interrupted before and after."""

    def __init__(self, tracker: Tracker) -> None:
        super().__init__("http://memory", "")
        self.tracker = tracker

    async def _ask(
        self,
        method: str,
        path: str,
        query: dict[str, object] | None = None,
        body: dict[str, object] | IO[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        await checkpoint()
        data = b"" if body is None else json.dumps(body).encode() if isinstance(body, dict) else body.read()
        given = {name: value for name, value in (query or {}).items() if value is not None}
        key = (headers or {}).get("Idempotency-Key", "")
        status, answer = self.tracker.handle(method, f"{path}?{urlencode(given)}", data, key)
        await checkpoint()
        if status == 404:
            raise Gone
        return answer

    async def _download(self, file: str) -> AsyncIterator[bytes]:
        await checkpoint()
        yield self.tracker.files[file]


@exporter.scratch
async def source() -> AsyncIterator[Client]:
    yield InMemory(Tracker())


@exporter.change
async def change(client: Client, random: Random) -> None:
    assert isinstance(client, InMemory)
    tracker, number, title = client.tracker, random.randrange(1, NUMBERS), random.choice("abc")
    project = random.randrange(1, 3)
    if project not in tracker.tables["projects"] or random.random() < 0.2:
        tracker.put("projects", project, name=title)
    elif number in tracker.tables["issues"] and random.random() < 0.3:
        tracker.remove("issues", number)
    else:
        file = tracker.attach(title.encode()) if random.random() < 0.3 else None
        tracker.put("issues", number, project_id=project, title=title, file=file)


@importer.scratch
async def target() -> AsyncIterator[Client]:
    yield InMemory(Tracker())


@importer.dump
async def dump(client: Client) -> AsyncIterator[tuple[str, Key, Mapping[str, object]]]:
    assert isinstance(client, InMemory)
    for number, row in client.tracker.tables["projects"].items():
        yield "projects", str(number), {"name": row["name"]}
    for number, row in client.tracker.tables["issues"].items():
        yield (
            "issues",
            str(number),
            {"id": row["external"], "project_id": row["project_id"], "title": row["title"]},
        )
