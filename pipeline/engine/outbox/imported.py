"""Whether a group is imported, from its File List and the destination's marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, Label
from pipeline.domain.movement import Movement
from pipeline.domain.object_keys import groups_prefix
from pipeline.domain.outbox.event import OutboxEvent
from pipeline.domain.outbox.transitions import group_imported
from pipeline.domain.planning.compaction import applicable
from pipeline.ports.destination import Mark


def imported_events(
    movement: Movement, label: Label, entries: Sequence[FileEntry], marks: Mapping[EventFileId, Mark], at: datetime
) -> Sequence[OutboxEvent]:
    """Return the event that all `entries` of the File List of a group are imported, if they are."""
    needed = applicable(entries, marks)
    imported_in = [marks[entry.id].movement if entry.id in marks else None for entry in needed]
    stored_here = movement.file_lists.get(label, "").startswith(groups_prefix(movement.flow, movement.number))
    new = any(entry.id.movement == movement.number for entry in entries)
    return group_imported(movement, label, imported_in, at, completed=stored_here and not new)
