"""Maintenance: when the history of a stream is long enough to be compacted by itself.

A compaction reads and writes all of a stream. It waits until changes are a good part of its bytes, or many files. So
all compactions together write at most a few times what was moved, whatever the size of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.event_file import FileEntry
from pipeline.domain.flows.declaration import Maintenance

LEAST_FILES = 20
"""Fewer files with changes are left alone, so that a small Flow is not compacted all the time …"""
LEAST_BYTES = 100_000_000
"""… unless they have this many bytes."""


def changes_in(history: Sequence[FileEntry]) -> Sequence[FileEntry]:
    """Return the Event Files of a stream that came after its first snapshot, from an export or a compaction."""
    first = history[0].id.movement
    return [entry for entry in history if not entry.replaces and not (entry.is_snapshot and entry.id.movement == first)]


def is_long(history: Sequence[FileEntry], policy: Maintenance) -> bool:
    """Return whether a stream with this history is to be compacted."""
    changes = changes_in(history)
    if len(changes) >= policy.event_files:
        return True
    changed_bytes = sum(entry.size for entry in changes)
    if len(changes) < LEAST_FILES and changed_bytes < LEAST_BYTES:
        return False
    return changed_bytes * 100 >= policy.waste_percent * sum(entry.size for entry in history)
