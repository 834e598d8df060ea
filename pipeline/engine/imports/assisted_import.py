"""The import of a Movement by this process and perhaps a helper: while the source is read, the helper does it alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import anyio
import structlog

from pipeline.codec.documents.message import GroupCompleted
from pipeline.domain.errors import PipelineError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import Label, ObjectKey
from pipeline.engine.imports.import_helper import (
    GroupLeft,
    GroupTaken,
    HelperEvent,
    HelperProvider,
    OneMovement,
    message_loop,
)
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.movements.context import EngineContext
from pipeline.ports.reporter import EventFileFailed, EventFileImported

log = structlog.get_logger()


class AssistedImport:
    """Imports what is announced. Whoever has read the source to its end sets `exported`."""

    def __init__(self, context: EngineContext, importing: MovementImport, help_: HelperProvider | None) -> None:
        self._context = context
        self._importing = importing
        self._help = help_
        self._in_helpers_hand: Counter[ObjectKey] = Counter()
        self._was_helped = False
        self._announced: Sequence[tuple[Label, ObjectKey]] = ()
        self._exported = anyio.Event()

    def end_export(self, announced: Mapping[Label, ObjectKey]) -> None:
        """The source has been read. These are the File Lists of the groups that the Movement is about."""
        self._announced = tuple(announced.items())
        self._exported.set()

    async def refresh(self) -> None:
        """Have in `importing` all that is imported. The helper does not tell of what another one had imported before it."""
        if self._was_helped:
            await self._importing.refresh()
            for file in self._importing.failed.keys() & self._importing.marks.keys():
                del self._importing.failed[file]

    def is_done(self, file_list: ObjectKey) -> bool:
        """Whether a group has been worked through, by whomever."""
        return file_list in self._importing.done

    def is_in_progress(self, file_list: ObjectKey) -> bool:
        """Whether anybody works on a group now."""
        return self._importing.is_in_hand(file_list) or self._in_helpers_hand[file_list] > 0

    async def run(self, large: anyio.Event) -> None:
        """Import until cancelled. Help is asked for once `large` is set: then the Movement is large enough for it.

        From then on this process begins with no more until it has read the source or the helper is gone, even before the
        helper is at work: whatever is imported here takes time from the reading. Then the helper, which goes through what
        was announced from the first to the last, is met from the other end.
        """
        handler = OneMovement(self._importing)
        if self._help is None:
            await message_loop(self._context, handler).run()
            return
        alone = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(self._have_help, self._help, large, alone, name="help")
            await message_loop(self._context, handler).run(large)
            await _either(alone, self._exported)
            if not alone.is_set():
                await self._meet()
            await message_loop(self._context, handler).run()

    async def _meet(self) -> None:
        """Import what is left of all groups, the last file first. What goes wrong is left to be rung for again."""
        movement = self._importing.movement
        self._importing.runner.backwards = True
        try:
            with unwrap_exception_group():
                for label, file_list in reversed(self._announced):
                    if not self.is_done(file_list):
                        announced = GroupCompleted(movement.flow, movement.number, label, file_list)
                        await self._importing.import_group(announced)
        except PipelineError as error:
            log.warning("helper_not_met", reason=str(error))

    async def _have_help(self, help_: HelperProvider, large: anyio.Event, alone: anyio.Event) -> None:
        """Take in what the helper does, for as long as it lives. What it leaves undone is rung for again."""
        await large.wait()
        try:
            async with help_.open(self._importing.movement) as told:
                self._was_helped = True
                async for event in told:
                    self._take_in(event)
            log.warning("helper_ended", reason="it ended before its work did; this process goes on alone")
        except PipelineError as error:
            log.warning("helper_ended", reason=str(error))
        self._in_helpers_hand.clear()
        alone.set()

    def _take_in(self, told: HelperEvent) -> None:
        match told:
            case GroupTaken():
                self._in_helpers_hand[told.file_list] += 1
                return
            case GroupLeft():
                self._in_helpers_hand[told.file_list] -= 1
                if told.done:
                    self._importing.done.add(told.file_list)
                return
            case EventFileImported():
                self._importing.note_imported(told.id, told.mark)
            case EventFileFailed():
                self._importing.failed[told.id] = told.reason
            case _:
                pass
        self._context.reporter.report(told)


async def _either(one: anyio.Event, other: anyio.Event) -> None:
    """Wait until one of the two is set."""
    async with anyio.create_task_group() as group:

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        group.start_soon(wait, one)
        group.start_soon(wait, other)
