"""The groups of a Movement on its page, with few requests however many Event Files the Flow has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.assembly.commands.status import LIVE_FILES, ask_marks
from pipeline.assembly.runtime import Runtime
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.compaction import applicable


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group: its Event Files, how many of them the destination has (None: unknown), their records and bytes."""

    label: str
    listed: int
    imported: int | None
    records: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a Movement. `unknown_because` says why it is not known what is imported; empty if it is."""

    rows: Sequence[GroupRow]
    unknown_because: str = ""


async def read_groups(runtime: Runtime, flow: Flow, movement: Movement) -> Groups:
    """Return the groups. Of a settled Movement with many Event Files, the counts at its end are shown."""
    labels, counts = sorted(movement.file_lists), movement.counts
    if movement.settled and counts.keys() >= set(labels) and sum(one.listed for one in counts.values()) > LIVE_FILES:
        rows = [GroupRow(label, counts[label].listed, counts[label].imported, None, None) for label in labels]
        return Groups(rows)
    marks = await ask_marks(flow, runtime.store)
    rows = []
    for label in labels:
        entries = applicable(await runtime.flows.read_file_list(movement.file_lists[label]), marks.by_file or {})
        imported = None if marks.by_file is None else sum(entry.id in marks.by_file for entry in entries)
        records, size = sum(one.upserts + one.deletes for one in entries), sum(one.size for one in entries)
        rows.append(GroupRow(label, len(entries), imported, records, size))
    return Groups(rows, marks.unknown_because if marks.by_file is None else "")
