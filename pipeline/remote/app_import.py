"""What the HTTP API does for an app that pulls: it says what there is to import, and takes the app's reports."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import orjson

from pipeline.domain.errors import AbsentError, ConfigurationError, ConflictError
from pipeline.domain.event_file import FileEntry, Header
from pipeline.domain.ids import EventFileId, FlowName, Label, StreamName, known_name
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.compaction import applicable
from pipeline.domain.planning.import_guard import reason_to_give_way
from pipeline.domain.planning.import_plan import plan
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.storage.event_files import open_event_file
from pipeline.kit.ledger.kept import Kept, KeptMark, KeptRejection, KeptStream
from pipeline.kit.loading.rejected import RejectedRecords, opened_rejections
from pipeline.ports.object_store import ObjectStore
from pipeline.remote.marks import Marks
from pipeline.remote.reports import Reports

FIRST_LINE = 2
"""The line of the first record: the header is line 1."""


class ReportedStatus(StrEnum):
    """What an app says of an Event File."""

    IMPORTED = "imported"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A record that the app did not accept, by its line in the Event File."""

    line: int
    reason: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What became of an Event File. `final`: the app will not try it again in this Movement."""

    file: EventFileId
    status: ReportedStatus
    final: bool = False
    reason: str = ""
    refused: Sequence[RefusedRecord] = ()


class Taken(StrEnum):
    """What a report has led to. `EARLIER`: nothing was taken, since a file that comes before is not imported yet."""

    IMPORTED = "imported"
    ALREADY = "already imported"
    FAILED = "failed"
    EARLIER = "another file comes before"
    STOPPED = "the Movement was stopped"
    UNKNOWN = "no file of this Movement"


class AppImport:
    """The import of one Movement by an app that pulls."""

    def __init__(self, store: ObjectStore, flows: FlowStore, flow: Flow, movement: Movement) -> None:
        self._store, self._flows = store, flows
        self.flow, self.movement = flow, movement
        self._kept = Kept(store, flow.marks_namespace)
        self._marks = Marks.of(store, flow.marks_namespace)
        self._reports = Reports(store, flow.marks_namespace)

    @classmethod
    async def open(cls, store: ObjectStore, flows: FlowStore, name: FlowName, number: int | None = None) -> AppImport:
        """Open a Movement, by default the latest. AbsentError when there is none."""
        flow = await flows.read_flow(name)
        if number is None and not flow.movements:
            raise AbsentError(f"Flow {name!r} has no Movement yet.")
        movement = await flows.read_of(flow, flow.movements if number is None else number)
        return cls(store, flows, flow, movement)

    def complete_group(self, name: str) -> Label:
        """Return the label of a group by its name in a path. AbsentError while it is not complete."""
        label = Label(known_name(name, self.movement.file_lists))
        if label not in self.movement.file_lists:
            complete = ", ".join(sorted(self.movement.file_lists)) or "none"
            raise AbsentError(f"The group {label!r} is not complete, or there is none. Complete are: {complete}.")
        return label

    async def marks(self) -> Mapping[EventFileId, KeptMark]:
        """Return the marks of all Event Files."""
        return await self._marks.read()

    async def report(self, reports: Sequence[FileStatus], *, together: bool = False) -> Sequence[Taken]:
        """Take reports in their order; return what became of each. With `together`, all are taken or none.

        ConflictError when the Movement has settled, ConfigurationError when a line is not in its file: nothing is taken.
        The files that are imported are marked together, at the end.
        """
        self._ensure_open()
        streams = {report.file.stream for report in reports}
        entries, marks = await self.entries(streams), await self._marks_of(streams)
        guard = _Guard(self.movement.number, await self._kept.fenced(), entries, marks)
        taken, new = [guard.take(report) for report in reports], dict[EventFileId, KeptMark]()
        if together and not {Taken.EARLIER, Taken.STOPPED}.isdisjoint(taken):
            return taken
        async with opened_rejections(self._kept) as rejected:
            for report, outcome in zip(reports, taken, strict=True):
                if outcome is Taken.FAILED:
                    reason = report.reason or "no reason given"
                    await self._reports.put_failure(report.file, guard.number, reason, final=report.final)
                elif outcome is Taken.IMPORTED:
                    new[report.file] = await self._mark(report, entries[report.file], rejected)
        added = await self._marks.add(new)
        return [
            Taken.ALREADY if outcome is Taken.IMPORTED and report.file not in added else outcome
            for report, outcome in zip(reports, taken, strict=True)
        ]

    async def _mark(self, report: FileStatus, entry: FileEntry, rejected: RejectedRecords) -> KeptMark:
        refused, deletes = await self._keep_refused(report, entry, rejected)
        upserts = entry.upserts - (refused - deletes)
        return KeptMark(upserts, entry.deletes - deletes, refused, 0, self.movement.number)

    async def _keep_refused(self, report: FileStatus, entry: FileEntry, kept: RejectedRecords) -> tuple[int, int]:
        """Keep the records that the app has refused, and drop older ones with keys that it has accepted now.

        Return how many it has refused, and how many of them are deletes.
        """
        wanted = {one.line: one for one in report.refused}
        if not wanted and kept.is_empty:
            return 0, 0
        rejected, accepted, deletes = list[KeptRejection](), list[tuple[StreamName, str]](), 0
        async with open_event_file(self._store, entry) as opened:
            stream = KeptStream.of(opened.header.schema)
            async for line, text in _lines(opened.blocks):
                key = _key(text, opened.header)
                if (one := wanted.pop(line, None)) is None:
                    accepted.append((entry.id.stream, key))
                    continue
                deletes += text.startswith(b'{"delete"')
                rejected.append(KeptRejection(str(entry.id), line, key, one.reason, text.decode(), stream, one.column))
        await kept.replace(rejected, accepted)
        return len(rejected), deletes

    async def settle(self, status: str, reason: str) -> int:
        """End the import for the app; return how many files it leaves out.

        ConflictError for SUCCESS while files are not reported, and while the export has not ended.
        """
        self._ensure_open()
        self.ensure_exported()
        entries, marks = await self.entries(), await self._marks.read()
        left = [file for file in entries if file not in marks]
        if status == "SUCCESS" and left:
            raise ConflictError(
                f"Event Files that are not reported as imported: {len(left):,}, the first is {left[0]}. Report them, or settle as "
                "INCOMPLETE or FAILED."
            )
        for file in left:
            await self._reports.put_failure(file, self.movement.number, reason or f"settled as {status}", final=True)
        return len(left)

    def ensure_exported(self) -> None:
        """ConflictError while more groups may follow."""
        if not self.movement.exported:
            raise ConflictError("The export has not ended: more groups may follow. Settle when it has.")

    async def put_progress(self, percent: float, message: str) -> float:
        """Take the app's percent; return what counts: it never falls."""
        self._ensure_open()
        return (await self._reports.put_progress(self.movement.number, percent, message)).percent

    async def percent(self) -> float:
        """Return the percent that the app has reported."""
        return (await self._reports.progress(self.movement.number)).percent

    async def refresh(self) -> AppImport:
        """Return the same import with its Movement as it is now."""
        movement = await self._flows.read_movement(self.flow.name, self.movement.number)
        return AppImport(self._store, self._flows, self.flow, movement)

    def _ensure_open(self) -> None:
        if self.movement.settled:
            raise ConflictError(
                f"Movement {self.movement.number} of Flow {self.flow.name!r} has settled as {self.movement.status}: nothing "
                "more is taken for it."
            )

    async def entries(self, streams: Container[StreamName] | None = None) -> dict[EventFileId, FileEntry]:
        """Return the Event Files that are to be imported, those of these streams or all. Each stream has an order of its own."""
        marks = await self._marks.read()
        found: dict[EventFileId, FileEntry] = {}
        for _, key in sorted(self.movement.file_lists.items()):
            listed = await self._flows.read_file_list(key)
            wanted = [one for one in listed if one.id.stream in streams] if streams is not None else listed
            found |= {entry.id: entry for entry in applicable(wanted, marks)}
        return found

    async def _marks_of(self, streams: Container[StreamName]) -> dict[EventFileId, KeptMark]:
        return {file: mark for file, mark in (await self._marks.read()).items() if file.stream in streams}


