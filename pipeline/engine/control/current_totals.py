"""The totals of a Movement of which not everything is accounted for: it is under way, or it ends early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain

from pipeline.codec.documents.failures import Failure
from pipeline.codec.documents.progress import Progress
from pipeline.domain.errors import AbsentError, DamagedError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, Label
from pipeline.domain.movement import Movement, Totals
from pipeline.domain.planning.compaction import applicable
from pipeline.domain.planning.group_counts import counts_under_way
from pipeline.engine.movements.file_lists import listed_groups
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.progress import totals_of
from pipeline.log_events import log
from pipeline.ports.destination import Mark

Marks = Mapping[EventFileId, Mark]
Lists = Mapping[Label, Sequence[FileEntry]]


async def read_totals(
    flows: FlowStore,
    movement: Movement,
    marks: Marks | None,
    workers: Sequence[Progress],
    failures: Sequence[Failure],
    now: datetime,
) -> Totals:
    """Return what was exported and imported until now.

    `marks` are those of the destination; None if it does not answer: then what the `workers` say counts. File Lists are read
    of those groups alone of which the Movement does not know what it has added; one that is gone hinders no end.
    """
    known = {} if marks is None else counts_under_way(movement, marks)
    lists: dict[Label, Sequence[FileEntry]] = {}
    for label, key in listed_groups(movement).items():
        try:
            if label not in known:
                lists[label] = await flows.read_file_list(key)
        except (AbsentError, DamagedError) as error:
            log.warning("file_list_not_counted", flow=movement.flow, movement=movement.number, reason=str(error))
    exported = 0 if movement.origin else _exported(movement, lists, workers)
    run = replace(totals_of(workers, max((now - movement.created).total_seconds(), 0.0)), files_exported=exported)
    failed = {failure.file for failure in failures if failure.line is None}
    if marks is None:
        groups = [group for worker in workers for group in worker.groups.values()]
        deletes = sum(group.deletes_imported for group in groups)
        return replace(
            run,
            files_imported=sum(group.files_imported for group in groups),
            files_failed=len(failed),
            upserts=sum(group.records_imported for group in groups) - deletes,
            deletes=deletes,
            rejected=movement.rejections.count,
        )
    here = [mark for mark in marks.values() if mark.movement == movement.number]
    needed = applicable(list(chain.from_iterable(lists.values())), marks)
    before = sum(entry.id in marks and marks[entry.id].movement != movement.number for entry in needed)
    own = listed_groups(movement).keys() & known.keys()
    before += sum(known[label].listed - movement.added[label].files for label in own if label in movement.added)
    return replace(
        run,
        files_imported=len(here),
        files_skipped=before,
        files_failed=len(failed - marks.keys()),
        upserts=sum(mark.upserts for mark in here),
        deletes=sum(mark.deletes for mark in here),
        rejected=sum(mark.rejected for mark in marks.values()) + movement.rejections.count,
        binaries_imported=sum(mark.binaries for mark in here),
    )


def _exported(movement: Movement, lists: Lists, workers: Sequence[Progress]) -> int:
    """Return how many Event Files of this Movement are stored. Each attempt to export counts those that it adopts again."""
    stored = {label: added.files for label, added in movement.added.items()}
    for label, listed in lists.items():
        stored[label] = sum(entry.id.movement == movement.number for entry in listed)
    for worker in workers:
        for label, group in worker.groups.items():
            stored[label] = max(stored.get(label, 0), group.files_stored)
    return sum(stored.values())
