"""Event Files and what is imported of them, for answers that come at once however many there are.

File Lists never change, and the marks of a settled Flow hardly do: what was read and counted is kept for the next call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import anyio

from pipeline.assembly.commands.status import LIVE_FILES, Marks, ask_marks, counts_at_end, known_counts
from pipeline.assembly.runtime import Runtime
from pipeline.domain.errors import AbsentError
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey
from pipeline.domain.movement import Flow, GroupCounts, Movement
from pipeline.domain.planning.group_counts import count_group

SMALL_FILES, SMALL_MOVEMENTS, SMALL_GROUPS = 10_000, 100, 10
"""An answer about a Flow that has no more than these is whole, whatever it reads."""
KEPT_COUNTS = 10_000
MOST_READS = 4
"""Once an answer has read this many parts of File Lists, it ends with the groups that are counted by then."""
KEPT_MARKS, MARKS_SECONDS = 8, 30.0
"""The marks of this many settled Flows are kept this long. Only the retry of a person changes them."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a Movement, by label. `unknown_because` says why it is not known what is imported; empty if it is.

    `more` groups behind them are not counted yet: the next answer has some of these too.
    """

    counts: Mapping[Label, GroupCounts]
    unknown_because: str = ""
    more: int = 0


class Listings:
    """What was read of File Lists and marks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._counts: OrderedDict[tuple[FlowName, ObjectKey, int | None], GroupCounts] = OrderedDict()
        self._marks: OrderedDict[FlowName, tuple[float, int, Marks]] = OrderedDict()

    async def marks(self, flow: Flow, latest: Movement | None = None) -> Marks:
        """Return what the destination of a Flow has imported. `latest` is its latest Movement, if that is known."""
        latest = latest or await self._runtime.flows.latest(flow)
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

    async def groups(self, flow: Flow, movement: Movement, after: str = "") -> Groups:
        """Return the counts of all groups behind the label `after`, or of the first of them.

        They are those at the end of a Movement before the latest one, and of one with very many Event Files.
        """
        at_end = counts_at_end(movement)
        if at_end is not None and (movement.number < flow.movements or _listed(at_end) > LIVE_FILES):
            return Groups(await self._with_sizes(flow, movement, at_end, after))
        marks = await self.marks(flow, movement if movement.number == flow.movements and not movement.settled else None)
        if at_end is not None and marks.by_file is not None and len(marks.by_file) == movement.marks:
            return Groups(await self._with_sizes(flow, movement, at_end, after))
        known, counts = known_counts(movement, marks), dict[Label, GroupCounts]()
        lists, begun = self._runtime.flows.file_lists, self._runtime.flows.file_lists.reads
        wanted = [label for label in sorted(movement.file_lists) if label > after]
        ends_early = is_large(flow.movements, movement) or len(wanted) > SMALL_GROUPS
        for label in wanted:
            if ends_early and label not in known and lists.reads - begun >= MOST_READS:
                break
            counts[label] = known.get(label) or await self.count(flow, movement.file_lists[label], marks.by_file)
        because = marks.unknown_because if marks.by_file is None else ""
        return Groups(counts, because, len(wanted) - len(counts))

    async def _with_sizes(
        self, flow: Flow, movement: Movement, counts: Mapping[Label, GroupCounts], after: str
    ) -> Mapping[Label, GroupCounts]:
        """Return the counts with records and bytes, from the File Lists where an earlier release has settled the Movement."""
        return {
            label: one if one.records is not None else await self._with_size(flow, movement.file_lists[label], one)
            for label, one in counts.items()
            if label > after
        }

    async def _with_size(self, flow: Flow, key: ObjectKey, counts: GroupCounts) -> GroupCounts:
        with suppress(AbsentError):  # it has been pruned
            found = await self.count(flow, key, None)
            return replace(counts, records=found.records, bytes=found.bytes)
        return counts

    async def count(self, flow: Flow, key: ObjectKey, marked: Collection[EventFileId] | None) -> GroupCounts:
        """Return the counts of one File List with these marks. They only grow, so that their number says which they are."""
        known = flow.marks_namespace, key, None if marked is None else len(marked)
        if known not in self._counts:
            self._counts[known] = count_group(await self._runtime.flows.read_file_list(key), marked)
            if len(self._counts) > KEPT_COUNTS:
                self._counts.popitem(last=False)
        return self._counts[known]


def is_large(movements: int, movement: Movement, looked: int = 0) -> bool:
    """Return whether answers end early: where a Movement lists very many Event Files, at least `looked`, or there are many
    Movements.
    """
    return max(looked, _listed(movement.counts)) > SMALL_FILES or movements > SMALL_MOVEMENTS


def _listed(counts: Mapping[Label, GroupCounts]) -> int:
    return sum(one.listed for one in counts.values())
