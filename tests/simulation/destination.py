"""A place that holds rows and marks, and the destination as one process sees it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from anyio.lowlevel import checkpoint

from pipeline.codec.values import key_text
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import EventFileId, FlowName, StreamName, parse_binary_id
from pipeline.ports.destination import (
    DestinationSession,
    FileToLoad,
    GaveWay,
    Loaded,
    LoadOutcome,
    Mark,
    Rejection,
    Violation,
)
from tests.simulation.faults import Kind
from tests.simulation.process import Process
from tests.simulation.source import Tables
from tests.simulation.store import READING, WRITING

REFUSED_PREFIX = "bad"
Record = tuple[str, int, str]
"""`upsert` or `delete`, the number, the text."""

OnCommit = Callable[[EventFileId], None]


Rejected = dict[tuple[StreamName, int], tuple[Rejection, str]]


@dataclass
class Place:
    """What outlives processes. Without transactions a kill may leave rows without their mark, never the reverse.

    `on_commit` is called with each file that was marked, in the step in which it was.
    """

    tables: Tables = field(default_factory=dict)
    marks: dict[FlowName, dict[EventFileId, Mark]] = field(default_factory=lambda: defaultdict(dict))
    rejected: dict[FlowName, Rejected] = field(default_factory=lambda: defaultdict(dict))
    has_transactions: bool = True
    can_be_made: bool = True
    refuses: bool = True
    location: str = "simulated:destination"
    on_commit: OnCommit = lambda file: None

    def marked(self) -> set[EventFileId]:
        """Return all that is marked, under whatever name."""
        return {file for marks in self.marks.values() for file in marks}

    def apply(self, flow: FlowName, file: EventFileId, records: Sequence[Record]) -> list[Rejection]:
        """Apply records in order; return what was rejected."""
        rejected = self.rejected[flow]
        table = self.tables.setdefault(file.stream, {})
        rejections: list[Rejection] = []
        for line, (kind, number, text) in enumerate(records, start=2):
            rejected.pop((file.stream, number), None)
            if kind == "delete":
                table.pop(number, None)
            elif self.refuses and text.startswith(REFUSED_PREFIX):
                rejections.append(Rejection(file, line, key_text((number,)), "CHECK constraint failed", "text"))
                rejected[file.stream, number] = rejections[-1], text
            else:
                table[number] = text
        return rejections


@dataclass
class SimulatedDestination:
    """A Destination in the hands of one process. `session` is what it opens."""

    place: Place
    process: Process
    session: type[SimulatedSession] | None = None

    @property
    def location(self) -> str:
        return self.place.location

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[DestinationSession]:
        async def work() -> DestinationSession:
            await checkpoint()
            if not self.place.can_be_made:
                raise ConfigurationError(f"{self.location} cannot be made: its parent is missing.")
            return (self.session or SimulatedSession)(self.place, self.process, flow)

        yield await self.process.call("destination.open", work, READING)


@dataclass
class SimulatedSession:
    """An open destination."""

    place: Place
    process: Process
    flow: FlowName

    async def marks(self) -> Mapping[EventFileId, Mark]:
        async def work() -> Mapping[EventFileId, Mark]:
            await checkpoint()
            return dict(self.place.marks[self.flow])

        return await self.process.call("destination.marks", work, READING)

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        await self.process.call(f"destination.begin {file.entry.id}", checkpoint, READING)
        records = [await _record(file, line) async for block in file.blocks for line in block.splitlines()]

        async def commit() -> LoadOutcome:
            await checkpoint()
            self.process.disks.check_room(f"destination.load {file.entry.id}")
            return self.commit(file, records, after)

        async def half() -> None:
            await checkpoint()
            if not self.place.has_transactions and self.why_not(file, after) is None:
                self.place.apply(self.flow, file.entry.id, records[: (len(records) + 1) // 2])

        return await self.process.call(
            f"destination.load {file.entry.id}", commit, (*WRITING, Kind.REFUSE), halfway=half
        )

    def why_not(self, file: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        marks = self.place.marks[self.flow]
        if file.entry.id in marks:
            return f"{file.entry.id} is marked already"
        ahead = [mark.movement for other, mark in marks.items() if other.stream == file.entry.id.stream]
        if max(ahead, default=0) > file.movement:
            return f"Movement {max(ahead)} has come to {file.entry.id.stream}"
        missing = [before for before in after if before not in marks]
        return f"{missing[0]} is not marked" if missing else None

    def commit(self, file: FileToLoad, records: Sequence[Record], after: Sequence[EventFileId]) -> LoadOutcome:
        reason = self.why_not(file, after)
        if reason is not None:
            return GaveWay(reason)
        rejections = self.place.apply(self.flow, file.entry.id, records)
        deletes = sum(kind == "delete" for kind, _, _ in records)
        mark = Mark(len(records) - deletes - len(rejections), deletes, len(rejections), movement=file.movement)
        self.place.marks[self.flow][file.entry.id] = mark
        self.place.on_commit(file.entry.id)
        return Loaded(mark, tuple(rejections))

    async def retry_rejected(self) -> Sequence[Rejection]:
        async def work() -> Sequence[Rejection]:
            await checkpoint()
            rejected = self.place.rejected[self.flow]
            for (stream, number), (_, text) in list(rejected.items()):
                if not (self.place.refuses and text.startswith(REFUSED_PREFIX)):
                    self.place.tables[stream][number] = text
                    del rejected[stream, number]
            return [rejection for rejection, _ in rejected.values()]

        return await self.process.call("destination.retry_rejected", work, (*READING, Kind.FAIL_AFTER))

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        async def work() -> Sequence[Violation]:
            await checkpoint()
            return []

        return await self.process.call("destination.finish", work, (*READING, Kind.FAIL_AFTER))


async def _record(file: FileToLoad, line: bytes) -> Record:
    ((kind, row),) = orjson.loads(line).items()
    if "file" not in row:
        return kind, row["number"], row.get("text", "")
    async with file.open_binary(parse_binary_id(row["file"])) as pieces:
        return kind, row["number"], b"".join([piece async for piece in pieces]).decode()
