"""The rows, marks and rejected records of a destination in memory, with the rules of `pipeline.ports.destination`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import orjson

from pipeline.codec.values import key_text
from pipeline.domain.ids import EventFileId, FlowName, StreamName, parse_binary_id
from pipeline.domain.planning.import_guard import reason_to_give_way
from pipeline.ports.destination import FileToLoad, Loaded, LoadOutcome, Mark, Rejection
from tests.fakes.rows import Tables

Record = tuple[str, int, str]
"""`upsert` or `delete`, the number, the text."""
Rejected = dict[tuple[StreamName, int], tuple[Rejection, str]]
Reject = Callable[[int, str], str | None]
Trigger = Callable[[str], str | None]
"""What the app's trigger makes of a text that is written: the same, another one, or None when it drops the row."""


def accept(number: int, text: str) -> str | None:
    """Reject no row."""
    return None


@dataclass
class Place:
    """What a destination holds, whichever process writes it. `rejects` returns why a row is rejected, or None.

    An app lives there: it has a `trigger`, and rows of its `own`. Each refers to a row of a stream, and is deleted with
    it, as ON DELETE CASCADE does. `columns` are those of each stream; none is ever removed. `loads` counts how often each
    file was committed; `on_commit` is called with it, in the step that commits it.
    """

    tables: Tables = field(default_factory=dict)
    marks: dict[FlowName, dict[EventFileId, Mark]] = field(default_factory=lambda: defaultdict(dict))
    fences: dict[FlowName, int] = field(default_factory=dict)
    rejected: dict[FlowName, Rejected] = field(default_factory=lambda: defaultdict(dict))
    loads: Counter[EventFileId] = field(default_factory=Counter)
    rejects: Reject = accept
    trigger: Trigger = lambda text: text
    own: dict[int, tuple[str, int]] = field(default_factory=dict)
    columns: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    on_commit: Callable[[EventFileId], None] = lambda file: None
    can_be_made: bool = True
    location: str = "memory:destination"

    def marked(self) -> set[EventFileId]:
        """Return the Event Files that any Flow has imported."""
        return {file for marks in self.marks.values() for file in marks}

    def why_not(self, flow: FlowName, file: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        """Return why the file must not be loaded, if it must not."""
        marks, id_ = self.marks[flow], file.entry.id
        latest = max((mark.movement for other, mark in marks.items() if other.stream == id_.stream), default=0)
        fenced = self.fences.get(flow, 0)
        return reason_to_give_way(id_, file.movement, after, marked=marks, latest_movement=latest, fenced=fenced)

    def apply(
        self, flow: FlowName, file: EventFileId, records: Sequence[Record], writer: Writer | None = None
    ) -> list[Rejection]:
        """Apply records in order; return those that were rejected."""
        self.tables.setdefault(file.stream, {})
        rejected, writer = self.rejected[flow], writer or Writer(self)
        rejections: list[Rejection] = []
        for line, (kind, number, text) in enumerate(records, start=2):
            rejected.pop((file.stream, number), None)
            if kind == "delete":
                writer.delete(file.stream, number)
            elif reason := writer.upsert(file.stream, number, text):
                rejections.append(Rejection(file, line, key_text((number,)), reason, "text"))
                rejected[file.stream, number] = rejections[-1], text
        return rejections

    def commit(self, flow: FlowName, file: FileToLoad, records: Sequence[Record], writer: Writer) -> LoadOutcome:
        """Apply records and mark their file."""
        writer.prepare(file)
        rejections = self.apply(flow, file.entry.id, records, writer)
        deletes = sum(kind == "delete" for kind, _, _ in records)
        mark = Mark(len(records) - deletes - len(rejections), deletes, len(rejections), movement=file.movement)
        self.marks[flow][file.entry.id] = mark
        self.loads[file.entry.id] += 1
        self.on_commit(file.entry.id)
        return Loaded(mark, tuple(rejections))

    def retry_rejected(self, flow: FlowName) -> Sequence[Rejection]:
        """Apply the rejected records that are accepted now; return the others."""
        rejected = self.rejected[flow]
        for (stream, number), (rejection, text) in list(rejected.items()):
            if Writer(self).upsert(stream, number, text) is None:
                del rejected[stream, number]
                mark = self.marks[flow][rejection.file]
                self.marks[flow][rejection.file] = replace(mark, upserts=mark.upserts + 1, rejected=mark.rejected - 1)
        return [rejection for rejection, _ in rejected.values()]


@dataclass
class Writer:
    """Writes single rows of a place, and looks what has become of each."""

    at: Place

    def prepare(self, file: FileToLoad) -> None:
        """Add the columns of a file that the place does not have."""
        self.at.columns[file.entry.id.stream].update(file.header.schema.column_names)

    def upsert(self, stream: str, number: int, text: str) -> str | None:
        """Write a row; return why it is rejected, with nothing changed then."""
        if reason := self.at.rejects(number, text):
            return reason
        written = self.at.trigger(text)
        if written != text:
            return "a trigger dropped the row" if written is None else "a trigger altered the row"
        self.at.tables[stream][number] = text
        return None

    def delete(self, stream: str, number: int) -> None:
        """Delete a row, and the app's own rows that refer to it."""
        self.at.tables[stream].pop(number, None)
        for own in [own for own, referred in self.at.own.items() if referred == (stream, number)]:
            del self.at.own[own]


async def records_of(file: FileToLoad) -> list[Record]:
    """Return the records of an Event File. The text of a row may be the content of its Binary File `file`."""
    return [await _record(file, line) async for block in file.blocks for line in block.splitlines()]


async def _record(file: FileToLoad, line: bytes) -> Record:
    ((kind, row),) = orjson.loads(line).items()
    if "file" not in row:
        return kind, row["number"], row.get("text", "")
    async with file.open_binary(parse_binary_id(row["file"])) as pieces:
        return kind, row["number"], b"".join([piece async for piece in pieces]).decode()
