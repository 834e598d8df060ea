"""Apps in memory, as authors have them: every request takes a while, and there is more than one in a function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pipeline.kit import Gone, Key

Dump = AsyncIterator[tuple[str, Key, Mapping[str, object]]]
LATENCY_SECONDS = 0.01


async def travel() -> None:
    """Take the time of a message."""
    await asyncio.sleep(LATENCY_SECONDS)


@dataclass
class Project:
    id: int
    name: str


@dataclass
class Issue:
    id: int
    project_id: int
    title: str | None


@dataclass
class Api:
    """An API: objects by id, and those that were made for an idempotency key."""

    objects: dict[str, dict[str, object]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    made: int = 0

    async def post(self, kind: str, body: dict[str, object], key: str = "") -> str:
        await travel()
        if key and key in self.keys:
            return self.keys[key]
        self.made += 1
        id_ = f"new-{self.made}"
        self.objects[id_] = {"kind": kind, **body}
        if key:
            self.keys[key] = id_
        await travel()
        return id_

    async def put(self, id_: str, body: dict[str, object]) -> None:
        await travel()
        if id_ not in self.objects:
            raise Gone
        self.objects[id_] |= body

    async def delete(self, id_: str) -> None:
        await travel()
        if self.objects.pop(id_, None) is None:
            raise Gone

    async def search(self, kind: str, **wanted: object) -> str | None:
        await travel()
        for id_, body in self.objects.items():
            if body["kind"] == kind and all(body[name] == value for name, value in wanted.items()):
                return id_
        return None

    async def dump(self) -> Dump:
        for id_, body in self.objects.items():
            yield str(body["kind"]), id_, body


@dataclass
class Tables:
    """A store of rows by key, without transactions. `log` has every row that was appended to it.

    `applied` is what an author remembers to have applied.
    """

    rows: dict[tuple[str, Any], dict[str, object]] = field(default_factory=dict)
    log: list[tuple[str, Any, dict[str, object]]] = field(default_factory=list)
    applied: set[str] = field(default_factory=set)

    async def put(self, stream: str, key: Any, row: dict[str, object]) -> None:
        await travel()
        self.rows[stream, key] = row

    async def append(self, stream: str, key: Any, row: dict[str, object]) -> None:
        await travel()
        self.log.append((stream, key, row))

    async def delete(self, stream: str, key: Any) -> None:
        await travel()
        self.rows.pop((stream, key), None)

    async def dump(self) -> Dump:
        for (stream, key), row in self.rows.items():
            yield stream, key, row
        for stream, key, row in self.log:
            yield stream, key, row


@dataclass
class Changes:
    """What a transaction has changed and not committed: rows that were inserted, rows that were deleted, and marks."""

    inserted: list[tuple[str, Any, dict[str, object]]] = field(default_factory=list)
    deleted: list[tuple[str, Any]] = field(default_factory=list)
    marks: dict[str, bytes] = field(default_factory=dict)
    database: Database | None = None


@dataclass
class Database:
    """A database: a table without a key, so that a row that is inserted twice is there twice."""

    rows: list[tuple[str, Any, dict[str, object]]] = field(default_factory=list)
    marks: dict[str, bytes] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Changes]:
        """One at a time; what it has changed is visible when it has committed."""
        async with self.lock:
            changes = Changes(database=self)
            yield changes
            await travel()
            self.apply(changes)

    def apply(self, changes: Changes) -> None:
        """Commit."""
        self.rows = [row for row in self.rows if (row[0], row[1]) not in changes.deleted] + changes.inserted
        self.marks |= changes.marks

    async def dump(self) -> Dump:
        for row in self.rows:
            yield row


@dataclass
class Documents:
    """Files that are staged under a name, and rows that are published from them."""

    staged: dict[str, list[tuple[str, Any, dict[str, object] | None]]] = field(default_factory=dict)
    rows: dict[tuple[str, Any], list[dict[str, object]]] = field(default_factory=dict)

    async def dump(self) -> Dump:
        for (stream, key), versions in self.rows.items():
            for row in versions:
                yield stream, key, row


@dataclass
class Notes:
    """An app whose notes are read: the text of each by its id, when each was changed last, and what was deleted."""

    texts: dict[int, str] = field(default_factory=dict)
    changed: dict[int, int] = field(default_factory=dict)
    deleted: dict[int, int] = field(default_factory=dict)
    clock: int = 0
    position: int = 0

    async def ping(self) -> None:
        """Ask whether the app is there."""
        await travel()

    async def change(self, random: Random) -> None:
        """Insert, update or delete a note, as its users do."""
        await travel()
        self.clock += 1
        number = random.randint(1, 9)
        if random.random() < 0.2 and number in self.texts:
            del self.texts[number], self.changed[number]
            self.deleted[number] = self.clock
        else:
            self.texts[number] = random.choice("abcd")
            self.changed[number] = self.clock
            self.deleted.pop(number, None)
