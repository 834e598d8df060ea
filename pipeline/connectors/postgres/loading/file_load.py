"""One Event File on its way into a table, inside a transaction of the caller.

The quick way is a COPY of a batch straight into the table, for a first snapshot, or else into a temporary table and one
statement from there. When PostgreSQL rejects records, the attempt is undone and repeated in parts: the rows before the
one that the server names, that row, and halves of those after it; or else halves. A record that fails alone is
rejected. If another row blocked it, it is retried at the end of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property, partial
from threading import Lock
from typing import assert_never

from pipeline.connectors.postgres.ddl.foreign_keys import ExistingKey
from pipeline.connectors.postgres.loading.batches import (
    BATCH_BYTES,
    COPY_BYTES,
    Batch,
    Batches,
    BlockRun,
    InvalidLines,
    Origin,
    Step,
)
from pipeline.connectors.postgres.loading.copy_in import Staging, Vacating
from pipeline.connectors.postgres.loading.csv_lines import Lines, Run
from pipeline.connectors.postgres.loading.import_ledger import ImportLedger
from pipeline.connectors.postgres.loading.integrity.references import References
from pipeline.connectors.postgres.loading.integrity.side_effects import SideEffects
from pipeline.connectors.postgres.loading.rejection.facts import TableFacts
from pipeline.connectors.postgres.loading.rejection.reasons import VALUE, ZERO, RejectReason
from pipeline.connectors.postgres.loading.tables.value_kinds import ValueKinds
from pipeline.connectors.postgres.loading.target import Target
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.rejected_record import RejectedRecord, key_text_in
from pipeline.connectors.sql.splitting import apply_split
from pipeline.domain.ids import EventFileId
from pipeline.ports.destination import Rejection


class FileLoad:
    """Applies records to one table, and counts those that are accepted. It is synchronous: it runs in worker threads.

    `effects` are suspended until `end`. `is_snapshot`: most keys are new, so a COPY into the table is tried first.
    `inserts_only`: no row can be in the table, which has no key that would show it. `references`: foreign keys to the
    table, unless they are suspended. `kinds`: a value that the table cannot hold ends the load with MisfitError.
    """

    def __init__(
        self,
        connection: Connection,
        ledger: ImportLedger,
        target: Target,
        effects: SideEffects,
        references: References | None,
        facts: Callable[[], TableFacts],
        *,
        is_snapshot: bool = False,
        inserts_only: bool = False,
        kinds: ValueKinds | None = None,
    ) -> None:
        self._ledger = ledger
        self.target = target
        self._references = references
        self._read_facts = facts
        self._kinds = kinds
        self._may_replace = target.covers_table and target.row_key is None
        self._inserts_only = inserts_only and target.row_key is not None and bool(target.columns)
        self._directly = is_snapshot and target.can_copy_directly and (target.row_key is None or self._inserts_only)
        self._sending = Lock()
        self._effects = effects
        self._staging = Staging(
            connection,
            target,
            inserts_only=self._inserts_only,
            in_two_steps=effects.has_rules or target.in_two_steps,
            references=references,
            sending=self._sending,
        )
        effects.suspend()
        columns = target.lines
        if self._inserts_only:  # the columns that identify rows without a key are not needed then
            columns = tuple(replace(it, holds=it.holds if it.name in target.columns else None) for it in columns)
        self._lines = Lines(columns, target.key_lines)
        self._batches = self._new_batches()
        self.has_rejected = ledger.has_rejected(target.stream)
        self.upserts = 0
        self.deletes = 0

    @cached_property
    def facts(self) -> TableFacts:
        """What rejections of records may depend on, as it is in this transaction."""
        return self._read_facts()

    def decode(self, block: bytes, first_line: int, file: EventFileId) -> tuple[int, Sequence[Step]]:
        """Return the number of lines of a block, and the steps that are ready. It may run beside `apply`.

        Where rows are staged, it waits while they are sent: the sender would otherwise wait for the interpreter's lock,
        which decoding holds for a whole block, after every 200 KB. The merge on the server leaves enough time for it.
        """
        with nullcontext() if self._directly else self._sending:
            origin = Origin(block, lambda place: (file, first_line + place), self._lines.named)
            return self._batches.add(origin, first_line, f"Event File {file}")

    def decode_rest(self) -> Sequence[Step]:
        """Return the steps that are left after the last block."""
        return list(self._batches.rest())

    def apply(self, steps: Sequence[Step]) -> None:
        """Apply the next steps of the file."""
        for step in steps:
            match step:
                case Batch():
                    self._apply_batch(step)
                case BlockRun():
                    self._apply_alone(step)
                case InvalidLines():
                    self._check_kinds(step.origin.lines)
                    reasons = [
                        (it.place, RejectReason(str(it.error), it.error.column, cause=VALUE)) for it in step.lines
                    ]
                    self._reject(reasons, step.origin)
                case _:
                    assert_never(step)

    def end(self) -> None:
        """Enable triggers and rules again, before the transaction ends."""
        self._effects.resume()

    def defer(self, keys: Sequence[ExistingKey]) -> None:
        """Let rows go to which others refer through these foreign keys, which are checked later."""
        if self._references is not None:
            self._references.defer(keys)

    def list_going(self, records: Sequence[RejectedRecord]) -> str | None:
        """Create a temporary table of the rows that these deletes concern; return its name."""
        runs = self._runs(records)
        if len(runs) != 1:
            return None
        self._staging.prepare("delete")
        return self._staging.going if self._staging.attempt(lambda: self._staging.list_going(runs[0])) is None else None

    def guard_deletes(self, on: bool) -> None:
        """Whether a row is deleted only when no other refers to it."""
        self._staging.guards_deletes = on

    def orphans(self, records: Sequence[RejectedRecord], foreign_key: str) -> list[int]:
        """Return the places of those records that refer to missing rows."""
        found: list[int] = []
        for run in self._runs(records):
            if run.kind == "upsert":
                self._staging.prepare("upsert")
                find = partial(self._staging.rows_without_parent, run, foreign_key)
                self._staging.attempt(lambda: found.extend(run.places[row] for row in find()))  # noqa: B023
        return found

    def _runs(self, records: Sequence[RejectedRecord]) -> list[Run]:
        lines = b"".join(record.record + b"\n" for record in records)
        return [step for step in self._lines.decode(lines, 1, "A rejected record").steps if isinstance(step, Run)]

    def retry(self, records: Sequence[RejectedRecord]) -> None:
        """Remove these records from the rejected ones and apply them; store again those that are rejected again."""
        self._ledger.drop(records)
        self._directly = False
        records = self._without_moved(records)
        where = [(record.rejection.file, record.rejection.line) for record in records]
        origin = Origin(b"".join(it.record + b"\n" for it in records), where.__getitem__, self._lines.named)
        batches = self._new_batches()
        _, steps = batches.add(origin, 1, "A rejected record")
        self.apply([*steps, *batches.rest()])

    def _without_moved(self, records: Sequence[RejectedRecord]) -> Sequence[RejectedRecord]:
        """Move rows to which others refer to new keys: INSERT OR REPLACE, or a change in a table without a key, does so.

        Such a change is a delete and an upsert, and neither is possible alone. Return the other records.
        """
        references = self._references
        if not references or self.target.has_identity_always:
            return records
        runs = self._runs(records)
        moved: set[int] = set()
        for gone in (run for run in runs if run.kind == "delete"):
            for come in (run for run in runs if run.kind == "upsert" and set(self.target.columns) <= {*run.columns}):
                self._staging.prepare("delete")
                self._staging.prepare("upsert")
                pairs: list[tuple[int, int]] = []
                if (
                    self._staging.attempt(partial(self._staging.move_to_new_keys, gone, come, references, pairs))
                    is None
                ):
                    moved.update(place for old, new in pairs for place in (gone.places[old], come.places[new]))
                    self.upserts += len(pairs)
                    self.deletes += len(pairs)
        return [record for place, record in enumerate(records) if place not in moved]

    def _new_batches(self) -> Batches:
        batch_bytes = COPY_BYTES if self._directly else BATCH_BYTES
        return Batches(self._lines, self.target, batch_bytes, ignores_keys=self._inserts_only or self._directly)

    def _apply_batch(self, batch: Batch) -> None:
        """Apply all of a batch with one statement, or its members one by one if that is rejected."""
        if self._directly:
            accepted = self._copied(batch.columns, batch.data, sum(len(it.run) for it in batch.runs))
        else:
            self._staging.prepare("upsert")
            accepted = self._staging.attempt(lambda: self._staging.upsert(batch.columns, batch.data)) is None
        for block_run in batch.runs:
            if accepted:
                self._accept(block_run.run, block_run.origin)
            elif len(batch.runs) > 1:  # a COPY of its own may be accepted
                self._apply_alone(block_run)
            else:
                self._apply_in_parts(block_run)

    def _apply_alone(self, block_run: BlockRun) -> None:
        run = block_run.run
        if run.kind == "upsert" and self._directly and self._copied(run.columns, [run.data], len(run)):
            self._accept(run, block_run.origin)
        else:
            self._apply_in_parts(block_run)

    def _copied(self, columns: Sequence[str], data: Sequence[bytes], count: int) -> bool:
        """Copy `count` rows into the table itself, or none of them. A key that exists ends the copying into the table."""
        if self.target.may_alter(data):
            return False
        reason = self._staging.attempt(lambda: self._staging.copy_directly(columns, data, count))
        self._directly = reason is None or not reason.is_duplicate
        return reason is None

    def _apply_in_parts(self, block_run: BlockRun) -> None:
        """Apply a run except for the records at fault, which are rejected."""
        if block_run.run.copied is not None:
            self._apply_split(block_run.origin)
            return

        def split(run: Run, reason: RejectReason) -> Sequence[Run]:
            at_fault = reason.rows or self._rows_at_fault(run, reason)
            if at_fault:
                self._reject([(run.places[row], it) for row, it in at_fault.items()], block_run.origin)
                return [run.without(list(at_fault))]
            return [] if self._apply_on_server(run, block_run.origin) else run.parts(reason.row)

        def attempt(run: Run) -> RejectReason | None:
            reason = self._attempt_run(run)
            if reason is not None and not reason.blocked:
                self._check_kinds([block_run.origin.lines[place] for place in run.places])
            return reason

        for run, reason in apply_split(block_run.run, attempt, split):
            if reason is None:
                self._accept(run, block_run.origin)
            else:
                self._reject([(run.places[0], reason)], block_run.origin)

    def _apply_split(self, origin: Origin) -> None:
        """Apply a block whose rows are to be taken apart after all."""
        file, line = origin.where(0)
        for step in self._lines.decode(origin.block, line, f"Event File {file}").steps:
            if isinstance(step, Run):
                self._apply_in_parts(BlockRun(step, origin))
            else:
                self.apply([InvalidLines([step], origin)])

    def _check_kinds(self, lines: Sequence[bytes]) -> None:
        if self._kinds is not None:
            self._kinds.check(lines)

    def _rows_at_fault(self, run: Run, reason: RejectReason) -> Mapping[int, RejectReason]:
        """Return the rows of a run that are at fault like the one with this reason, as far as one query finds them."""
        if not self._has_distinct_keys(run):
            return {}
        found: dict[int, RejectReason] = {}
        if reason.row is not None:
            if b"\0" in run.data:
                return dict.fromkeys((row for row in range(len(run)) if b"\0" in run.part(row, row + 1).data), ZERO)
            self._staging.prepare("text")
            self._staging.attempt(lambda: found.update(self._staging.invalid_rows(run)))
        elif not reason.is_duplicate or self.target.row_key is not None:  # else they are among its `rows`
            found = dict.fromkeys(self._rows_that_break(run, reason), reason.without_values())
        return found

    def _has_distinct_keys(self, run: Run) -> bool:
        """Whether the records can be applied together: of two upserts with one key, only the later may be at fault."""
        return run.kind == "upsert" and (self._inserts_only or run.last_of_each_key()[0] is run)

    def _without_others(self, run: Run, reason: RejectReason) -> RejectReason | None:
        """Return the reason with all rows whose unique value another row keeps; None if there are none."""
        found = self._rows_that_break(run, reason)
        return replace(reason, rows=dict.fromkeys(found, reason.without_values())) if found else None

    def _rows_that_break(self, run: Run, reason: RejectReason) -> Sequence[int]:
        """Return the rows of a run that break the same constraint: thousands may, and none has to be tried alone."""
        if reason.constraint is None:
            return ()
        schema, table, name = reason.constraint
        staging, is_ours = self._staging, (schema, table) == (self.target.table.schema, self.target.table.name)
        find = partial(staging.rows_without_parent, run, name) if is_ours else None
        if reason.is_duplicate:
            find = partial(staging.rows_with_a_value_of_others, run, schema, name)
        found: list[int] = []
        if find is not None:
            staging.prepare("upsert")
            staging.attempt(lambda: found.extend(find()))
        return found

    def _apply_on_server(self, run: Run, origin: Origin) -> bool:
        """Apply a run except for the records at fault, which are rejected; return False if that is not possible at once.

        Those whose unique values other rows have are tried together then: they may exchange them.
        """
        if not self._has_distinct_keys(run):
            return False
        failed: dict[int, RejectReason] = {}
        may_replace = self._may_replace and len(run.columns) == len(self.target.columns)
        replaces = may_replace and self.target.must_replace
        self._staging.prepare("upsert")
        if (
            self._staging.attempt(lambda: failed.update(self._staging.upsert_in_parts(run, replaces=replaces)))
            is not None
        ):
            return False
        self._check_kinds([origin.lines[run.places[row]] for row, it in failed.items() if not it.blocked])
        blocked = [row for row, it in failed.items() if it.is_duplicate and self.target.row_key is None]
        while blocked:
            left, reason = run.only(blocked), failed[blocked[0]]
            stays = self._exchange(left, reason, may_replace)
            if stays is None:
                failed = {row: it for row, it in failed.items() if row not in blocked}
                break
            at_fault = {*self._rows_that_break(left, stays)}
            blocked = [row for place, row in enumerate(blocked) if place not in at_fault] if at_fault else []
        self._accept(run.without(list(failed)), origin)
        if failed:
            self._reject([(run.places[row], it) for row, it in failed.items()], origin)
        return True

    def _attempt_run(self, run: Run) -> RejectReason | None:
        """Apply all of a run, or nothing of it."""
        self._staging.prepare(run.kind)
        reason: RejectReason | None
        if run.kind == "delete":
            reason = self._staging.attempt(lambda: self._staging.delete(run))
            is_absent = reason is not None and reason.is_value and len(run) == 1  # a key that no row here can have
            return None if is_absent else reason
        last = run if self._inserts_only else run.last_of_each_key()[0]
        may_replace = self._may_replace and len(run.columns) == len(self.target.columns)
        if may_replace and self.target.must_replace:
            reason = self._staging.attempt(lambda: self._staging.replace(last))
        else:
            reason = self._staging.attempt(lambda: self._staging.upsert(last.columns, [last.data]))
            if reason is not None and reason.is_duplicate and self.target.row_key is None:
                reason = self._without_others(last, reason) or self._exchange(last, reason, may_replace)
        # The row that the server names is one of `last`, which may have fewer rows than `run`.
        return reason if reason is None or last is run else replace(reason, row=None, rows={})

    def _exchange(self, run: Run, reason: RejectReason, may_replace: bool) -> RejectReason | None:
        """Apply a run whose rows may swap unique values: delete them first, or move the values out of the way first."""
        if may_replace:
            self._staging.prepare("upsert")
            if self._staging.attempt(lambda: self._staging.replace(run)) is None:
                return None
        vacated: list[Vacating] = []
        left: RejectReason | None = reason
        while left is not None:
            index = left.constraint if left.is_duplicate else None
            if index is not None and all(index != one.index for one in vacated):
                vacated.append(self._staging.vacating(run, index))
            elif vacated and vacated[-1].candidates:
                vacated[-1].candidates.pop(0)
            if not vacated or not vacated[-1].candidates:
                return reason
            self._staging.prepare("upsert")
            left = self._staging.attempt(lambda: self._staging.vacate_and_upsert(run, vacated))
        return None

    def _accept(self, run: Run, origin: Origin) -> None:
        if run.kind == "upsert":
            self.upserts += len(run)
        else:
            self.deletes += len(run)
        if self.has_rejected:
            self._ledger.forget(
                self.target.stream, [key_text_in(origin.lines[place], self.target.record_key) for place in run.places]
            )

    def _reject(self, reasons: Sequence[tuple[int, RejectReason]], origin: Origin) -> None:
        self.has_rejected = True
        records = []
        for place, reason in reasons:
            line = origin.lines[place]
            rejection = Rejection(
                *origin.where(place), key_text_in(line, self.target.record_key), reason.reason, reason.column
            )
            depends = self.facts.of(reason)
            records.append(RejectedRecord(self.target.stream, rejection, line, reason.blocked, depends))
        self._ledger.add_rejected(records)
