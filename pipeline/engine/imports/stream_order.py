"""Streams that wait for others: none of their Event Files is loaded before those of the others are imported."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import anyio

from pipeline.domain.errors import RefusedError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, StreamName
from pipeline.domain.movement import Movement
from pipeline.domain.planning.compaction import applicable
from pipeline.engine.movements.context import EngineContext
from pipeline.ports.destination import DestinationSession, Mark, StreamPlanner


class StreamOrder:
    """Says which streams of a Movement may be loaded. `marks` and `failed` are those that this process knows of."""

    def __init__(
        self,
        context: EngineContext,
        movement: Movement,
        session: DestinationSession,
        marks: dict[EventFileId, Mark],
        failed: Mapping[EventFileId, str],
    ) -> None:
        self._context, self._movement, self._session = context, movement, session
        self._marks, self._failed = marks, failed
        self._imported: set[StreamName] = set()
        self._entries: Mapping[StreamName, Sequence[FileEntry]] | None = None
        self._asked = anyio.current_time()

    def predecessors(self, stream: StreamName) -> Sequence[StreamName]:
        """Return the streams that must be imported before this one."""
        return self._session.predecessors(stream) if isinstance(self._session, StreamPlanner) else ()

    async def is_ready(self, stream: StreamName) -> bool:
        """Whether all streams before this one are imported. RefusedError when one of them cannot be."""
        missing = [name for name in self.predecessors(stream) if name not in self._imported]
        entries = await self._listed() if missing else {}
        if entries is None:
            return False
        for name in missing:
            pending = [entry.id for entry in entries.get(name, ()) if entry.id not in self._marks]
            if not pending:
                self._imported.add(name)
                continue
            failed = await self._failures(pending)
            if lost := next((file for file in pending if file in failed), None):
                raise RefusedError(
                    f"the stream {stream!r} comes after {name!r}, of which Event File {lost} was not imported"
                )
            return False
        return True

    async def _listed(self) -> Mapping[StreamName, Sequence[FileEntry]] | None:
        """Return the Event Files of each stream; None while more may be exported."""
        if self._entries is not None:
            return self._entries
        flows, found = self._context.flows, dict[StreamName, list[FileEntry]]()
        movement = await flows.read_movement(self._movement.flow, self._movement.number)
        if not movement.exported:
            return None
        for label in movement.groups:
            for entry in applicable(await flows.read_file_list(movement.file_lists[label]), self._marks):
                found.setdefault(entry.id.stream, []).append(entry)
        self._entries = found
        return found

    async def _failures(self, pending: Sequence[EventFileId]) -> Container[EventFileId]:
        """Return files that have failed. What other processes have done is read from time to time."""
        if any(file in self._failed for file in pending):
            return self._failed
        now = anyio.current_time()
        if now - self._asked < self._context.limits.progress_seconds:
            return ()
        self._asked = now
        self._marks.update(await self._session.marks())
        failures = await self._context.flows.read_failures(self._movement.flow, self._movement.number)
        return {failure.file for failure in failures if failure.line is None and failure.file not in self._marks}
