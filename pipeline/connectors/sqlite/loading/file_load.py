"""Loading the records of an Event File into a table, inside a transaction of the caller.

The fast path is a statement of some 200 rows. If SQLite rejects it, the rows are upserted one by one. Of those that other
rows block, all keys are deleted first, so that they may swap a unique value. If that fails, they are split until each
rejected record is alone. A record that another row blocked is retried at the end of the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import apsw
import orjson

from pipeline.codec.event_files.header import encode_schema
from pipeline.codec.event_files.upsert_lines import UpsertLines, upsert_lines_for
from pipeline.codec.values import dumps
from pipeline.connectors.sql.rejected_record import RejectedRecord, digest_of, key_text_of
from pipeline.connectors.sql.retry import retry_blocked
from pipeline.connectors.sql.splitting import apply_split
from pipeline.connectors.sqlite.loading.binding import InvalidRecordError, column_in, is_blocked, is_lasting
from pipeline.connectors.sqlite.loading.import_ledger import ImportLedger
from pipeline.connectors.sqlite.loading.records import DELETE, UNKNOWN, UPSERT, Run, parse_block, runs
from pipeline.connectors.sqlite.loading.table_writer import TableWriter
from pipeline.connectors.sqlite.loading.target import Target
from pipeline.connectors.sqlite.schema.tables import create_sql
from pipeline.domain.ids import EventFileId
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Rejection

_CHANGES = re.compile(r"random|changes|last_insert|current_", re.IGNORECASE)
"""Words in the statement of a table that may stand for a function whose value changes."""


@dataclass(frozen=True)
class _PlainRun:
    """A block of upserts of plain values, whose bodies are parsed only when the fast path fails."""

    block: bytes
    first_line: int
    what: str
    columns: Sequence[str]

    @cached_property
    def bodies(self) -> Sequence[object]:
        (run,) = runs(parse_block(self.block, self.first_line, self.what), self.first_line, self.columns)
        return run.bodies


@dataclass(frozen=True, slots=True)
class _Upsert:
    """One upsert on the slow path: its place, and its body as parsed."""

    file: EventFileId
    line: int
    body: object


class FileLoad:
    """Applies records to one table, and counts those accepted. Methods block: they run in a worker thread."""

    def __init__(
        self, connection: apsw.Connection, ledger: ImportLedger, target: Target, schema: StreamSchema, place: str
    ) -> None:
        """Load the stream with this schema into `target` through `connection`; `place` names it in messages."""
        self._ledger = ledger
        self._target = target
        self._connection = connection
        self._schema = schema
        self._stream = stream = schema.stream
        self._writer = TableWriter(connection, target, place)
        self._has_rejected = ledger.has_rejected(stream)
        self._upsert_lines: UpsertLines | None = None
        self.upserts = 0
        self.deletes = 0

    @cached_property
    def definition(self) -> str | None:
        """A text that stands for the definition of table and stream; None if it says too little about what is accepted."""
        statement = create_sql(self._connection, self._target.table.name) or "random"
        if _CHANGES.search(statement):
            return None
        schema = encode_schema(self._schema).decode()
        return digest_of(apsw.sqlite_lib_version(), statement, schema, self._target.encoding)

    def apply(self, block: bytes, file: EventFileId, header_columns: Sequence[str], first_line: int) -> int:
        """Apply the records of a block whose first line has the number `first_line`; return the number of its lines.

        They are decoded here, not in advance by another thread, whose values would be in another processor's cache.
        """
        what = f"Event File {file}"
        values = self._plain_values(block, header_columns)
        if values is not None:
            count = len(values) // len(header_columns)
            self._upsert(_PlainRun(block, first_line, what, header_columns), count, values, file)
            return count
        records = parse_block(block, first_line, what)
        for run in runs(records, first_line, header_columns):
            if run.kind == UPSERT:
                values = self._writer.whole_values(run.bodies, len(header_columns))
                self._upsert(run, len(run.bodies), values, file)
            elif run.kind == DELETE:
                self._delete_run(run, file)
            else:
                for line, record in enumerate(run.bodies, run.first_line):
                    self._reject(file, line, record, UNKNOWN, _invalid(record, len(header_columns)))
        return len(records)

    def retry(self, records: Sequence[RejectedRecord]) -> None:
        """Apply rejected records; those rejected again are stored again."""
        self._ledger.drop(records)
        upserts = []
        for record in records:
            file, line = record.rejection.file, record.rejection.line
            (run,) = runs([orjson.loads(record.record)], line)
            if run.kind == UPSERT:
                upserts.append(_Upsert(file, line, run.bodies[0]))
            elif run.kind == DELETE:
                self._delete_run(run, file)
            else:
                self._ledger.add_rejected(record)
        self._upsert_each(upserts)

    def finish(self, file: EventFileId) -> None:
        """Retry the blocked records of a file after its last block."""
        if self._has_rejected:
            retry_blocked(self._ledger, self, file)

    def _plain_values(self, block: bytes, header_columns: Sequence[str]) -> Sequence[object] | None:
        """Return the values of a block of whole rows of plain values; None for other blocks."""
        if not self._writer.has_fast_path or tuple(header_columns) != self._target.columns:
            return None
        if self._upsert_lines is None:
            self._upsert_lines = upsert_lines_for(header_columns)
        values = None if self._upsert_lines is None else self._upsert_lines.decode(block)
        return None if values is None or self._writer.has_null_key(values) else values

    def _upsert(self, run: Run | _PlainRun, count: int, values: Sequence[object] | None, file: EventFileId) -> None:
        """Upsert `count` records, a statement at a time: by their `values`, or else by their bodies."""
        step, width = self._target.rows_per_statement, len(self._target.columns)
        for start in range(0, count, step):
            end = min(start + step, count)
            whole = values is not None and self._writer.upsert_rows(end - start, values[start * width : end * width])
            if whole:
                self.upserts += end - start
                if self._has_rejected:
                    self._drop_rejected(run.bodies[start:end])
            else:
                lines = enumerate(run.bodies[start:end], run.first_line + start)
                self._upsert_each([_Upsert(file, line, body) for line, body in lines])

    def _upsert_each(self, upserts: Sequence[_Upsert]) -> None:
        """Apply upserts one by one, and then those together that other rows blocked, unless a later one has their key.

        They can make room for each other only where some of them have rows already.
        """
        accepted: dict[str, int] = {}
        failed: list[tuple[int, _Upsert, Exception]] = []
        for place, upsert in enumerate(upserts):
            reason = self._writer.upsert(upsert.body)
            if reason is None:
                accepted[key_text_of(upsert.body, self._target.key)] = place
            else:
                failed.append((place, upsert, reason))
        self.upserts += len(upserts) - len(failed)
        if self._has_rejected:
            self._ledger.drop_keys(self._stream, accepted)
        keys = [key_text_of(upsert.body, self._target.key) for _, upsert, _ in failed]
        left = [it for key, it in zip(keys, failed, strict=True) if accepted.get(key, -1) < it[0]]
        blocked = [upsert for _, upsert, reason in left if is_blocked(reason)]
        may_exchange = any(self._writer.has_row(upsert.body) for upsert in blocked)
        for _, upsert, reason in left:
            if not (may_exchange and is_blocked(reason)):
                self._reject(upsert.file, upsert.line, upsert.body, UPSERT, reason)
        self._replace(blocked if may_exchange else [])

    def _replace(self, upserts: Sequence[_Upsert]) -> None:
        """Apply all upserts except those that are rejected even alone."""
        for part, reason in apply_split(upserts, self._attempt_replace, _halves):
            if reason is None:
                self.upserts += len(part)
                self._drop_rejected([upsert.body for upsert in part])
            else:
                self._reject(part[0].file, part[0].line, part[0].body, UPSERT, reason)

    def _attempt_replace(self, upserts: Sequence[_Upsert]) -> Exception | None:
        return self._writer.replace([upsert.body for upsert in upserts])

    def _delete_run(self, run: Run, file: EventFileId) -> None:
        if self._writer.delete_rows(run.bodies):
            self.deletes += len(run.bodies)
            self._drop_rejected(run.bodies)
            return
        for line, body in enumerate(run.bodies, run.first_line):
            reason = self._writer.delete(body)
            if reason is None:
                self.deletes += 1
                self._drop_rejected([body])
            else:
                self._reject(file, line, body, DELETE, reason)

    def _drop_rejected(self, bodies: Sequence[object]) -> None:
        """Drop older rejected records with the keys of these, which are accepted."""
        if self._has_rejected:
            self._ledger.drop_keys(self._stream, [key_text_of(body, self._target.key) for body in bodies])

    def _reject(self, file: EventFileId, line: int, body: object, kind: str, error: Exception) -> None:
        self._has_rejected = True
        reason, column = str(error), column_in(str(error), self._target.table.name)
        rejection = Rejection(file, line, key_text_of(body, self._target.key), reason, column)
        record = dumps(body if kind == UNKNOWN else {kind: body})
        depends = self.definition if is_lasting(error) else None
        self._ledger.add_rejected(RejectedRecord(self._stream, rejection, record, is_blocked(error), depends))


def _invalid(record: object, width: int) -> InvalidRecordError:
    match record:
        case {"upsert": list(values), **rest} if not rest:
            return InvalidRecordError(f"an array of {len(values)} values for {width} columns")
        case _:
            return InvalidRecordError("neither an upsert nor a delete")


def _halves(upserts: Sequence[_Upsert], _reason: Exception) -> Sequence[Sequence[_Upsert]]:
    middle = len(upserts) // 2
    return upserts[:middle], upserts[middle:]
