"""Settling a Movement, once it is exported and every listed file is accounted for: its totals, problems and status."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

from pipeline.domain.errors import LeaseLostError, PipelineError, TransientError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, Label, ObjectKey, StreamName
from pipeline.domain.inventory import Inventory, InventoryItem, missing_lines
from pipeline.domain.lifecycle.outcome import Counts, final_status
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import FirstError, GroupCounts, Movement, Totals
from pipeline.domain.outbox.transitions import file_failed, group_exported, records_rejected
from pipeline.domain.planning.compaction import applicable
from pipeline.domain.planning.group_counts import count_group
from pipeline.domain.progress.scores import what_came
from pipeline.domain.rejections import rejection_problem, shortened
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.progress import Ran
from pipeline.engine.outbox.imported import imported_events
from pipeline.engine.storage.binaries import open_contents
from pipeline.log_events import log
from pipeline.ports.destination import DestinationSession, Fencing, Mark, Rejection, SchemaKeeper, Violation
from pipeline.ports.reporter import FINISHING, Busy, MovementSettled, RejectedRetried, ViolationFound

MAX_REASONS = 20
OTHER_REASONS = "other reasons"


BrokenReferences = Callable[[Sequence[StreamName]], Awaitable[Container[tuple[StreamName, tuple[str, ...]]]]]
"""Returns stream and columns of each foreign key of these streams that the source's own rows break."""


@dataclass(frozen=True)
class _Account:
    """What became of the Event Files of a Movement. `lists` has the entries of the File List of each of its groups."""

    movement: Movement
    lists: Mapping[ObjectKey, Sequence[FileEntry]]
    marks: Mapping[EventFileId, Mark]
    failed: Mapping[EventFileId, str]

    @cached_property
    def entries(self) -> Sequence[FileEntry]:
        """The listed files that count."""
        return applicable([entry for listed in self.lists.values() for entry in listed], self.marks)

    def marked(self, final: Mapping[EventFileId, Mark]) -> _Account:
        """Return the same with the marks of another process: what is imported has not failed."""
        failed = {file: reason for file, reason in self.failed.items() if file not in final}
        return replace(self, marks={**final, **self.marks}, failed=failed)

    def touched(self) -> set[StreamName]:
        """Return the streams of which this Movement has imported something."""
        marks, number = self.marks, self.movement.number
        return {entry.id.stream for entry in self.entries if entry.id in marks and marks[entry.id].movement == number}

    def left(self, rejected: Sequence[Rejection]) -> int:
        """Return how many records stay rejected. While the destination refuses everything, none is tried again or named."""
        at_source = self.movement.rejections.count
        if self.movement.refused:
            return sum(self.marks[entry.id].rejected for entry in self.entries if entry.id in self.marks) + at_source
        return len(rejected) + at_source

    def counts(self) -> Mapping[Label, GroupCounts]:
        """Return the counts of all groups: of those that are not of this Movement, as they were."""
        movement = self.movement
        counts = {label: known for label, known in movement.counts.items() if label in movement.file_lists}
        for label, key in movement.file_lists.items():
            if key in self.lists:
                counts[label] = count_group(self.lists[key], self.marks)
        return counts

    def totals(self, run: Totals) -> Totals:
        """Add to `run` the totals in File Lists and marks."""
        movement, entries = self.movement, self.entries
        exported = 0 if movement.origin else sum(entry.id.movement == movement.number for entry in entries)
        marked = [self.marks[entry.id] for entry in entries if entry.id in self.marks]
        here = [mark for mark in marked if mark.movement == movement.number]
        return replace(
            run,
            files_exported=exported,
            files_imported=len(here),
            files_skipped=len(marked) - len(here),
            files_failed=len(entries) - len(marked),
            upserts=run.upserts + sum(mark.upserts for mark in here),
            deletes=sum(mark.deletes for mark in here),
            binaries_imported=sum(mark.binaries for mark in here),
        )

    def reasons(self, rejected: Sequence[Rejection]) -> Mapping[str, int]:
        """Return how often each reason was given, the most frequent first; those beyond `MAX_REASONS` together."""
        counted = Counter([*self.failed.values(), *(one.reason for one in rejected)])
        counted.update(one.reason for one in self.movement.rejections.named)
        most = dict(counted.most_common(MAX_REASONS))
        others = counted.total() - sum(most.values())
        return most | ({OTHER_REASONS: others} if others else {})

    def problems(
        self, rejected: Sequence[Rejection], violations: Sequence[Violation], missing: Sequence[str]
    ) -> tuple[str, ...]:
        """Return a line for each problem that is left."""
        movement = self.movement
        problems = [deletes.problem(stream) for stream, deletes in movement.held_deletes.items()]
        problems += [f"Event File {file} was not imported: {reason}" for file, reason in self.failed.items()]
        if movement.refused:
            problems.append(f"The destination refuses everything, so the rest was not tried: {movement.refused}")
        stopped = {label: movement.group_wishes[label] for label in movement.groups_that(Want.STOP)}
        problems += [f"Group {label} was stopped, {wish}" for label, wish in stopped.items()]
        problems += map(str, movement.rejections.named)
        problems += [rejection_problem(str(one.file), one.line, one.key, one.reason) for one in rejected]
        problems += [f"{violation.stream}: {violation.message}" for violation in violations]
        return shortened([*problems, *missing])


