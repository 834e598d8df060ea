"""Objects that a process may still need. Each delete of an object is checked in its step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pipeline.domain import object_keys
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, FlowName, ObjectKey
from pipeline.domain.movement import Movement
from tests.simulation.model.stored import Must, Stored
from tests.simulation.platform.plan import FILE_TEXTS, FLOW


@dataclass
class Needs:
    """Derives from the Movements which objects any destination and the next export may read."""

    stored: Stored
    movements: Mapping[tuple[FlowName, int], Movement]
    must: Must

    def deleted(self, key: ObjectKey) -> None:
        """Check the delete of an immutable object."""
        roots = list(self._roots())
        for movement in roots:
            who = f"Movement {movement.number} of {movement.flow}"
            lists = {part for name in movement.file_lists.values() for part in self.stored.parts.get(name, [name])}
            self.must(key not in lists, f"{key} was deleted, and {who} needs it")
            self.must(key not in movement.states.values(), f"{key} was deleted, and {who} names it")
        files = {
            entry.key: entry.id for root in roots for name in root.file_lists.values() for entry in self._list(name)
        }
        files |= {object_keys.event_file_key(FLOW, file): file for file in self._under_way()}
        self.must(key not in files, f"{key} was deleted, and a File List names it, or is about to")
        if "/parts/" in key:
            number = int(key.split("/")[3])
            latest = max(self.movements[flow, at].number for flow, at in self.movements if flow == FLOW)
            under_way = number == latest and not self.movements[FLOW, latest].settled
            needed = any(since <= number for movement in roots for since in movement.unfinished.values())
            self.must(not under_way and not needed, f"{key} was deleted, and an attempt may read it")
        if "/binaries/" in key:
            named = {text for file in files.values() for _, _, text in self.stored.files[file][1]}
            gone = sorted(text for text in named.intersection(FILE_TEXTS) if not self.stored.holders[text])
            self.must(not gone, f"{key} was deleted, and an Event File that is needed names {', '.join(gone)}")

    def _under_way(self) -> Sequence[EventFileId]:
        """The Event Files of Movements that have not settled: the next attempt continues after them."""
        latest = max((number for flow, number in self.movements if flow == FLOW), default=0)
        movement = self.movements.get((FLOW, latest))
        if movement is None or movement.settled or movement.compaction:
            return ()
        return [file for file in self.stored.files if file.movement == latest]

    def _list(self, name: ObjectKey) -> Sequence[FileEntry]:
        return self.stored.lists.get(name, ())

    def _roots(self) -> Iterator[Movement]:
        """The latest Movement of each Flow, and the latest exported one of each Flow that has a source."""
        for _, movements in groupby(sorted(self.movements.items()), key=lambda item: item[0][0]):
            ordered = [movement for _, movement in movements]
            latest = ordered[-1]
            if latest.origin is None or not latest.settled:
                yield latest
            if latest.origin is None:
                yield from [movement for movement in ordered if movement.exported][-1:]
