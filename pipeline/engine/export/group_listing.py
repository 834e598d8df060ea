"""The File List of one group while it is exported: grown now and then, and complete at the end.

A list that has grown names only snapshot files of streams of which the Movement has stored nothing else, so that whoever
imports them early can do nothing that the complete list would not have done. The order of commits: the Event Files; the
list; movement.json, which names the list and, fenced, stops an exporter that was taken for dead; the announcement.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from pipeline.codec.documents.file_list import encode_file_list
from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain import object_keys
from pipeline.domain.errors import ConflictError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import Label, ObjectKey
from pipeline.domain.movement import Movement
from pipeline.domain.planning.import_plan import in_lane_order
from pipeline.engine.movements.context import EngineContext
from pipeline.ports.object_store import PutCondition

GROWTH = 32
"""A list grows by one part in so many at least, so that all lists of a group together are not much larger than the last
one: some 33 times, 80 MB for 10,000 Event Files."""

Update = Callable[[Callable[[Movement], Movement]], Awaitable[Movement]]


class GroupListing:
    """Lists the Event Files of the group `label`. `listed` is what its list named when this attempt began."""

    def __init__(
        self, context: EngineContext, movement: Movement, label: Label, listed: Sequence[FileEntry], update: Update
    ) -> None:
        """`update` changes movement.json, unless another exporter has begun since."""
        self._context = context
        self._movement = movement
        self._label = label
        self._listed = listed
        self._update = update
        self._before = [entry for entry in listed if entry.id.movement != movement.number]
        self._ended: list[FileEntry] = []
        self._announced = {entry.id for entry in self._before}

    def end_stream(self, stored: Sequence[FileEntry]) -> None:
        """Take in what this Movement has stored of a stream that has come to its end."""
        self._ended += in_lane_order(stored)

    async def grow(self, stored: Sequence[FileEntry]) -> bool:
        """Announce what this Movement has stored of the stream in hand so far; False if it is little, or must wait."""
        entries = [*self._before, *self._left(stored), *self._ended, *in_lane_order(stored)]
        new = [position for position, entry in enumerate(entries) if entry.id not in self._announced]
        if not all(entry.is_snapshot for entry in stored):
            return False
        if len(new) * GROWTH < len(self._announced) - len(self._before):
            return False
        movement = self._movement
        key = object_keys.growing_list_key(movement.flow, movement.number, self._label, movement.attempts, len(entries))
        await self._put(key, entries)
        streams = {entry.id.stream: movement.number for entry in (*self._ended, *stored)}
        await self._update(
            lambda now: replace(
                now, file_lists={**now.file_lists, self._label: key}, unfinished={**streams, **now.unfinished}
            )
        )
        grown = GroupCompleted(movement.flow, movement.number, self._label, key, grown_from=new[0])
        await self._context.queue.send([encode_message(grown)])
        self._announced = {entry.id for entry in entries}
        return True

    def _left(self, in_hand: Sequence[FileEntry]) -> Sequence[FileEntry]:
        """Return what earlier attempts of this Movement have listed of streams that are yet to come.

        It may have been imported: no list may leave it out, should this attempt end before it comes to those streams.
        """
        taken = {entry.id.stream for entry in (*self._ended, *in_hand)}
        own = [entry for entry in self._listed if entry.id.movement == self._movement.number]
        return [entry for entry in own if entry.id.stream not in taken]

    async def complete(self) -> tuple[ObjectKey | None, int]:
        """Store the list of the complete group, if it names anything new; return its key and how many files it names."""
        entries = self._before + in_lane_order([*self._left(()), *self._ended])
        known = self._movement.file_lists.get(self._label)
        if entries == self._listed:
            return known, len(entries)
        movement = self._movement
        key = object_keys.file_list_key(movement.flow, movement.number, self._label, movement.attempts)
        await self._put(key, entries)
        return key, len(entries)

    async def _put(self, key: ObjectKey, entries: list[FileEntry]) -> None:
        data = encode_file_list(self._movement.flow, self._label, entries)
        try:
            await self._context.store.put(key, data, PutCondition.ABSENT)
        except ConflictError:
            if (await self._context.store.get(key)).data != data:
                raise