class _Guard:
    """Says what each report leads to, with these marks and after the reports before it. Nothing is stored."""

    def __init__(
        self,
        number: int,
        fenced: int,
        entries: Mapping[EventFileId, FileEntry],
        marks: Mapping[EventFileId, KeptMark],
    ) -> None:
        self.number, self._fenced, self._entries, self._marked = number, fenced, entries, set(marks)
        self._after = dict(_after(entries, marks))
        self._latest: dict[StreamName, int] = {}
        for file, mark in marks.items():
            self._latest[file.stream] = max(self._latest.get(file.stream, 0), mark.movement)

    def take(self, report: FileStatus) -> Taken:
        """Return what a report leads to. ConfigurationError when it refuses a line that is not in its file."""
        if (entry := self._entries.get(report.file)) is None:
            return Taken.UNKNOWN
        if (outcome := self._outcome(report)) is Taken.IMPORTED:
            end = FIRST_LINE + entry.upserts + entry.deletes
            if missing := [refused.line for refused in report.refused if refused.line >= end]:
                raise ConfigurationError(
                    f"Event File {entry.id} has no record in line {min(missing)}. Nothing was taken."
                )
            self._marked.add(report.file)
        return outcome

    def _outcome(self, report: FileStatus) -> Taken:
        file = report.file
        if file in self._marked:
            return Taken.ALREADY
        if report.status is ReportedStatus.FAILED:
            return Taken.FAILED
        if self._fenced >= self.number:
            return Taken.STOPPED
        after, latest = self._after.get(file, ()), self._latest.get(file.stream, 0)
        why = reason_to_give_way(file, self.number, after, marked=self._marked, latest_movement=latest)
        return Taken.IMPORTED if why is None else Taken.EARLIER


def _after(
    entries: Mapping[EventFileId, FileEntry], marks: Mapping[EventFileId, KeptMark]
) -> Iterator[tuple[EventFileId, Sequence[EventFileId]]]:
    """Yield each file that is to be loaded, with those that must be imported before it."""
    for lane in plan(list(entries.values()), marks).lanes:
        for step in lane.steps:
            yield from ((entry.id, step.after) for entry in step.pending)


async def _lines(blocks: AsyncIterable[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    number = FIRST_LINE
    async for block in blocks:
        for line in block.removesuffix(b"\n").split(b"\n"):
            yield number, line
            number += 1


def _key(line: bytes, header: Header) -> str:
    ((_, body),) = orjson.loads(line).items()
    return orjson.dumps([body[name] for name in header.schema.primary_keys]).decode()
