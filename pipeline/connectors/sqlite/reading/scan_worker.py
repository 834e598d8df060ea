"""A subprocess that scans parts of tables beside this process, in exactly the state that this process reads.

Two connections see the same state if nobody committed between the starts of their transactions. A third connection, the
*watch*, detects that: its `data_version` changes with every commit of others. It is read before the first transaction
starts and after the second has started. After a commit in between, which only WAL mode allows, the worker is not used.

An unchanged block is reported by its digest only. For another block the keys and hashes are sent, and the changed rows if
they are few: many are read faster than they are sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import apsw

from pipeline.connectors.sqlite.connection import ensure_untouched, location_of, open_reader
from pipeline.connectors.sqlite.reading.blocks import Row, SqliteRowBlock
from pipeline.connectors.sqlite.reading.rows import Opened, TableReading
from pipeline.connectors.sqlite.schema.tables import encoding_of, read_table
from pipeline.domain.comparison.diff import split_hashes
from pipeline.domain.errors import PipelineError, TransientError
from pipeline.domain.event_file import KeyRange
from pipeline.domain.keys import Key, order
from pipeline.domain.schema import StreamSchema
from pipeline.log_events import log
from pipeline.ports.ranged_source import KnownRange, UnchangedRows
from pipeline.processes.channel import Reply, Subprocess
from pipeline.sqlite_access import translated

SENT_PART = 8
"""No row of a block is sent if more than one in this many has changed."""

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class DifferingRows:
    """A block that differs from the known ranges: keys and hashes of all rows, and the few rows that are not known.

    The keys are as `RowForm.key_part` returns them. `rows` are by position; none are there if too many are not known.
    """

    digest: bytes
    last_key: Key
    key_parts: Sequence[Any]
    hashes: bytes
    rows: Mapping[int, Row]


ScannedBlock = UnchangedRows | DifferingRows


class TableScanner:
    """The service in the subprocess: a database in a read transaction."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def scan(
        self, schema: StreamSchema, within: KeyRange, known: Sequence[KnownRange]
    ) -> AsyncGenerator[ScannedBlock, None]:
        """Give the blocks of a table `within` a range of keys, compared with the known ranges."""
        with translated(self._opened.place):
            table = read_table(self._opened.connection, schema.stream)
        ahead = deque(known)
        with closing(TableReading(self._opened, table, schema, within)) as reading:
            while (block := reading.read(ahead[0] if ahead else None)) is not None:
                last_key = block.last_key()
                if ahead and ahead[0].digest == block.digest():
                    yield UnchangedRows(len(block), block.digest(), last_key)
                else:
                    yield _compared(block, last_key, ahead)
                while ahead and order(ahead[0].until) <= order(last_key):
                    ahead.popleft()


def _compared(block: SqliteRowBlock, last_key: Key, known: Iterable[KnownRange]) -> DifferingRows:
    """Compare a block with the known ranges that it lies in. A row is known if one of them has its hash."""
    before: set[bytes] = set()
    for one in known:
        before.update(split_hashes(one.hashes))
        if order(one.until) >= order(last_key):
            break
    hashes = block.row_hashes()
    new = [at for at, row_hash in enumerate(split_hashes(hashes)) if row_hash not in before]
    few = SENT_PART * len(new) <= len(block)
    rows = dict(zip(new, block.rows_at(new), strict=True)) if few else {}
    return DifferingRows(block.digest(), last_key, block.key_parts(), hashes, rows)


@asynccontextmanager
async def open_scanner(
    path: Path, busy_timeout_seconds: float, inode: Inode, _closed: anyio.Event
) -> AsyncIterator[TableScanner]:
    """Open the service. TransientError when the file at `path` is not the one with `inode` any more."""
    place = location_of(path)
    reader, identity = open_reader(path, busy_timeout_seconds)
    with closing(reader), translated(place):
        reader.execute("BEGIN; SELECT count(*) FROM sqlite_schema").fetchall()
        if _inode_of(path) != inode:
            raise TransientError(f"{place} was replaced by another file; run the command again")
        yield TableScanner(Opened(reader, place, encoding_of(reader), partial(ensure_untouched, path, identity)))


class ScanWorker:
    """The subprocess, seen from the parent. Create it before the transaction whose state it must share."""

    def __init__(self, path: Path, busy_timeout_seconds: float) -> None:
        """Look at the database at `path`. Errors are those of `open_reader`, and SQLite's own."""
        self._location = location_of(path)
        self._watch, _ = open_reader(path, busy_timeout_seconds)
        try:
            self._version = self._data_version()
        except apsw.Error:
            self._watch.close(True)
            raise
        self._open = partial(open_scanner, path.absolute(), busy_timeout_seconds, _inode_of(path))
        self._subprocess: Subprocess[TableScanner] | None = None
        self._shares_state = False
        self._is_lent = False
        self.is_usable = True
        """Whether it has not failed, or not yet."""

    @contextmanager
    def lent(self) -> Iterator[ScanWorker | None]:
        """Lend it to the reader of one table; None while another reader has it."""
        if self._is_lent or not self.is_usable:
            yield None
            return
        self._is_lent = True
        try:
            yield self
        finally:
            self._is_lent = False

    def start(self) -> None:
        """Start the subprocess, unless that was tried before. It is ready later."""
        if self._subprocess is None and self.is_usable:
            try:
                self._subprocess = Subprocess(self._open, f"scans {self._location}")
            except TransientError:
                self.is_usable = False

    def is_ready(self) -> bool:
        """Whether it can scan: False until its state is known to be the same, and after it has failed."""
        if self.is_usable and not self._shares_state and self._subprocess is not None and self._subprocess.has_message:
            try:
                self._subprocess.opened.value_blocking()
                self._shares_state = self.is_usable = self._data_version() == self._version
            except (PipelineError, apsw.Error):
                self.is_usable = False
        return self.is_usable and self._shares_state

    def scan(self, schema: StreamSchema, within: KeyRange, known: Sequence[KnownRange]) -> Reply[ScannedBlock]:
        """Request a scan; it must be ready."""
        assert self._subprocess is not None
        return self._subprocess.stream(TableScanner.scan, schema, within, known)

    async def read(self, reply: Reply[ScannedBlock]) -> AsyncGenerator[ScannedBlock, None]:
        """Give the blocks of a scan. If the worker fails, end early and be usable no more."""
        try:
            async with aclosing(reply.values()) as blocks:
                async for block in blocks:
                    yield block
        except PipelineError as error:
            if self.is_usable:
                log.warning("scan_worker_failed", source=self._location, reason=str(error))
            self.is_usable = False

    def close(self) -> None:
        """Close the watch, and have the subprocess end."""
        self.is_usable = False
        self._watch.close(True)
        if self._subprocess is not None:
            self._subprocess.close()

    async def aclose(self) -> None:
        """Close it, and wait until the subprocess has ended."""
        self.close()
        if self._subprocess is not None:
            await self._subprocess.aclose()

    def _data_version(self) -> Any:
        return self._watch.execute("PRAGMA data_version").get


def _inode_of(path: Path) -> Inode:
    status = path.stat()
    return status.st_dev, status.st_ino
