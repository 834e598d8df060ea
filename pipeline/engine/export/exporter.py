"""The exporter: stores what of the source the Flow does not hold yet, group by group, and announces each group.

The order of commits: Binary Files, then the Event File that names them, … all of a label …, the File List, movement.json,
the announcement. After a crash anywhere in between, the same Movement is exported again: what it has stored is found in
the store and counts as stored, so only the rest, and what has changed meanwhile, is added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain

import anyio

from pipeline.domain.errors import DamagedError, RefusedError, UnreadableError
from pipeline.domain.flows.declaration import GroupRule
from pipeline.domain.flows.groups import dependencies, dependency_levels
from pipeline.domain.ids import Label, ObjectKey, StreamName
from pipeline.domain.inventory import Inventory
from pipeline.domain.movement import HeldDeletes, Movement
from pipeline.domain.planning.selection import matches, selected
from pipeline.domain.schema import StreamSchema
from pipeline.engine.export.attempt import ExportAttempt, SkipsImported, TakesArrays, no_arrays, skips_nothing
from pipeline.engine.export.delete_guard import DeleteGuard
from pipeline.engine.export.group_export import GroupExport, GroupStream
from pipeline.engine.export.source_progress import SourceProgress
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.superseded import delete_superseded
from pipeline.ports.reporter import ExportPlanned, RowsExpected
from pipeline.ports.source import (
    MovementScope,
    OmissionReporter,
    ResumableSnapshot,
    RowEstimator,
    ScopedSnapshot,
    Snapshot,
)


class Exporter:
    """Exports one Movement. `announced` holds the File List of each group that is announced, or imported already."""

    def __init__(
        self,
        context: EngineContext,
        snapshot: Snapshot,
        schemas: Sequence[StreamSchema],
        movement: Movement,
        order: Sequence[GroupRule] = (),
        takes_arrays: TakesArrays = no_arrays,
        skips_imported: SkipsImported = skips_nothing,
    ) -> None:
        """`order` says which groups are exported before which; the rest is as `ExportAttempt` has it."""
        self._attempt = ExportAttempt(context, movement, takes_arrays, skips_imported)
        self._snapshot = snapshot
        self._schemas = schemas
        self._order = order
        self._incomplete: dict[Label, str] = {}
        self._guard = DeleteGuard(movement, snapshot, schemas, context.limits.delete_guard_rows)
        self.announced: dict[Label, ObjectKey] = {}

    @property
    def chosen(self) -> Sequence[StreamSchema]:
        """The streams of the source that the Movement moves."""
        movement = self._attempt.movement
        return [one for one in self._schemas if selected(one.stream, movement.only, movement.exclude)]

    @property
    def large(self) -> anyio.Event:
        """Set as soon as there is enough to import for a helper to be worthwhile."""
        return self._attempt.large

    async def run(self) -> Movement:
        """Export all groups and return the Movement, `exported`."""
        movement = self._attempt.movement
        with self._attempt.context.tracer.span("export Movement", flow=movement.flow, movement=movement.number):
            return await self._run()

    async def _run(self) -> Movement:
        await delete_superseded(self._attempt.context, self._attempt.movement)
        if isinstance(self._snapshot, ResumableSnapshot):
            await self._snapshot.begin_movement(self._scope())
        if isinstance(self._snapshot, ScopedSnapshot):
            await self._note_scopes(self._snapshot)
        groups = await self._groups()
        order = tuple(chain.from_iterable(dependency_levels(groups, self._order)))
        await self._plan(groups, order)
        for label in order:
            if self._leave_out(label, groups[label]):
                continue
            unreadable = len(self._attempt.unreadable)
            file_list = await GroupExport(self._attempt, self._snapshot, label, self._guard).run(groups[label])
            if file_list is not None:
                self.announced[label] = file_list
            if len(self._attempt.unreadable) > unreadable:
                self._incomplete[label] = self._attempt.unreadable[unreadable].name
        announced = tuple(self.announced)
        omissions = await self._snapshot.omissions() if isinstance(self._snapshot, OmissionReporter) else ()
        omitted = Inventory.of([*omissions, *self._attempt.unreadable])
        rejections, held = self._attempt.rejections, self._held()
        await self._attempt.update(
            lambda now: replace(
                now,
                exported=True,
                groups=announced,
                inventory=omitted,
                omitted=omitted,
                rejections=rejections,
                held_deletes=held,
            )
        )
        if isinstance(self._snapshot, ResumableSnapshot):
            await self._snapshot.end_movement()
        return self._attempt.movement

    async def _note_scopes(self, snapshot: ScopedSnapshot) -> None:
        """Store the kinds of data of the streams, before anything of them is announced."""
        known = self._attempt.movement.scopes
        found = {**known, **snapshot.scopes()}
        scopes = {stream: tuple(own) for stream, own in found.items() if own}
        if scopes != known:
            await self._attempt.update(lambda now: replace(now, scopes=scopes))

    def _held(self) -> Mapping[StreamName, HeldDeletes]:
        """Return the deletes that are held, also of streams that this Movement does not look at: nobody has decided on them."""
        movement = self._attempt.movement
        others = {
            stream: held
            for stream, held in movement.held_deletes.items()
            if not selected(stream, movement.only, ()) and not matches(stream, movement.exclude)
        }
        return others | self._guard.held

    async def _plan(self, groups: Mapping[Label, Sequence[GroupStream]], order: Sequence[Label]) -> None:
        """Report what is going to be read, and about how many rows it has, if the source can say that at once."""
        report = self._attempt.context.reporter.report
        names = [one.schema.stream for streams in groups.values() for one in streams if one.present]
        known: Mapping[StreamName, int] = {}
        if isinstance(self._snapshot, RowEstimator):
            with suppress(DamagedError, RefusedError, UnreadableError):  # reading the streams will name what is wrong
                known = await self._snapshot.row_estimates(names)
        for label in order:
            streams = tuple(one.schema.stream for one in groups[label] if one.present)
            report(ExportPlanned(label, streams))
            for stream in streams:
                if stream in known:
                    report(RowsExpected(label, stream, known[stream]))

    def _scope(self) -> MovementScope:
        attempt, movement = self._attempt, self._attempt.movement
        progress = SourceProgress(attempt.context.reporter, {it.stream: it.label for it in self._schemas})
        return MovementScope(attempt.context.store, movement.flow, movement.number, attempt.binaries, progress)

    def _leave_out(self, label: Label, streams: Sequence[GroupStream]) -> bool:
        """Leave a group out if the source cannot read all of one that it depends on; return whether it is."""
        needed = next((one for one in dependencies(label, self._order) if one in self._incomplete), None)
        if needed is None:
            return False
        first = self._incomplete[label] = self._incomplete[needed]
        for stream in streams:
            reason = f"its group depends on the group {needed!r}, and the source cannot read {first!r}"
            self._attempt.note_unreadable(stream.schema.stream, UnreadableError(reason))
        return True

    async def _groups(self) -> Mapping[Label, Sequence[GroupStream]]:
        """Return the selected streams of each label: those of the source, and those that it has no more."""
        attempt, movement = self._attempt, self._attempt.movement
        groups: defaultdict[Label, list[GroupStream]] = defaultdict(list)
        for schema in self.chosen:
            groups[schema.label].append(GroupStream(schema))
        present = {schema.stream for schema in self._schemas}
        for stream in {**movement.states, **movement.unfinished}:
            if stream not in present and selected(stream, movement.only, movement.exclude):
                stored = await attempt.carried(stream), await attempt.adopted(stream)
                gone = await attempt.state(stream, *stored).schema()
                if gone is not None:
                    groups[gone.label].append(GroupStream(gone, present=False))
        return groups
