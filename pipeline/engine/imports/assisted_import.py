"""The mover's import, with a helper process if the Movement is large: while this process exports, the helper imports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import anyio

from pipeline.codec.documents.message import GroupCompleted
from pipeline.domain.errors import PipelineError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import Label, ObjectKey
from pipeline.engine.control.watch import Watch
from pipeline.engine.imports.import_helper import GroupLeft, GroupTaken, HelperEvent, HelperProvider
from pipeline.engine.imports.movement_handler import MovementHandler, import_consumer
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.messaging.stopping import run_until_set
from pipeline.engine.movements.context import EngineContext
from pipeline.log_events import log
from pipeline.ports.reporter import EventFileFailed, EventFileImported


class AssistedImport:
    """Imports what is announced, in this process and perhaps in a helper."""

    def __init__(
        self, context: EngineContext, importing: MovementImport, watch: Watch, helper: HelperProvider | None
    ) -> None:
        self._context = context
        self._importing = importing
        self._watch = watch
        self._helper = helper
        self._held_by_helper: Counter[ObjectKey] = Counter()
        self._had_helper = False
        self._announced: Sequence[tuple[Label, ObjectKey]] = ()
        self._exported = anyio.Event()

    def end_export(self, announced: Mapping[Label, ObjectKey]) -> None:
        """Note that this process has exported. `announced` are the File Lists of all groups of the Movement."""
        self._announced = tuple(announced.items())
        self._exported.set()

    async def refresh(self) -> None:
        """Read the marks again if there was a helper, which reports its own imports but not those of an earlier helper."""
        if self._had_helper:
            await self._importing.refresh()
            for file in self._importing.failed.keys() & self._importing.marks.keys():
                del self._importing.failed[file]

    def is_done(self, file_list: ObjectKey) -> bool:
        """Return whether a group has been worked through, here or by the helper."""
        return file_list in self._importing.done

    def is_in_progress(self, file_list: ObjectKey) -> bool:
        """Return whether this process or the helper works on a group."""
        return self._importing.is_in_progress(file_list) or self._held_by_helper[file_list] > 0

    async def run(self, large: anyio.Event) -> None:
        """Import until cancelled. A helper is started once `large` is set.

        From then on this process begins no more imports until it has exported or the helper has ended, even while the
        helper is still starting: an import here would slow down the export. Afterwards the helper works through the
        File Lists from the first file on, and this process from the last, until they meet.
        """
        consumer = import_consumer(self._context, MovementHandler(self._importing, self._watch).handle)
        if self._helper is None:
            await consumer.run()
            return
        alone = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_helper, self._helper, large, alone, name="helper")
            await consumer.run(large)
            await run_until_set(alone, self._exported.wait)
            if not alone.is_set():
                await self._import_from_the_end()
            await consumer.run()

    async def _import_from_the_end(self) -> None:
        """Import what is pending of all groups, the last file first. After an error, the mover announces groups again."""
        movement = self._importing.movement
        self._importing.begin_at_the_end()
        try:
            with unwrap_exception_group():
                for label, file_list in reversed(self._announced):
                    if not self.is_done(file_list):
                        announced = GroupCompleted(movement.flow, movement.number, label, file_list)
                        await self._importing.take(announced)
        except PipelineError as error:
            log.warning("joint_import_failed", reason=str(error))

    async def _run_helper(self, helper: HelperProvider, large: anyio.Event, alone: anyio.Event) -> None:
        """Handle the helper's events until it ends; then set `alone`. The mover announces again what it left undone."""
        await large.wait()
        try:
            async with helper.open(self._importing.movement) as events:
                self._had_helper = True
                async for event in events:
                    self._handle_event(event)
            log.warning("helper_failed", reason="it ended before its work did; this process goes on alone")
        except PipelineError as error:
            log.warning("helper_failed", reason=str(error))
        self._held_by_helper.clear()
        alone.set()

    def _handle_event(self, event: HelperEvent) -> None:
        match event:
            case GroupTaken():
                self._held_by_helper[event.file_list] += 1
                return
            case GroupLeft():
                self._held_by_helper[event.file_list] -= 1
                if event.done:
                    self._importing.done.add(event.file_list)
                return
            case EventFileImported():
                self._importing.note_imported(event.id, event.mark)
            case EventFileFailed():
                self._importing.failed[event.id] = event.reason
            case _:
                pass
        self._context.reporter.report(event)
