"""Compares the rows of one stream that a destination has before a Flow's first load with those of the source."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

import orjson
from anyio.to_thread import run_sync

from pipeline.codec.event_files.record_keys import KeyReader
from pipeline.codec.values import key_text
from pipeline.domain.comparison.report import Difference, Finding, Side, StreamReport
from pipeline.domain.comparison.values import Pairing, differing_columns, pair_columns, why_not_comparable
from pipeline.domain.errors import UnreadableError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.engine.storage.event_files import open_event_file
from pipeline.engine.verify.contents import with_ids
from pipeline.engine.verify.scope import counterpart
from pipeline.engine.verify.stream_comparison import PAIRS_AT_ONCE, DifferenceSink, StreamComparison, digest_only
from pipeline.engine.verify.verifier import aligned
from pipeline.log_events import log
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.ranged_source import open_rows_along
from pipeline.ports.source import Snapshot, UnreadRows, UpsertSink, has_rows

KEYS_NAMED = 3
CACHE_KIBIBYTES = 32 * 1024
"""How much of the joined rows is kept in memory."""
_CONTENT = frozenset({"kind", "digest", "target"})
"""The columns of an entry of a tree that are its content. Permissions and times may differ."""


@dataclass(slots=True)
class ExistingStream:
    """The rows of one stream at the destination, and those that the source has with the same key and other values."""

    stream: StreamName
    report: StreamReport
    overwritten: int = 0
    keys: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows the destination has."""
        return self.report.destination.rows

    def note_other(self, key: str) -> None:
        """Count a row with other values, and name it if it is among the first."""
        self.overwritten += 1
        if len(self.keys) < KEYS_NAMED:
            self.keys.append(key)

    def log(self) -> None:
        """Name the rows in the log."""
        log.warning(
            "existing_rows_found",
            stream=self.stream,
            rows=self.rows,
            not_at_source=self.report.extra,
            reason=self.report.incomparable,
        )

    def __str__(self) -> str:
        more = ", …" if self.overwritten > len(self.keys) else ""
        return f"{self.stream}: {self.overwritten:,} of {self.rows:,} ({', '.join(self.keys)}{more})"


async def compare_existing(
    schema: StreamSchema, snapshot: Snapshot, copy: Snapshot, there: Sequence[StreamSchema]
) -> ExistingStream | None:
    """Compare one stream; None when the destination has no row of it. One that cannot be read is `incomparable`."""
    try:
        with unwrap_exception_group():
            return await _compare(schema, snapshot, copy, there)
    except UnreadableError as error:
        return ExistingStream(schema.stream, StreamReport(schema.stream, incomparable=str(error)))


async def _compare(
    schema: StreamSchema, snapshot: Snapshot, copy: Snapshot, there: Sequence[StreamSchema]
) -> ExistingStream | None:
    found = counterpart(schema.stream, there)
    if found is None or not await has_rows(copy, found):
        return None
    pairing = pair_columns(schema, found)
    existing = ExistingStream(schema.stream, StreamReport(schema.stream))
    if reason := why_not_comparable(schema, found, pairing):
        existing.report = StreamReport(schema.stream, incomparable=reason)
        return existing

    def note(difference: Difference) -> None:
        columns = _counted(schema, pairing, difference.columns)
        if difference.finding is Finding.DIFFERENT and (columns or not difference.columns):
            existing.note_other(key_text(difference.key))

    copied = partial(open_rows_along, copy, aligned(schema, found, pairing))
    comparison = StreamComparison(existing.report, pairing, DifferenceSink(0, note))
    existing.report = await comparison.run(snapshot.open_rows(schema), copied)
    return existing


def _counted(schema: StreamSchema, pairing: Pairing, columns: Iterable[str]) -> Collection[str]:
    """Return those of the differing columns that a load would overwrite with something else."""
    is_tree = not schema.native and _CONTENT.issubset(schema.column_names)
    return set(columns).difference(pairing.missing).intersection(_CONTENT if is_tree else columns)


