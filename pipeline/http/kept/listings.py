"""Event Files and what is imported of them, for answers that come at once however many there are.

File Lists never change, and the marks of a settled Flow hardly do: what was read and counted is kept for the next call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import anyio

from pipeline.assembly.commands.status import LIVE_FILES, Marks, ask_marks
from pipeline.assembly.runtime import Runtime
from pipeline.domain.errors import AbsentError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.compaction import applicable

KEPT_COUNTS = 10_000
KEPT_MARKS, MARKS_SECONDS = 8, 30.0
"""The marks of this many settled Flows are kept this long. Only the retry of a person changes them."""


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """How many Event Files of a group a destination needs, how many it has (None: unknown), their records and bytes (None:
    the File List has been pruned).
    """

    listed: int
    imported: int | None
    records: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a Movement, by label. `unknown_because` says why it is not known what is imported; empty if it is."""

    counts: Mapping[Label, GroupCounts]
    unknown_because: str = ""


class Listings:
    """What was read of File Lists and marks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._counts: OrderedDict[tuple[FlowName, ObjectKey, int | None], GroupCounts] = OrderedDict()
        self._marks: OrderedDict[FlowName, tuple[float, int, Marks]] = OrderedDict()

    async def marks(self, flow: Flow) -> Marks:
        """Return what the destination of a Flow has imported."""
        latest = await self._runtime.flows.latest(flow)
        if latest is None or not latest.settled:
            return await ask_marks(flow, self._runtime.store)
        if (known := self._marks.get(flow.marks_namespace)) is not None:
            read_at, number, marks = known
            if number == latest.number and anyio.current_time() - read_at < MARKS_SECONDS:
                return marks
        marks = await ask_marks(flow, self._runtime.store)
        if marks.by_file is not None:
            self._marks[flow.marks_namespace] = anyio.current_time(), latest.number, marks
            if len(self._marks) > KEPT_MARKS:
                self._marks.popitem(last=False)
        return marks

    async def entries(self, flow: Flow, movement: Movement) -> Sequence[Sequence[FileEntry]]:
        """Return the entries of each File List of a Movement, by label. AbsentError when they have been pruned."""
        try:
            return [await self._runtime.flows.read_file_list(key) for _, key in sorted(movement.file_lists.items())]
        except AbsentError as error:
            raise AbsentError(
                f"The File Lists of Movement {movement.number} of Flow {flow.name!r} have been pruned; the latest Movement is "
                f"{flow.movements}."
            ) from error

    async def groups(self, flow: Flow, movement: Movement) -> Groups:
        """Return the counts of all groups. Of a settled Movement with very many Event Files, those at its end are shown."""
        counts, labels = movement.counts, sorted(movement.file_lists)
        at_end = movement.settled and counts.keys() >= set(labels)
        if at_end and sum(one.listed for one in counts.values()) > LIVE_FILES:
            return Groups({label: await self._count_at_end(flow, movement, label) for label in labels})
        marks = await self.marks(flow)
        return Groups(
            {label: await self.count(flow, movement.file_lists[label], marks.by_file) for label in labels},
            marks.unknown_because if marks.by_file is None else "",
        )

    async def _count_at_end(self, flow: Flow, movement: Movement, label: Label) -> GroupCounts:
        count = movement.counts[label]
        try:
            found = await self.count(flow, movement.file_lists[label], None)
        except AbsentError:
            return GroupCounts(count.listed, count.imported, None, None)
        return GroupCounts(count.listed, count.imported, found.records, found.bytes)

    async def count(self, flow: Flow, key: ObjectKey, marked: Collection[EventFileId] | None) -> GroupCounts:
        """Return the counts of one File List with these marks. They only grow, so that their number says which they are."""
        known = flow.marks_namespace, key, None if marked is None else len(marked)
        if known not in self._counts:
            self._counts[known] = _counts(await self._runtime.flows.read_file_list(key), marked)
            if len(self._counts) > KEPT_COUNTS:
                self._counts.popitem(last=False)
        return self._counts[known]


def _counts(entries: Sequence[FileEntry], marked: Collection[EventFileId] | None) -> GroupCounts:
    needed = applicable(entries, marked or ())
    return GroupCounts(
        len(needed),
        None if marked is None else sum(entry.id in marked for entry in needed),
        sum(entry.upserts + entry.deletes for entry in needed),
        sum(entry.size for entry in needed),
    )
