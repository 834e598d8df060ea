"""How many Event Files of each group a destination needs, and has: from File Lists, or from what a Movement knows of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import replace

from pipeline.domain import object_keys
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, Label, ObjectKey
from pipeline.domain.lifecycle.status import Status
from pipeline.domain.movement import Added, GroupCounts, Movement
from pipeline.domain.planning.compaction import applicable

_COUNTED = (Status.SUCCESS, Status.INCOMPLETE)
"""How Movements ended whose counts an earlier release has stored."""

MOST_GROUPS = 100
"""A Movement keeps what it has added to this many groups at most: its document is stored again for each group."""
_NOTHING_ADDED = Added(0, 0, 0)


def count_group(entries: Sequence[FileEntry], marked: Container[EventFileId] | None) -> GroupCounts:
    """Return the counts of a File List for a destination with these marks; None: it is not known what it has imported."""
    needed = applicable(entries, () if marked is None else marked)
    return GroupCounts(
        len(needed),
        None if marked is None else sum(entry.id in marked for entry in needed),
        sum(entry.upserts + entry.deletes for entry in needed),
        sum(entry.size for entry in needed),
    )


def with_list(now: Movement, label: Label, key: ObjectKey, entries: Sequence[FileEntry]) -> Movement:
    """Return a Movement under way with the File List of a group, and with what it has added to it, if the groups are few.

    It stays as it is when it has this list already: the counts of a group hold as long as nothing is added to it.
    """
    if now.file_lists.get(label) == key:
        return now
    lists = {**now.file_lists, label: key}
    if len(lists) > MOST_GROUPS:
        return replace(now, file_lists=lists, counts={one: known for one, known in now.counts.items() if one != label})
    own = [entry for entry in entries if entry.id.movement == now.number]
    added, counts = now.added, now.counts
    if own:
        records, size = sum(one.upserts + one.deletes for one in own), sum(one.size for one in own)
        streams = tuple(sorted({one.id.stream for one in own}))
        added = {**added, label: Added(len(own), records, size, streams)}
    if len(own) == len(entries):
        counts = {**counts, label: GroupCounts(0, 0, 0, 0)}
    return replace(now, file_lists=lists, added=added, counts=counts)


def counts_before(before: Movement | None) -> Mapping[Label, GroupCounts]:
    """Return what the Movement after `before` begins with: the counts of those groups of which they hold."""
    if before is None:
        return {}
    stale = set(before.added)
    if before.marks is None and before.outcome not in _COUNTED:
        stale |= _own_groups(before)
    return {label: one for label, one in before.counts.items() if label not in stale}


def counts_under_way(movement: Movement, marked: Collection[EventFileId]) -> Mapping[Label, GroupCounts]:
    """Return the counts of those groups of which it takes no File List to know them, for a destination with these marks.

    These have been imported to the end before. So what this Movement has added to them is what may be missing.
    """
    if movement.origin is not None:
        return {}
    own = _own_groups(movement)
    imported = Counter(file.stream for file in marked if file.movement == movement.number)
    found: dict[Label, GroupCounts] = {}
    for label in sorted(movement.file_lists):
        before, added = movement.counts.get(label), movement.added.get(label, _NOTHING_ADDED)
        if before is None or before.imported != before.listed or (label in own) != (label in movement.added):
            continue
        if before.records is None or before.bytes is None:
            continue
        found[label] = GroupCounts(
            before.listed + added.files,
            before.listed + min(added.files, sum(imported[stream] for stream in added.streams)),
            before.records + added.records,
            before.bytes + added.bytes,
        )
    return found


def outstanding(movement: Movement, counts: Mapping[Label, GroupCounts]) -> tuple[int, int]:
    """Return how many Event Files of groups with these counts are not imported, and their bytes.

    Those of a group that is imported in part are taken to be as large as the others of it, on average.
    """
    files, size = 0, 0.0
    for label, one in counts.items():
        left, added = one.listed - (one.imported or 0), movement.added.get(label, _NOTHING_ADDED)
        among, bytes_ = (added.files, added.bytes) if left <= added.files else (one.listed, one.bytes or 0)
        files += left
        size += bytes_ * left / among if left else 0
    return files, round(size)


def _own_groups(movement: Movement) -> set[Label]:
    """Return the groups of which a Movement has stored the File List."""
    prefix = object_keys.groups_prefix(movement.flow, movement.number)
    return {label for label, key in movement.file_lists.items() if key.startswith(prefix)}
