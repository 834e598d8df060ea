"""Compaction: which Event Files a snapshot replaces, and which destinations skip it.

The File List of a compacted stream starts with the files that the compaction made: deletes of every key that the
history deleted, then a snapshot. Each names the last files of the history, which it `replaces`. Files of one stream
apply in order, so a destination that has imported those has the whole history and skips the snapshot. For any other
destination, whatever part of the history it has, the deletes and the snapshot result in the same rows as the whole
history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence

from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.ids import EventFileId, ObjectKey, StreamName


def by_stream(entries: Sequence[FileEntry]) -> Mapping[StreamName, list[FileEntry]]:
    """Return the entries of each stream, in order."""
    streams: defaultdict[StreamName, list[FileEntry]] = defaultdict(list)
    for entry in entries:
        streams[entry.id.stream].append(entry)
    return streams


def is_compact(history: Sequence[FileEntry]) -> bool:
    """Whether a history is one snapshot without later changes, from an export or a compaction."""
    first = history[0]
    if all(entry.replaces for entry in history):
        return True
    return all(entry.is_snapshot and entry.id.movement == first.id.movement for entry in history)


def last_step(history: Sequence[FileEntry]) -> tuple[EventFileId, ...]:
    """Return the last files of a history: a destination that has imported all of them has imported all of it."""
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
    """Return the entries of a File List that apply to a destination with these marks.

    Where it has imported all files that a compaction replaces, these take the place of the compacted ones: they are
    marked, so they are skipped, and later files find their predecessors marked.
    """
    if not any(entry.replaces for entry in entries):
        return entries
    pairs = zip(entries, (None, *entries), strict=False)
    return [one for entry, before in pairs for one in applicable_part(entry, before, marked)]


def applicable_part(entry: FileEntry, before: FileEntry | None, marked: Container[EventFileId]) -> Sequence[FileEntry]:
    """Return what `applicable` has in the place of one entry, which comes after `before`, if that is known.

    The files of one compaction stand together, so the first of them makes place for all that they replace.
    """
    if not entry.replaces or any(file not in marked for file in entry.replaces):
        return (entry,)
    if before is not None and before.replaces == entry.replaces:
        return ()
    return [_stand_in(file, entry) for file in entry.replaces]


def _stand_in(file: EventFileId, entry: FileEntry) -> FileEntry:
    return FileEntry(file, entry.label, ObjectKey(""), Encoding.PLAIN, 0, "", 0, 0)
