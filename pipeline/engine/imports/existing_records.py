"""What an import asks before the first load of a stream: whether it would overwrite what the destination has already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import StreamName
from pipeline.domain.movement import Flow
from pipeline.ports.destination import DestinationSession


class ExistingRecords(Protocol):
    """Knows the records that a destination had before a Flow's first load of a stream."""

    async def is_clear(self, stream: StreamName) -> bool:
        """Return whether there are none, or the Flow has loaded the stream before."""
        ...

    async def refusal(self, stream: StreamName, files: Sequence[FileEntry]) -> str:
        """Return why these files, all of the stream in order, must not be loaded; empty when they may be."""
        ...


GuardExisting = Callable[[Flow, DestinationSession], ExistingRecords | None]


def nothing_guarded(flow: Flow, session: DestinationSession) -> None:
    """Return None: whatever the destination has may be overwritten."""
