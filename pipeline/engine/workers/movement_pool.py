"""The Movements that an import worker works on: each with its destination open while it is used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.abc
import anyio.lowlevel

from pipeline.codec.documents.progress import Progress
from pipeline.domain.errors import DefectError, PipelineError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName, Label
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.control.watch import Watch
from pipeline.engine.imports.existing_records import GuardExisting, nothing_guarded
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.progress import ProgressKeeper
from pipeline.ports.destination import Destination, SchemaKeeper

RELEASE_AFTER_SECONDS = 0.5
"""The claim of a Movement without a user is given up within this time. Each claim costs two requests."""
LINGER_SECONDS = 10.0
"""An unused destination stays open this long: the next group of the Movement often follows at once."""
MOST_COUNTED = 1000
"""The counts of this many Movements are kept, for when their destinations are opened again."""

ConnectDestination = Callable[[Flow], Destination]


@dataclass
class _Opened:
    """A Movement and the number of its users. Once `ready` is set, there is either `importing` or `error`.

    `watch` is that of the present claim of this process, which is made and given up under `claiming`.
    """

    watch: Watch
    claiming: anyio.Lock = field(default_factory=anyio.Lock)
    progress: ProgressKeeper | None = None
    users: int = 0
    ready: anyio.Event = field(default_factory=anyio.Event)
    idle_since: float = 0.0
    importing: MovementImport | None = None
    error: PipelineError | None = None


class MovementPool:
    """Opens destinations when they are needed. They are opened and closed by tasks of `run`, which must be running."""

    def __init__(
        self,
        context: EngineContext,
        connect: ConnectDestination,
        worker: str,
        stopping: Callable[[], bool],
        guard: GuardExisting = nothing_guarded,
    ) -> None:
        self._context, self._guard = context, guard
        self._connect = connect
        self._worker = worker
        self._stopping = stopping
        self._room = anyio.Semaphore(context.limits.importers)
        self._opened: dict[tuple[FlowName, int], _Opened] = {}
        self._counted: dict[tuple[FlowName, int], Progress] = {}
        self._group: anyio.abc.TaskGroup | None = None

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep destinations open until cancelled."""
        async with anyio.create_task_group() as self._group:
            task_status.started()
            await anyio.sleep_forever()

    @asynccontextmanager
    async def use(self, movement: Movement) -> AsyncIterator[tuple[MovementImport, Watch]]:
        """Use the import of a Movement, claimed by this process, with the watch over what people want of it.

        Its destination is opened if it is closed; what that raises is raised.
        """
        if self._group is None:
            raise DefectError("the pool of Movements is not running")
        await anyio.lowlevel.checkpoint_if_cancelled()  # the task group may have ended with this task's cancellation
        key = (movement.flow, movement.number)
        opened = self._opened.get(key)
        if opened is None:
            opened = self._opened[key] = _Opened(self._watch(movement))
            self._group.start_soon(self._host, movement, opened, name=f"destination of {movement.flow}")
        opened.users += 1
        try:
            await opened.ready.wait()
            if opened.error is not None:
                raise opened.error
            if opened.importing is None or opened.progress is None:
                raise DefectError("a destination is neither open nor failed")
            async with opened.claiming:
                if not opened.progress.document.working:
                    opened.watch = self._watch(movement)
                    await opened.watch.note(await opened.progress.claim())
            yield opened.importing, opened.watch
        finally:
            opened.users -= 1
            opened.idle_since = anyio.current_time()

    def _watch(self, movement: Movement) -> Watch:
        return Watch(self._context.flows, movement, self._context.limits.progress_seconds)

    async def _host(self, movement: Movement, opened: _Opened) -> None:
        key = (movement.flow, movement.number)
        try:
            with unwrap_exception_group():
                await self._host_open(movement, opened)
        except PipelineError as error:
            opened.error = error
        finally:
            if self._opened.get(key) is opened:
                del self._opened[key]
            opened.ready.set()

    async def _host_open(self, movement: Movement, opened: _Opened) -> None:
        flow = await self._context.flows.read_flow(movement.flow)
        async with self._connect(flow).open(flow.marks_namespace) as session:
            progress = self._counting(movement)

            def stopping(label: Label) -> bool:
                return self._stopping() or opened.watch.stops(label)

            async def note(now: Movement) -> None:
                await opened.watch.note(now)

            importing = MovementImport(
                progress.context,
                movement,
                session,
                self._room,
                stopping,
                declared=flow.declared,
                note=note,
                existing=None if movement.overwrite else self._guard(flow, session),
            )
            progress.in_hand = lambda: importing.in_hand
            progress.document.finishes = isinstance(session, SchemaKeeper)
            await importing.refresh()
            opened.importing, opened.progress = importing, progress
            opened.ready.set()
            async with progress.released_at_end():
                await self._keep(movement, opened, importing, progress)

    def _counting(self, movement: Movement) -> ProgressKeeper:
        """Return what goes on with the counts of this process in the Movement, also after its destination has failed."""
        key = (movement.flow, movement.number)
        progress = ProgressKeeper(self._context, movement, self._worker, before=self._counted.pop(key, None))
        while len(self._counted) >= MOST_COUNTED:
            del self._counted[next(iter(self._counted))]
        self._counted[key] = progress.document
        return progress

    async def _keep(
        self, movement: Movement, opened: _Opened, importing: MovementImport, progress: ProgressKeeper
    ) -> None:
        """Write the progress while there is any, and look what is wanted, until the destination has been unused for a while.

        The claim is given up soon after the last user has left: a stop waits for that.
        """
        seconds = self._context.limits.progress_seconds
        while opened.users or anyio.current_time() - opened.idle_since < LINGER_SECONDS:
            if opened.users:
                progress.document.holding = list(importing.holding)
                await progress.write()
                await opened.watch.look_again()
            else:
                async with opened.claiming:
                    if progress.document.working and opened.users == 0:
                        await progress.release()
            await anyio.sleep(seconds if opened.users else min(seconds, RELEASE_AFTER_SECONDS))
        del self._opened[movement.flow, movement.number]  # the next user opens it again