class Settlement:
    """Brings one Movement to its final status. `at_source` asks the source about violations; a worker has no source."""

    def __init__(
        self, context: EngineContext, session: DestinationSession, at_source: BrokenReferences | None = None
    ) -> None:
        self._context = context
        self._session = session
        self._at_source = at_source

    async def settle(
        self,
        movement: Movement,
        file_lists: Sequence[ObjectKey],
        marks: Mapping[EventFileId, Mark],
        failed: Mapping[EventFileId, str],
        run: Callable[[], Ran],
    ) -> Movement:
        """Finish the destination, count, and store the final status. The Movement must be `exported`.

        `file_lists` are those of all groups of this Movement; `run` is called when nothing is left to do. LeaseLostError when
        another attempt to export it has begun meanwhile: it may list more files than were counted here.
        """
        self._context.reporter.report(Busy(FINISHING))
        try:
            before = await self._context.flows.read_movement(movement.flow, movement.number)
            if before.settled:  # meanwhile, by another process: nothing is changed or noted of it any more
                return before
            lists = {key: await self._context.flows.read_file_list(key) for key in file_lists}
            return await self._settle(_Account(movement, lists, marks, failed), run, has_exporter=bool(before.exporter))
        finally:
            self._context.reporter.report(Busy(FINISHING, is_over=True))

    async def _settle(self, account: _Account, run: Callable[[], Ran], *, has_exporter: bool) -> Movement:
        movement, marks = account.movement, account.marks
        rejected = [] if movement.refused else await self._retry_rejected(movement)
        retried = dict(marks)
        if any(mark.rejected for mark in marks.values()):
            retried |= await self._session.marks()
        accepted = _accepted(marks, retried)
        touched = account.touched() | {file.stream for file in accepted}
        unfinished = {*touched, *movement.violated}
        violations = [] if movement.refused else await self._finish(unfinished)
        inventory = await self._inventory(movement, rows_changed=bool(touched))
        final = await self._behind_fence(account, retried)
        if not final.keys() <= retried.keys():  # another process had something in hand until now
            before = await self._context.flows.read_movement(movement.flow, movement.number)
            return (
                before if before.settled else await self._settle(account.marked(final), run, has_exporter=has_exporter)
            )
        gaps = inventory.gaps((await self._context.flows.read_flow(movement.flow)).accepted_missing)
        self._report_retried(account, accepted, rejected)
        ran = run()
        waiting = sum(one.waits for one in rejected)
        totals = replace(ran.totals, upserts=accepted.total(), rejected=account.left(rejected), waiting=waiting)
        totals = account.totals(totals)
        came_to = _final_counts(movement, totals, violations, gaps)
        problems = account.problems(rejected, violations, missing_lines(gaps, inventory.unnamed))
        reasons = account.reasons(rejected)
        await self._put_events(account, totals.rejected, list(reasons))
        ended = await self._context.flows.store_clock.now(movement.flow) if has_exporter else None
        counts, first = account.counts(), await self._first_error(account, rejected)

        def settle(now: Movement) -> Movement:
            if now.settled:
                return now
            _ensure_current(movement, now)
            status, because = final_status(replace(came_to, to_stop=now.wish.want is Want.STOP))
            settled = now.to(status, self._context.clock.now(), because)
            settled = replace(settled, shown=ran.shown or tuple(what_came(now.shown, ended)))
            violated = unfinished if movement.refused else {violation.stream for violation in violations}
            settled = replace(settled, totals=totals, problems=problems, violated=tuple(sorted(violated)))
            added = {label: one for label, one in now.added.items() if now.file_lists[label] not in account.lists}
            settled = replace(settled, counts=counts, marks=len(marks), added=added)
            return replace(settled, inventory=inventory, reasons=reasons, first_error=first)

        settled = await self._context.flows.update(movement.flow, movement.number, settle)
        await self._context.flows.store_history(settled)
        skipped = totals.files_skipped if settled.totals is totals else 0  # else another process has settled it
        event = MovementSettled(movement.flow, movement.number, settled.status.value, skipped)
        self._context.reporter.report(event)
        return settled

    async def _behind_fence(self, account: _Account, marks: Mapping[EventFileId, Mark]) -> Mapping[EventFileId, Mark]:
        """Return the marks to which no process adds any more in this Movement: it is fenced if they lack a listed file.

        TransientError when a load in hand hinders that. A destination that refuses even the fence is not fenced.
        """
        if not isinstance(self._session, Fencing) or all(entry.id in marks for entry in account.entries):
            return marks
        movement = account.movement
        _ensure_current(movement, await self._context.flows.read_movement(movement.flow, movement.number))
        try:
            await self._session.fence(movement.number)
        except TransientError:
            raise
        except PipelineError as error:
            log.warning("movement_not_fenced", flow=movement.flow, movement=movement.number, reason=str(error))
            return marks
        return await self._session.marks()

    async def _first_error(self, account: _Account, rejected: Sequence[Rejection]) -> FirstError | None:
        """Return the first error of the Movement: of a file that failed, else of a rejected record."""
        movement = account.movement
        for file, reason in account.failed.items():
            for failure in await self._context.flows.read_failures_of(movement.flow, movement.number, file):
                if failure.line is None:
                    return FirstError(str(file), reason, exception=failure.exception, trace=failure.trace)
            return FirstError(str(file), reason)
        for one in rejected:
            return FirstError(str(one.file), one.reason, one.line, one.key, one.column)
        for named in movement.rejections.named:
            return FirstError(named.stream, named.reason, None, named.key, named.column)
        return None

    async def _put_events(self, account: _Account, rejected: int, reasons: Sequence[str]) -> None:
        """Store the events that File Lists, marks and failures show, before the Movement can settle without them."""
        movement, now = account.movement, self._context.clock.now()
        events = [file_failed(movement, file, reason, now) for file, reason in account.failed.items()]
        for label, key in movement.file_lists.items():
            if key in account.lists:
                events += group_exported(movement, label, key, account.lists[key], now)
                events += imported_events(movement, label, account.lists[key], account.marks, now)
        if rejected:
            events.append(records_rejected(movement, rejected, reasons, now))
        await self._context.flows.outbox.put(events)

    async def _retry_rejected(self, movement: Movement) -> Sequence[Rejection]:
        open_contents(self._session, self._context.store, movement, self._context.reporter)
        return await self._session.retry_rejected()

    def _report_retried(
        self, account: _Account, accepted: Mapping[EventFileId, int], rejected: Sequence[Rejection]
    ) -> None:
        """Report what became of the rejected records of each group, by the Event Files that its File List names."""
        counts = defaultdict[EventFileId, Counter[str]](Counter)
        for file, count in accepted.items():
            counts[file]["accepted"] += count
        for one in rejected:
            counts[one.file].update(rejected=1, waiting=one.waits)
        by_label = defaultdict[Label, Counter[str]](Counter)
        for entry in chain.from_iterable(account.lists.values()) if counts else ():
            if entry.id in counts:
                by_label[entry.label].update(counts[entry.id])
        for label, found in by_label.items():
            event = RejectedRetried(label, found["accepted"], found["rejected"], found["waiting"])
            self._context.reporter.report(event)

    async def _finish(self, touched: Collection[StreamName]) -> Sequence[Violation]:
        violations = await self._session.finish(sorted(touched)) if touched else []
        violations = await self._compared_with_source(violations)
        for violation in violations:
            self._context.reporter.report(ViolationFound(violation))
        return violations

    async def _compared_with_source(self, violations: Sequence[Violation]) -> Sequence[Violation]:
        """Return the violations; the message of each says if the source has it, too."""
        streams = sorted({violation.stream for violation in violations if violation.columns})
        if self._at_source is None or not streams:
            return violations
        broken = await self._at_source(streams)
        return [
            replace(it, message=f"{it.message}; it is so at the source, too")
            if (it.stream, it.columns) in broken
            else it
            for it in violations
        ]

    async def _inventory(self, movement: Movement, *, rows_changed: bool) -> Inventory:
        """Return what became of all that the source has: what the source left out, and what the destination made of it."""
        items = list(movement.omitted.items)
        if isinstance(self._session, SchemaKeeper) and not movement.refused:
            items += await self._session.ensure_objects(rows_changed=rows_changed)
        return Inventory.of(items)


