"""One Event File on its way into a table, inside a transaction that somebody else begins and ends.

The quick way is a statement of some 200 rows. When SQLite refuses one, its rows go the careful way: first one by one;
then, if one is refused, all their keys are deleted before all are put in, so that two rows may swap a unique value; and
then in halves, until the record to blame stands alone and is set aside. What another row stood in the way of is tried once
more at the end of the file. Triggers of the table fire as for any statement, for such deletes too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apsw
import orjson

from pipeline.codec.event_files.upsert_lines import UpsertLines, upsert_lines_for
from pipeline.codec.values import dumps
from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sql.rejected_record import RejectedRecord, key_text_of
from pipeline.connectors.sql.splitting import apply_split
from pipeline.connectors.sqlite.loading.import_ledger import ImportLedger
from pipeline.connectors.sqlite.loading.records import (
    DELETE,
    UNKNOWN,
    UPSERT,
    Bound,
    InvalidRecordError,
    Run,
    Upsert,
    bind,
    parse_block,
    runs,
)
from pipeline.connectors.sqlite.loading.rejections import REFUSALS, UNBINDABLE, column_in, is_blocked
from pipeline.connectors.sqlite.loading.target import Target
from pipeline.domain.errors import RefusedError
from pipeline.domain.ids import EventFileId, StreamName
from pipeline.ports.destination import Rejection


class FileLoad:
    """Applies records to one table, and counts what went in. Nothing here waits: it runs in a worker thread."""

    def __init__(
        self, connection: apsw.Connection, bookkeeping: ImportLedger, target: Target, stream: StreamName, what: str
    ) -> None:
        """Load into `target` through `connection`; `what` names the place in messages."""
        self._connection = connection
        self._bookkeeping = bookkeeping
        self._target = target
        self._stream = stream
        self._what = what
        self.has_rejected = bookkeeping.has_rejected(stream)
        self._is_empty = not connection.execute(f"SELECT 1 FROM main.{quoted(target.table.name)} LIMIT 1").fetchall()
        self._upsert_lines: UpsertLines | None = None
        self.upserts = 0
        self.deletes = 0

    def apply(self, block: bytes, file: EventFileId, header_columns: Sequence[str], first_line: int) -> int:
        """Apply the records of a block whose first line has the number `first_line`; return how many lines it has.

        They are decoded here, and not beforehand in another thread: there the values would be in another processor's cache.
        """
        values, width = self._quick_values(block, header_columns), len(header_columns)
        if values is not None:

            def bodies(start: int, end: int) -> list[object]:
                rows = range(start * width, end * width, width)
                return [dict(zip(header_columns, values[at : at + width], strict=True)) for at in rows]

            count = len(values) // width
            self._upsert_in_steps(values, bodies, count, file, first_line)
            return count
        records = parse_block(block, first_line, f"Event File {file}")
        for run in runs(records, first_line):
            match run.kind:
                case "upsert":
                    self._upsert_run(run, file, len(header_columns))
                case "delete":
                    self._delete_run(run, file)
                case _:
                    for line, record in enumerate(run.bodies, run.first_line):
                        reason = InvalidRecordError("neither an upsert nor a delete")
                        self._reject(file, line, record, UNKNOWN, reason)
        return len(records)

    def _quick_values(self, block: bytes, header_columns: Sequence[str]) -> Sequence[object] | None:
        """Return the values of a block of nothing but whole rows of plain values, where those can go in as they are."""
        target = self._target
        if target.encoding != "UTF-8" or tuple(header_columns) != tuple(target.columns):
            return None
        if self._upsert_lines is None:
            self._upsert_lines = upsert_lines_for(header_columns)
        values = None if self._upsert_lines is None else self._upsert_lines.decode(block)
        return None if values is None or self._has_null_key(values) else values

    def _has_null_key(self, values: Sequence[object]) -> bool:
        columns = self._target.columns
        return any(None in values[columns.index(name) :: len(columns)] for name in self._target.key)

    def retry(self, items: Sequence[RejectedRecord]) -> None:
        """Try again what was set aside; what is refused again is set aside again."""
        self._bookkeeping.drop(items)
        upserts = []
        for item in items:
            (run,) = runs([orjson.loads(item.record)], item.rejection.line)
            if run.kind == UPSERT:
                upserts.append(Upsert(item.rejection.file, item.rejection.line, run.bodies[0]))
            elif run.kind == DELETE:
                self._delete_run(run, item.rejection.file)
            else:
                self._bookkeeping.add_rejected(item)
        self._settle(upserts)

    def _upsert_run(self, run: Run, file: EventFileId, width: int) -> None:
        values = self._whole_values(run.bodies, width)

        def bodies(start: int, end: int) -> Sequence[object]:
            return run.bodies[start:end]

        self._upsert_in_steps(values, bodies, len(run.bodies), file, run.first_line)

    def _upsert_in_steps(
        self,
        values: Sequence[object] | None,
        bodies: Callable[[int, int], Sequence[object]],
        count: int,
        file: EventFileId,
        first_line: int,
    ) -> None:
        """Put `count` records in, a statement at a time: their `values` as they are, or what `bodies` gives carefully."""
        step, width = self._target.rows_per_statement, len(self._target.columns)
        for start in range(0, count, step):
            end = min(start + step, count)
            if values is not None and self._upsert_rows(end - start, values[start * width : end * width]):
                self.upserts += end - start
                if self.has_rejected:
                    self._forget(bodies(start, end))
            else:
                lines = enumerate(bodies(start, end), first_line + start)
                self._upsert_carefully([Upsert(file, line, body) for line, body in lines])

    def _whole_values(self, bodies: Sequence[object], width: int) -> list[object] | None:
        """Return the values of all bodies if each has exactly the header's columns, and a key without NULL."""
        target = self._target
        if target.encoding != "UTF-8":
            return None
        try:
            if set(map(len, bodies)) != {width}:  # type: ignore[arg-type]  # a wrong type is what is caught
                return None
            values = [body[name] for body in bodies for name in target.columns]  # type: ignore[index]  # likewise
        except (TypeError, KeyError):
            return None
        return None if self._has_null_key(values) else values

    def _upsert_rows(self, count: int, values: Sequence[object]) -> bool:
        """Put whole rows in with one statement; False, with nothing changed, if one of them is refused."""
        if self._is_empty and self._executed(self._target.insert(count), values):
            return True
        self._is_empty = False
        return self._executed(self._target.upsert(count), values)

    def _executed(self, statement: str, values: Sequence[object]) -> bool:
        try:
            self._connection.execute(statement, values)
        except (*REFUSALS, *UNBINDABLE):
            self._ensure_transaction()
            return False
        return True

    def _upsert_carefully(self, upserts: Sequence[Upsert]) -> None:
        refusal = self._attempt(lambda: self._upsert_each(upserts))
        if refusal is None:
            self._went_in(upserts)
        else:
            self._settle(upserts)

    def _settle(self, upserts: Sequence[Upsert]) -> None:
        """Put in all upserts but those to blame, which are set aside."""
        for part, refusal in apply_split(upserts, self._attempt_replace, _halves):
            if refusal is None:
                self._went_in(part)
            else:
                self._reject(part[0].file, part[0].line, part[0].body, UPSERT, refusal)

    def _attempt_replace(self, upserts: Sequence[Upsert]) -> Exception | None:
        return self._attempt(lambda: self._replace_each(upserts))

    def _upsert_each(self, upserts: Sequence[Upsert]) -> None:
        for upsert in upserts:
            self._upsert_one(bind(upsert.body, self._target.columns, self._target))

    def _replace_each(self, upserts: Sequence[Upsert]) -> None:
        """Delete all keys, then put all rows in: but only when the rows are whole, so that nothing is lost by it."""
        bounds = [bind(upsert.body, self._target.columns, self._target) for upsert in upserts]
        whole = all(len(bound.columns) == len(self._target.columns) for bound in bounds)
        if whole and self._target.covers_table:
            for upsert in upserts:
                self._delete_one(upsert.body)
        for bound in bounds:
            self._upsert_one(bound)

    def _upsert_one(self, bound: Bound) -> None:
        self._connection.execute(self._target.upsert_one(bound.columns, bound.raw), bound.values)

    def _delete_one(self, body: object) -> None:
        bound = bind(body, self._target.key, self._target)
        self._connection.execute(self._target.delete(bound.raw), bound.values)

    def _delete_run(self, run: Run, file: EventFileId) -> None:
        if self._delete_rows(run.bodies):
            self._deleted(run.bodies)
            return
        for line, body in enumerate(run.bodies, run.first_line):
            refusal = self._attempt_delete(body)
            if refusal is None:
                self._deleted([body])
            else:
                self._reject(file, line, body, DELETE, refusal)

    def _delete_rows(self, bodies: Sequence[object]) -> bool:
        """Delete by whole keys at once; False, with nothing changed, when one is unfit for that or refused."""
        if self._target.encoding != "UTF-8":
            return False
        try:
            keys: list[Any] = [[body[name] for name in self._target.key] for body in bodies]  # type: ignore[index]
        except (TypeError, KeyError):
            return False
        if any(None in key for key in keys):
            return False
        statement = self._target.delete()
        return self._attempt(lambda: self._connection.executemany(statement, keys).close(), UNBINDABLE) is None

    def _deleted(self, bodies: Sequence[object]) -> None:
        self.deletes += len(bodies)
        self._forget(bodies)

    def _attempt_delete(self, body: object) -> Exception | None:
        try:
            self._delete_one(body)
        except REFUSALS as refusal:
            self._ensure_transaction()
            return refusal
        return None

    def _attempt(self, work: Callable[[], None], also: tuple[type[Exception], ...] = ()) -> Exception | None:
        """Do `work` as a whole, or undo it and return why: a refusal, or one of the exceptions `also`."""
        self._connection.execute("SAVEPOINT pipeline_attempt")
        try:
            work()
        except (*REFUSALS, *also) as refusal:
            self._ensure_transaction()
            self._connection.execute("ROLLBACK TO pipeline_attempt")
            self._connection.execute("RELEASE pipeline_attempt")
            return refusal
        self._connection.execute("RELEASE pipeline_attempt")
        return None

    def _ensure_transaction(self) -> None:
        if not self._connection.in_transaction:
            raise RefusedError(f"{self._what}: a trigger or constraint there rolls the whole load back; take it off")

    def _went_in(self, upserts: Sequence[Upsert]) -> None:
        self.upserts += len(upserts)
        self._forget([upsert.body for upsert in upserts])

    def _forget(self, bodies: Sequence[object]) -> None:
        if self.has_rejected:
            self._bookkeeping.forget(self._stream, [key_text_of(body, self._target.key) for body in bodies])

    def _reject(self, file: EventFileId, line: int, body: object, kind: str, refusal: Exception) -> None:
        self.has_rejected = True
        reason, column = str(refusal), column_in(str(refusal), self._target.table.name)
        rejection = Rejection(file, line, key_text_of(body, self._target.key), reason, column)
        record = body if kind == UNKNOWN else {kind: body}
        blocked = is_blocked(refusal)
        self._bookkeeping.add_rejected(RejectedRecord(self._stream, rejection, dumps(record), blocked))


def _halves(upserts: Sequence[Upsert], _refusal: Exception) -> Sequence[Sequence[Upsert]]:
    middle = len(upserts) // 2
    return upserts[:middle], upserts[middle:]
