"""The whole export, staged: each file read once, in order, and its rows merged into those of its table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import apsw
from anyio import to_thread

from pipeline.connectors.sam.header import SamHeader, parse_header
from pipeline.connectors.sam.options import SamOptions
from pipeline.connectors.sam.reading.export_files import ExportFile, ExportFiles, missing_chunk
from pipeline.connectors.sam.reading.lines import Line, read_lines
from pipeline.connectors.sam.reading.staged_stream import StagedStream
from pipeline.connectors.sam.storage.port import ExportStorage
from pipeline.domain.errors import AbsentError, UnreadableError
from pipeline.domain.ids import Phase, StreamName
from pipeline.sqlite_access import translated

_CACHE_KIBIBYTES = 32_768
_AGAIN = "read the export when it is complete, or leave the table out with --exclude"


class Staging:
    """The tables of an export in a temporary database, which is removed when it is closed."""

    def __init__(self, storage: ExportStorage, options: SamOptions, location: str) -> None:
        self._storage, self._options, self._location = storage, options, location
        self._place = f"{location}, staged in the temporary directory (TMPDIR)"
        self._db = apsw.Connection("")
        self._db.execute(f"PRAGMA journal_mode=OFF; PRAGMA cache_size=-{_CACHE_KIBIBYTES}; PRAGMA temp_store=FILE")
        self.streams: dict[str, StagedStream] = {}
        self.takes_table_from_name = options["table"] == "name"
        self._files: dict[str, list[ExportFile]] = {}

    def close(self) -> None:
        """Remove what is staged."""
        self._db.close(True)

    async def read(self, found: ExportFiles) -> None:
        """Read all files. A fault in one ends its table, and no other."""
        await to_thread.run_sync(self._execute, "BEGIN")
        for file in found.files:
            await self._read_file(file)
        for name, files in self._files.items():
            if self._options["gaps"] == "refuse" and (missing := missing_chunk(files)):
                self._fail(name, f"the file {missing} is missing, though there are later ones; {_AGAIN}")
        for stream in self.streams.values():
            await to_thread.run_sync(self._finish, stream)

    def _execute(self, sql: str) -> None:
        with translated(self._place):
            self._db.execute(sql)

    def _finish(self, stream: StagedStream) -> None:
        with translated(self._place):
            try:
                stream.finish()
            except apsw.ConstraintError:
                stream.error = stream.error or "two rows have keys that differ only in being a number or a text"

    def row_counts(self) -> dict[StreamName, int]:
        """Return the number of rows of each table that can be read."""
        with translated(self._place):
            return {StreamName(name): stream.row_count() for name, stream in self.streams.items() if not stream.error}

    def stream(self, name: str) -> StagedStream:
        """Return the stream of a table, a new one if there is none."""
        if name not in self.streams:
            self.streams[name] = StagedStream(self._db, len(self.streams), name, self._options)
        return self.streams[name]

    def _fail(self, name: str, reason: str) -> None:
        stream = self.stream(name)
        stream.error = stream.error or reason

    async def _read_file(self, file: ExportFile) -> None:
        table = file.name.table if file.name else file.full_name
        if not file.stored:
            self._note(table, file)
            self._fail(table, f"the listing names the file {file.full_name}, which is not there; {_AGAIN}")
            return
        reading = _FileReading(self, file, table)
        try:
            async with (
                self._storage.open_stream(file.stored) as pieces,
                aclosing(read_lines(pieces, file.stored, file.sha256)) as batches,
            ):
                async for batch in batches:
                    await to_thread.run_sync(reading.add, batch)
            reading.end()
        except UnreadableError as error:
            self._fail(reading.table, str(error))
        except AbsentError:
            self._fail(reading.table, f"the file {file.stored} was removed while the export was read; {_AGAIN}")

    def begin(self, table: str, header: SamHeader, file: ExportFile) -> StagedStream:
        """Return the stream of a file whose header has been read."""
        stream = self.stream(table)
        is_first = file.name is not None and (file.name.phase, file.name.chunk) == (Phase.FULL, 0)
        if is_first and self._options["snapshot"] == "replace":
            with translated(self._place):
                stream.restart()
        self._note(table, file)
        with translated(self._place):
            stream.begin_file(header, file.stored)
        return stream

    def _note(self, table: str, file: ExportFile) -> None:
        self._files.setdefault(table, []).append(file)

    def add_rows(self, stream: StagedStream, lines: Sequence[Line], name: str) -> None:
        """Add rows to a stream, unless it has failed."""
        if not stream.error:
            with translated(self._place):
                stream.add(lines, name)


class _FileReading:
    """The reading of one file. `table` is that of its name until its header is read."""

    def __init__(self, staging: Staging, file: ExportFile, table: str) -> None:
        self._staging, self._file, self.table = staging, file, table
        self._header: SamHeader | None = None
        self._stream: StagedStream | None = None
        self._rows = 0

    def add(self, lines: Sequence[Line]) -> None:
        if self._stream is None:
            if not lines:
                return
            self._begin(lines[0][1])
            lines = lines[1:]
        assert self._stream is not None
        self._rows += len(lines)
        self._staging.add_rows(self._stream, lines, self._file.stored)

    def _begin(self, line: bytes) -> None:
        self._header = parse_header(line, self._file.stored)
        by_name = self._staging.takes_table_from_name and self._file.name is not None
        self.table = self.table if by_name else self._header.table or self.table
        self._stream = self._staging.begin(self.table, self._header, self._file)

    def end(self) -> None:
        """UnreadableError when the file is empty, or has another number of rows than its header announces."""
        if self._header is None:
            raise UnreadableError(f"the file {self._file.stored} is empty; {_AGAIN}")
        announced = self._header.row_count
        if announced is not None and announced != self._rows:
            fault = "half written or damaged" if self._rows < announced else "not as it was written"
            raise UnreadableError(
                f"the file {self._file.stored} is {fault}: its header announces {announced} rows, and it has "
                f"{self._rows}; {_AGAIN}"
            )
