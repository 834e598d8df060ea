"""One Event File on its way into a table, inside a transaction that somebody else begins and ends.

The quick way is a COPY of a batch straight into the table, for a first snapshot, or else into a temporary table and one
statement from there. When PostgreSQL refuses records, all of the attempt is undone, and it is
tried in parts: before the row that the server names, that row, and halves of what is behind it; or else in halves. The
record that stands alone at last is set aside. What another row stood in the way of is tried again at the end of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from threading import Lock
from typing import assert_never

import orjson

from pipeline.connectors.postgres.loading.batches import (
    BATCH_BYTES,
    Batch,
    Batches,
    BlockOrigin,
    Member,
    Origin,
    RejectedMember,
    RejectedOrigin,
    Step,
)
from pipeline.connectors.postgres.loading.copy_in import Staging
from pipeline.connectors.postgres.loading.csv_lines import Lines, Run
from pipeline.connectors.postgres.loading.csv_values import LineColumn
from pipeline.connectors.postgres.loading.import_ledger import ImportLedger
from pipeline.connectors.postgres.loading.rejections import RejectReason
from pipeline.connectors.postgres.loading.target import Target
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.rejected_record import RejectedRecord, key_text_of
from pipeline.domain.ids import EventFileId, StreamName
from pipeline.ports.destination import Rejection


class FileLoad:
    """Applies records to one table, and counts what went in. Nothing here waits: it runs in a worker thread."""

    def __init__(
        self,
        connection: Connection,
        bookkeeping: ImportLedger,
        target: Target,
        stream: StreamName,
        *,
        is_snapshot: bool = False,
        inserts_only: bool = False,
        may_replace: bool = False,
    ) -> None:
        """Load into `target`. `is_snapshot`: most keys are new, so rows are put in at once before anything else is tried.

        `inserts_only`: no row can be there already, and the table has no key that would tell. `may_replace`: a row may be
        deleted and put in again without anything else happening at the destination.
        """
        self._connection = connection
        self._bookkeeping = bookkeeping
        self._target = target
        self._stream = stream
        self._may_replace = may_replace and target.covers_table and target.row_key is None
        self._inserts_only = inserts_only and target.row_key is not None
        is_keyed = target.row_key is None
        self._directly = is_snapshot and target.can_copy_directly and (is_keyed or self._inserts_only)
        self._sending = Lock()
        self._staging = Staging(connection, target, inserts_only=self._inserts_only, sending=self._sending)
        self._lines = Lines(self._line_columns(), target.key_lines)
        self._has_rejected = bookkeeping.has_rejected(stream)
        self._batches = self._new_batches()
        self.upserts = 0
        self.deletes = 0

    def decode(self, block: bytes, first_line: int, file: EventFileId) -> tuple[int, Sequence[Step]]:
        """Return how many lines a block has, and what is ready to be applied. It may run beside `apply`.

        Where rows are staged it waits while they are sent: for every 200 KB that the server takes, who sends has to wait for the
        interpreter's lock, which is held here for a whole block. There is time enough while they are merged.
        """
        with nullcontext() if self._directly else self._sending:
            return self._batches.add(block, first_line, f"Event File {file}", BlockOrigin(file, first_line, block))

    def decode_rest(self) -> Sequence[Step]:
        """Return what is left to be applied after the last block."""
        return list(self._batches.rest())

    def apply(self, steps: Sequence[Step]) -> None:
        """Apply what comes next of the file."""
        for step in steps:
            match step:
                case Batch():
                    self._apply_batch(step)
                case Member():
                    self._apply_alone(step)
                case RejectedMember():
                    self._reject(step.lines, step.origin)
                case _:
                    assert_never(step)

    def retry(self, items: Sequence[RejectedRecord]) -> None:
        """Try again what was set aside; what is refused again is set aside again."""
        self._bookkeeping.drop(items)
        self._directly = False
        lines = b"".join(item.record + b"\n" for item in items)
        batches = self._new_batches()
        _, steps = batches.add(lines, 1, "A record set aside", RejectedOrigin(items))
        self.apply([*steps, *batches.rest()])

    def finish(self, file: EventFileId) -> None:
        """Try again, at the end of a file, what another row stood in the way of."""
        if not self._has_rejected:
            return
        newest = self._bookkeeping.newest()
        while items := self._bookkeeping.rejected_batch(self._stream, newest, file):
            self.retry(items)

    def _line_columns(self) -> Sequence[LineColumn]:
        """Return the stream's columns; those that tell rows without a key apart go in only where they are asked about."""
        row_key = self._target.row_key
        if row_key is None or not self._inserts_only:
            return self._target.lines
        hidden = (row_key.row, row_key.dup)
        return [replace(line, holds=None) if line.name in hidden else line for line in self._target.lines]

    def _new_batches(self) -> Batches:
        batch_bytes = 0 if self._directly else BATCH_BYTES  # a COPY alone gains nothing from more at once
        as_they_come = self._inserts_only or self._directly  # two of a key are refused then, and tried one by one
        return Batches(self._lines, self._target, batch_bytes=batch_bytes, as_they_come=as_they_come)

    def _apply_batch(self, batch: Batch) -> None:
        """Put in all of a batch with one statement, or its members one by one if that is refused."""
        went_in = self._directly and self._copied(batch.columns, batch.data)
        went_in = went_in or (not self._directly and self._upserted(batch))
        for member in batch.members:
            if went_in:
                self._went_in(member.run, member.origin)
            else:
                self._settle(member.run, member.origin)

    def _apply_alone(self, member: Member) -> None:
        run = member.run
        if run.kind == "upsert" and self._directly and self._copied(run.columns, [run.data]):
            self._went_in(run, member.origin)
        else:
            self._settle(run, member.origin)

    def _copied(self, columns: Sequence[str], data: Sequence[bytes]) -> bool:
        """Put rows into the table itself, or nothing; no more from where keys turn out to be there already."""
        refusal = self._staging.attempt(lambda: self._staging.copy_directly(columns, data))
        self._directly = refusal is None or not refusal.is_duplicate
        return refusal is None

    def _upserted(self, batch: Batch) -> bool:
        self._staging.prepare("upsert")
        return self._staging.attempt(lambda: self._staging.upsert(batch.columns, batch.data)) is None

    def _settle(self, run: Run, origin: Origin) -> None:
        """Apply all records of a run but those to blame, which are set aside."""
        if not len(run):
            return
        refusal = self._attempt_run(run)
        if refusal is None:
            self._went_in(run, origin)
        elif len(run) == 1:
            self._reject([(run.places[0], refusal)], origin)
        elif orphans := self._rows_without_parent(run, refusal):
            self._reject([(run.places[row], refusal) for row in orphans], origin)
            self._settle(run.without(orphans), origin)
        else:
            for part in _parts(run, refusal):
                self._settle(part, origin)

    def _rows_without_parent(self, run: Run, refusal: RejectReason) -> Sequence[int]:
        """Return the rows of a run that break the foreign key of the refusal: where one does, thousands may."""
        table = self._target.table
        key = refusal.foreign_key
        if run.kind != "upsert" or key is None or key[:2] != (table.schema, table.name):
            return ()
        if run.last_of_each_key()[0] is not run:  # one record of a key may be fit, and a later one not
            return ()
        found: list[int] = []
        self._staging.prepare("upsert")
        self._staging.attempt(lambda: found.extend(self._staging.rows_without_parent(run, key[2])))
        return found

    def _attempt_run(self, run: Run) -> RejectReason | None:
        """Apply a run as a whole, or nothing of it."""
        self._staging.prepare(run.kind)
        if run.kind == "delete":
            return self._staging.attempt(lambda: self._staging.delete(run))
        last = run if self._inserts_only else run.last_of_each_key()[0]
        is_whole = self._may_replace and len(run.columns) == len(self._target.columns)
        if not (is_whole and self._target.must_replace):
            refusal = self._staging.attempt(lambda: self._staging.upsert(last.columns, [last.data]))
            if refusal is None or not (is_whole and refusal.is_duplicate):
                return _as_row_of(run, last, refusal)
            self._staging.prepare("upsert")
        return _as_row_of(run, last, self._staging.attempt(lambda: self._staging.replace(last)))

    def _went_in(self, run: Run, origin: Origin) -> None:
        if run.kind == "upsert":
            self.upserts += len(run)
        else:
            self.deletes += len(run)
        if self._has_rejected:
            keys = [_key_text(origin.record(place), self._target.key) for place in run.places]
            self._bookkeeping.forget(self._stream, keys)

    def _reject(self, refused: Sequence[tuple[int, RejectReason]], origin: Origin) -> None:
        self._has_rejected = True
        items = []
        for place, refusal in refused:
            (file, line), record = origin.where(place), origin.record(place)
            rejection = Rejection(file, line, _key_text(record, self._target.key), refusal.reason, refusal.column)
            items.append(RejectedRecord(self._stream, rejection, record, refusal.blocked))
        self._bookkeeping.add_rejected(items)


def _as_row_of(run: Run, tried: Run, refusal: RejectReason | None) -> RejectReason | None:
    """Return a refusal of some rows of a run as one of the run: the row it names has another number there."""
    if refusal is None or refusal.row is None or tried is run:
        return refusal
    return replace(refusal, row=None)


def _parts(run: Run, refusal: RejectReason) -> list[Run]:
    """Return the parts to try one by one, in order: without the row to blame, where it is known, and not all of the rest."""
    at, count = refusal.row, len(run)
    if at is None or not 0 <= at < count:
        return [run.part(0, count // 2), run.part(count // 2, count)]
    middle = (at + 1 + count + 1) // 2
    return [run.part(0, at), run.part(at, at + 1), run.part(at + 1, middle), run.part(middle, count)]


def _key_text(record: bytes, key: tuple[str, ...]) -> str:
    """Return the key of a record as JSON text, as `pipeline.codec.values.key_text` writes it."""
    parsed = orjson.loads(record)
    body = next(iter(parsed.values()), None) if isinstance(parsed, dict) and len(parsed) == 1 else parsed
    return key_text_of(body, key)
