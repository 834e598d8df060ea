"""Compaction: which Event Files a fresh snapshot stands for, and who has no need of it.

A compacted stream begins, in its File List, with files that a compaction made: deletes of every key that its history has
ever deleted, then a snapshot. Each names the last files of the history they `replace`. As files of one stream apply in
order, a destination that has those has the whole history, and goes on behind it. To any other, whatever part of the
history it has, the deletes and the snapshot give the same rows as the whole history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence

from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.ids import EventFileId, ObjectKey, StreamName


def by_stream(entries: Sequence[FileEntry]) -> Mapping[StreamName, list[FileEntry]]:
    """Return each stream's entries, in their order."""
    streams: defaultdict[StreamName, list[FileEntry]] = defaultdict(list)
    for entry in entries:
        streams[entry.id.stream].append(entry)
    return streams


def is_compact(history: Sequence[FileEntry]) -> bool:
    """Whether there is nothing to fold: one snapshot that nothing follows, from an export or from a compaction."""
    first = history[0]
    if all(entry.replaces for entry in history):
        return True
    return all(entry.is_snapshot and entry.id.movement == first.id.movement for entry in history)


def last_step(history: Sequence[FileEntry]) -> tuple[EventFileId, ...]:
    """Return the files that come last: who has all of them has all of one stream's `history`."""
    last = history[-1]
    if not last.is_snapshot:
        return (last.id,)
    found: list[EventFileId] = []
    for entry in reversed(history):
        if not entry.is_snapshot or entry.id.movement != last.id.movement:
            break
        found.append(entry.id)
    return tuple(reversed(found))


def applicable(entries: Sequence[FileEntry], marked: Container[EventFileId]) -> Sequence[FileEntry]:
    """Return what of a File List concerns a destination with these marks.

    Where it has all that a compaction replaces, the replaced files stand in the place of the compacted ones: marked, so
    that they are passed over, and known to what comes after them.
    """
    if not any(entry.replaces for entry in entries):
        return entries
    found: list[FileEntry] = []
    shown: set[EventFileId] = set()
    for entry in entries:
        if not entry.replaces or any(file not in marked for file in entry.replaces):
            found.append(entry)
            continue
        stand_ins = [file for file in entry.replaces if file not in shown]
        shown.update(stand_ins)
        found += [_stand_in(file, entry) for file in stand_ins]
    return found


def _stand_in(file: EventFileId, entry: FileEntry) -> FileEntry:
    return FileEntry(file, entry.label, ObjectKey(""), Encoding.PLAIN, 0, "", 0, 0)
