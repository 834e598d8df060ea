"""The importer: consumes announcements of complete groups and loads what their File Lists name.

The order of commits: receive, read the File List, skip what is marked, fetch, verify, rows and mark in one transaction,
…, acknowledge. A message that is lost is rung again by the sweep; one that comes twice finds everything marked.
"""

from __future__ import annotations

import anyio
import structlog

from pipeline.codec.message import GroupCompleted, decode_message
from pipeline.domain.errors import AbsentError, DamagedError, LeaseLostError
from pipeline.domain.ids import EventFileId, ObjectKey
from pipeline.domain.lanes import plan
from pipeline.domain.movement import Movement
from pipeline.engine.lane_runner import LaneRunner
from pipeline.engine.parts import EngineParts
from pipeline.ports.destination import DestinationSession, Mark
from pipeline.ports.event_queue import Message
from pipeline.ports.reporter import ImportPlanned

RECEIVE_WAIT_SECONDS = 1.0

log = structlog.get_logger()


class Importer:
    """Imports the groups of one Movement, as they are announced."""

    def __init__(self, parts: EngineParts, movement: Movement, session: DestinationSession) -> None:
        self._parts = parts
        self._session = session
        self._movement = movement
        self._in_hand: set[ObjectKey] = set()
        self._room = anyio.Semaphore(2 * parts.limits.importers)  # what waits in the queue, another worker may take
        self._limiter = anyio.CapacityLimiter(parts.limits.importers)
        self._runner = LaneRunner(parts, movement, session, {}, self._limiter)
        self.marks: dict[EventFileId, Mark] = self._runner.marks
        self.done: set[ObjectKey] = set()

    @property
    def failed(self) -> dict[EventFileId, str]:
        """The Event Files that could not be applied, and why."""
        return self._runner.failed

    async def prepare(self) -> None:
        """Ask the destination what it has imported."""
        self.marks.update(await self._session.marks())

    async def run(self) -> None:
        """Receive and import until cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                await self._room.acquire()
                messages = await self._parts.queue.receive(wait_seconds=RECEIVE_WAIT_SECONDS)
                if not messages:
                    self._room.release()
                for message in messages:
                    group.start_soon(self._handle_in_room, message, name="import group")

    async def _handle_in_room(self, message: Message) -> None:
        try:
            await self._handle(message)
        finally:
            self._room.release()

    def is_in_hand(self, file_list: ObjectKey) -> bool:
        """Whether this importer is working on that File List now."""
        return file_list in self._in_hand

    async def _handle(self, message: Message) -> None:
        try:
            announced = decode_message(message.body)
        except DamagedError as error:
            log.warning("message_rejected", reason=str(error))
            await self._parts.queue.reject(message, str(error))
            return
        if announced.flow != self._movement.flow:
            await self._parts.queue.reject(message, f"it is of Flow {announced.flow!r}, not {self._movement.flow!r}")
            return
        async with anyio.create_task_group() as group:
            group.start_soon(self._keep_lease, message, name="keep lease")
            if announced.key not in self._in_hand:
                await self._import_group(announced)
            group.cancel_scope.cancel()
        await self._parts.queue.acknowledge([message.receipt])

    async def _keep_lease(self, message: Message) -> None:
        """Renew the lease at a third of the time-out. Losing it is harmless: every load checks the marks itself."""
        seconds = self._parts.limits.visibility_seconds
        while True:
            await anyio.sleep(seconds / 3)
            try:
                await self._parts.queue.extend(message.receipt, seconds)
            except LeaseLostError:
                log.info("lease_lost")
                return

    async def _import_group(self, announced: GroupCompleted) -> None:
        self._in_hand.add(announced.key)
        try:
            entries = await self._parts.flows.read_file_list(announced.key)
            planned = plan(entries, self.marks)
            self._parts.reporter.report(ImportPlanned(announced.label, planned.pending, planned.skipped))
            await self._runner.run(planned.lanes)
        except AbsentError as error:
            if announced.movement == self._movement.number:
                raise DamagedError(f"File List {announced.key} is missing from the store. Restore it.") from error
            log.warning("file_list_absent", key=announced.key, reason=str(error))
            return
        finally:
            self._in_hand.discard(announced.key)
        self.done.add(announced.key)
