"""The File List of one group while it is exported: grown now and then, and complete at the end.

A grown list names only snapshot files of what the Movement has stored: a later attempt may store further snapshot files
of a stream, and these come before its incremental files. So an importer that loads a grown list early does nothing that
it would not do with the complete list. The order of commits: the Event Files; the
list; movement.json, which names the list and fences off an exporter that was presumed dead; the announcement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.domain import object_keys
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import Label, ObjectKey
from pipeline.domain.planning.group_counts import with_list
from pipeline.domain.planning.import_plan import in_lane_order
from pipeline.engine.export.attempt import ExportAttempt

GROWTH = 32
"""A list grows by at least this fraction (1/32) of what it names. So all grown lists of a group together are some 33
times as large as the last one: 80 MB for 10,000 Event Files."""


class GroupListing:
    """Lists the Event Files of the group `label`; `listed` are the entries of its list when this attempt began."""

    def __init__(self, attempt: ExportAttempt, label: Label, listed: Sequence[FileEntry]) -> None:
        self._attempt = attempt
        self._movement = attempt.movement
        self._label = label
        self._listed = listed
        self._before = [entry for entry in listed if entry.id.movement != self._movement.number]
        self._ended: list[FileEntry] = []
        self._announced = {entry.id for entry in self._before}

    def end_stream(self, stored: Sequence[FileEntry]) -> None:
        """Add what this Movement has stored of a stream whose export has ended."""
        self._ended += in_lane_order(stored)

    async def grow(self, stored: Sequence[FileEntry]) -> None:
        """Announce what this Movement has stored of the current stream so far, unless it is little or must wait."""
        ended = [entry for entry in self._ended if entry.is_snapshot]
        entries = [*self._before, *self._of_earlier_attempts(stored), *ended, *in_lane_order(stored)]
        new = [position for position, entry in enumerate(entries) if entry.id not in self._announced]
        if not all(entry.is_snapshot for entry in stored):
            return
        if len(new) * GROWTH < len(self._announced) - len(self._before):
            return
        movement = self._movement
        key = object_keys.growing_list_key(movement.flow, movement.number, self._label, movement.attempts, len(entries))
        await self._put(key, entries)
        streams = {entry.id.stream: movement.number for entry in (*self._ended, *stored)}
        await self._attempt.update(
            lambda now: replace(with_list(now, self._label, key, entries), unfinished={**streams, **now.unfinished})
        )
        await self._attempt.announce(self._label, key, grown_from=new[0])
        self._announced = {entry.id for entry in entries}

    def _of_earlier_attempts(self, current: Sequence[FileEntry]) -> Sequence[FileEntry]:
        """Return what earlier attempts of this Movement have listed of streams that this one has not reached yet.

        It may have been imported. So every list must name it, in case this attempt ends before it reaches those streams.
        """
        reached = {entry.id.stream for entry in (*self._ended, *current)}
        own = [entry for entry in self._listed if entry.id.movement == self._movement.number]
        return [entry for entry in own if entry.id.stream not in reached]

    async def complete(self) -> tuple[ObjectKey | None, Sequence[FileEntry]]:
        """Store the complete list, unless one is known that names the same; return its key and its entries."""
        entries = self._before + in_lane_order([*self._of_earlier_attempts(()), *self._ended])
        known = self._movement.file_lists.get(self._label)
        if entries == self._listed and not (known and object_keys.is_growing(known)):
            return known, entries
        movement = self._movement
        key = object_keys.file_list_key(movement.flow, movement.number, self._label, movement.attempts)
        await self._put(key, entries)
        return key, entries

    async def _put(self, key: ObjectKey, entries: Sequence[FileEntry]) -> None:
        movement = self._movement
        known = self._attempt.movement.file_lists.get(self._label)
        context = self._attempt.context
        trace = context.tracer.traceparent
        await context.flows.file_lists.store(key, movement.flow, self._label, entries, known, trace)