async def compare_stored(
    store: ObjectStore, files: Sequence[FileEntry], copy: Snapshot, there: Sequence[StreamSchema]
) -> ExistingStream:
    """Compare what a stream is after these Event Files, in order, with what the destination has. A delete counts as well."""
    async with open_event_file(store, files[-1]) as opened:
        schema = opened.header.schema
    existing = ExistingStream(schema.stream, StreamReport(schema.stream))
    found = counterpart(schema.stream, there)
    if found is None:
        return existing
    pairing = pair_columns(schema, found)
    reason = why_not_comparable(schema, found, pairing)
    try:
        with unwrap_exception_group(), _JoinedRows() as joined:
            if not reason:
                rows = await joined.add_existing(copy, aligned(schema, found, pairing))
                for file in files:
                    await joined.add_stored(store, file)
                await run_sync(joined.compare, schema, pairing, existing)
                extra = rows - joined.count_stored()
                existing.report = replace(existing.report, destination=Side(rows, ""), extra=extra)
    except UnreadableError as error:
        reason = str(error)
    existing.report = replace(existing.report, incomparable=reason)
    return existing


class _JoinedRows:
    """The rows that a destination has, by key, each with the last stored record of that key. They may be larger than memory."""

    def __init__(self) -> None:
        from pipeline.temporary_database import TemporaryDatabase  # few destinations have any

        self._db = TemporaryDatabase(
            "CREATE TABLE rows (key BLOB PRIMARY KEY, line BLOB, stored BLOB) WITHOUT ROWID", CACHE_KIBIBYTES
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    async def add_existing(self, copy: Snapshot, schema: StreamSchema) -> int:
        """Add the rows of a stream of the destination; return their number."""
        reader, added = KeyReader(schema.primary_keys, schema.stream), 0
        async with copy.open_rows(schema) as blocks:
            async for block in blocks:
                if isinstance(block, UnreadRows):
                    raise UnreadableError(block.reason)
                lines = reader.read(await block.upserts(range(len(block)), UpsertSink(digest_only)))
                rows = zip(lines.keys, lines.lines, strict=True)
                await run_sync(self._db.run_all, "INSERT OR IGNORE INTO rows VALUES (?, ?, NULL)", rows)
                added += len(block)
        return added

    async def add_stored(self, store: ObjectStore, file: FileEntry) -> None:
        """Add the records of an Event File to the rows with their keys, in the place of earlier ones."""
        async with open_event_file(store, file) as opened:
            reader = KeyReader(opened.header.schema.primary_keys, f"Event File {file.id}")
            async for block in opened.blocks:
                lines = await run_sync(reader.read, block)
                records = zip(lines.lines, lines.keys, strict=True)
                await run_sync(self._db.run_all, "UPDATE rows SET stored = ? WHERE key = ?", records)

    def count_stored(self) -> int:
        """Return how many rows have a stored record."""
        ((count,),) = self._db.rows("SELECT count(stored) FROM rows")
        return int(count)

    def compare(self, schema: StreamSchema, pairing: Pairing, existing: ExistingStream) -> None:
        """Note the rows that the stored records would overwrite with other values, or delete."""
        page, select = b"", "SELECT * FROM rows WHERE key > ? AND stored IS NOT NULL ORDER BY key LIMIT ?"
        while found := self._db.rows(select, (page, PAIRS_AT_ONCE)):
            page = found[-1][0]
            copies = [orjson.loads(line)["upsert"] for _, line, _ in found]
            records = [orjson.loads(stored).get("upsert") for _, _, stored in found]
            for (key, *_), record, copied in zip(found, *with_ids(pairing, records, copies), strict=True):
                if not (record and copied) or _counted(schema, pairing, differing_columns(record, copied, pairing)):
                    existing.note_other(key.decode())