def _ensure_current(movement: Movement, now: Movement) -> None:
    """LeaseLostError when more of the Movement may be exported or imported than was counted."""
    if movement.refused and not now.refused:
        raise LeaseLostError(
            f"Movement {now.number} of Flow {now.flow!r} was resumed; this one gives way. It carries on."
        )
    if now.attempts != movement.attempts:
        raise LeaseLostError(
            f"Movement {now.number} of Flow {now.flow!r} is exported again by another process; this one gives way."
        )


def _final_counts(
    movement: Movement, totals: Totals, violations: Sequence[Violation], gaps: Sequence[InventoryItem]
) -> Counts:
    return Counts(
        imported=totals.files_imported,
        skipped=totals.files_skipped,
        failed=totals.files_failed,
        rejected=totals.rejected,
        violations=len(violations),
        gaps=len(gaps),
        held=len(movement.held_deletes),
        stopped=len(movement.groups_that(Want.STOP)),
        refused=bool(movement.refused),
    )


def _accepted(before: Mapping[EventFileId, Mark], after: Mapping[EventFileId, Mark]) -> Counter[EventFileId]:
    """Return how many records of each file were accepted after they had been rejected."""
    return (
        Counter({file: after[file].upserts - mark.upserts for file, mark in before.items() if mark.rejected})
        + Counter()
    )
